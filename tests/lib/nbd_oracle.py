"""Conformance oracle: the rules for every reply of an NBD server, whatever the request.

Each check raises AssertionError with the number of the rule that was broken; docs/nbd-rules.md lists the rules.
"""

import struct

from lib.nbd_wire import *


def require(condition, rule, message=""):
    """Fails the test with the rule's number."""
    if not condition:
        raise AssertionError(f"{rule}: {message}")


def check_text(text, rule="R1"):
    """A string from the server: UTF-8, no NUL, at most 4096 bytes."""
    require(b"\0" not in text, "R1", f"a NUL in {text[:80]!r}")
    require(len(text) <= MAX_STRING, "R2", f"a string of {len(text)} bytes")
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        raise AssertionError(f"{rule}: not UTF-8: {text[:80]!r}") from None


def check_option_replies(number, replies, tls_required=False):
    """All replies to one option."""
    expected = {OPT_LIST: REP_SERVER, OPT_INFO: REP_INFO, OPT_GO: REP_INFO,
                OPT_LIST_META_CONTEXT: REP_META_CONTEXT, OPT_SET_META_CONTEXT: REP_META_CONTEXT}.get(number)
    for kind, data in replies[:-1]:
        require(kind == expected, "R17", f"reply type {kind:#x} to option {number}")
        if kind == REP_SERVER:
            require(len(data) >= 4, "R29", "a SERVER reply without a name length")
            (length,) = struct.unpack(">I", data[:4])
            require(length <= len(data) - 4, "R29", "a name longer than its reply")
            check_text(data[4:4 + length])
            check_text(data[4 + length:])
        elif kind == REP_META_CONTEXT:
            require(len(data) > 4, "R72", "a META_CONTEXT reply without a name")
            check_text(data[4:])
            require(b":" in data[4:], "R80", f"a context without a namespace: {data[4:]!r}")
    kind, data = replies[-1]
    if kind & REP_ERROR:
        check_text(data)
        require(tls_required or kind != ERR_TLS_REQD, "R96, R103", "ERR_TLS_REQD without TLS, or after it has begun")
    if number in (OPT_INFO, OPT_GO):
        check_information(replies)
    if number == OPT_SET_META_CONTEXT:
        identities = [data[:4] for kind, data in replies[:-1]]
        require(len(set(identities)) == len(identities), "R87", "two contexts with one id")


def check_information(replies):
    """The answer to INFO or GO."""
    items = [(struct.unpack(">H", data[:2])[0], data[2:]) for _, data in replies[:-1] if len(data) >= 2]
    require(len(items) == len(replies) - 1, "R39", "an INFO reply without a type")
    kinds = [kind for kind, _ in items]
    require(len(set(kinds)) == len(kinds), "R44", f"repeated information {kinds}")
    if replies[-1][0] == REP_ACK:
        require(INFO_EXPORT in kinds, "R38", "ACK without INFO_EXPORT")
    if replies[-1][0] == ERR_UNKNOWN:
        require(not items, "R47", "INFO before ERR_UNKNOWN")
    for kind, data in items:
        if kind == INFO_EXPORT:
            require(len(data) == 10, "R39", f"INFO_EXPORT of {len(data) + 2} bytes")
            check_transmission_flags(struct.unpack(">H", data[8:])[0])
        elif kind == INFO_BLOCK_SIZE:
            check_block_sizes(data)
        elif kind in (INFO_NAME, INFO_DESCRIPTION):
            check_text(data)


def check_transmission_flags(flags):
    """The 16 bits that describe an export."""
    require(flags & HAS_FLAGS, "R55", f"flags {flags:#x}")
    require(not flags & ~0x1DFF, "R63", f"unassigned flags in {flags:#x}")
    require(flags & SEND_WRITE_ZEROES or not flags & SEND_FAST_ZERO, "R59", f"flags {flags:#x}")


def check_block_sizes(data):
    """INFO_BLOCK_SIZE."""
    require(len(data) == 12, "R42", f"INFO_BLOCK_SIZE of {len(data) + 2} bytes")
    minimum, preferred, maximum = struct.unpack(">III", data)
    power = lambda value: value > 0 and value & (value - 1) == 0
    require(power(minimum) and minimum <= 65536, "R110", f"minimum {minimum}")
    require(power(preferred) and preferred >= max(minimum, 512), "R111", f"preferred {preferred}")
    require(maximum >= preferred, "R112", f"maximum {maximum}")


def check_reply(request, reply, info):
    """One whole reply to one request."""
    require(request.command != CMD_DISC, "R122", "an answer to DISC")
    require(reply.error in ERRORS, "R147", f"error {reply.error}")
    if reply.error == EOVERFLOW:
        require(request.command != CMD_WRITE, "R153", "EOVERFLOW for WRITE")
    if reply.error == ENOTSUP:
        require(request.flags & FLAG_FAST_ZERO, "R154", "ENOTSUP without FAST_ZERO")
    if request.mode == "simple":
        require(reply.magic == SIMPLE_REPLY_MAGIC, "R123", "a structured reply that was not negotiated")
        return
    if request.mode == "extended":
        require(reply.magic == EXTENDED_REPLY_MAGIC, "R183", f"reply magic {reply.magic:#x}")
        require(reply.offset == request.offset, "R184", f"offset {reply.offset} in the reply to {request.offset}")
    else:
        require(reply.magic != EXTENDED_REPLY_MAGIC, "R183", "an extended reply that was not negotiated")
    if reply.magic == SIMPLE_REPLY_MAGIC:
        require(request.command not in (CMD_READ, CMD_BLOCK_STATUS) or reply.error and request.command != CMD_READ,
                "R126", f"a simple reply to command {request.command}")
        require(not reply.error, "R127", "an error as a simple reply though structured replies are on")
        return
    check_chunks(request, reply)
    if request.command == CMD_READ:
        check_content(request, reply)
    if request.command == CMD_BLOCK_STATUS and not reply.error:
        check_status(request, reply)


def check_chunks(request, reply):
    """Flags, types and sizes of the chunks of one reply."""
    content = {CMD_READ: {CHUNK_OFFSET_DATA, CHUNK_OFFSET_HOLE},
               CMD_BLOCK_STATUS: {CHUNK_BLOCK_STATUS_EXT if request.mode == "extended" else CHUNK_BLOCK_STATUS}}
    allowed = content.get(request.command, set()) | {CHUNK_NONE, CHUNK_ERROR, CHUNK_ERROR_OFFSET}
    errors = [chunk for chunk in reply.chunks if chunk.type == CHUNK_ERROR]
    require(len(errors) <= 1, "R144", "two ERROR chunks")
    for index, chunk in enumerate(reply.chunks):
        last = index == len(reply.chunks) - 1
        require(bool(chunk.flags & CHUNK_DONE) == last, "R133", "DONE before the end")
        require(not chunk.flags & ~CHUNK_DONE, "R134", f"chunk flags {chunk.flags:#x}")
        require(chunk.type in allowed, "R145", f"chunk type {chunk.type:#x} for command {request.command}")
        size = len(chunk.payload)
        if chunk.type == CHUNK_NONE:
            require(size == 0 and last, "R135", "a NONE chunk with data, or not the last")
        elif chunk.type == CHUNK_OFFSET_DATA:
            require(size >= 9, "R136", f"OFFSET_DATA of {size} bytes")
        elif chunk.type == CHUNK_OFFSET_HOLE:
            require(size == 12 and chunk.payload[8:] != bytes(4), "R137", f"OFFSET_HOLE of {size} bytes")
        elif chunk.type in (CHUNK_ERROR, CHUNK_ERROR_OFFSET):
            check_error_chunk(chunk)


def check_error_chunk(chunk):
    """ERROR and ERROR_OFFSET."""
    tail = 0 if chunk.type == CHUNK_ERROR else 8
    require(len(chunk.payload) >= 6 + tail, "R143", f"an error chunk of {len(chunk.payload)} bytes")
    error, length = struct.unpack(">IH", chunk.payload[:6])
    require(error in ERRORS and error, "R143", f"error {error} in an error chunk")
    require(6 + length + tail == len(chunk.payload), "R143", "the message does not fill its chunk")
    check_text(chunk.payload[6:6 + length])


def check_content(request, reply):
    """Content chunks of a READ: inside the request, apart from each other, whole when it succeeds."""
    end = request.offset + request.length
    ranges = []
    for chunk in reply.chunks:
        if chunk.type in (CHUNK_OFFSET_DATA, CHUNK_OFFSET_HOLE):
            (offset,) = struct.unpack(">Q", chunk.payload[:8])
            hole = chunk.type == CHUNK_OFFSET_HOLE
            length = struct.unpack(">I", chunk.payload[8:])[0] if hole else len(chunk.payload) - 8
            require(request.offset <= offset and offset + length <= end, "R138", f"content at {offset}+{length}")
            ranges.append((offset, length))
    ranges.sort()
    for (offset, length), (following, _) in zip(ranges, ranges[1:]):
        require(offset + length <= following, "R138", "overlapping content")
    if not reply.error:
        require(sum(length for _, length in ranges) == request.length, "R139", f"holes in the answer: {ranges}")
    if request.flags & FLAG_DF:
        require(len(ranges) <= 1, "R140", f"{len(ranges)} content chunks in spite of DF")


def check_status(request, reply):
    """Status chunks: one for each context, descriptors that march on from the offset."""
    seen = []
    length = request.length
    expected = set(request.contexts.values())
    if request.flags & FLAG_PAYLOAD_LEN:
        length = struct.unpack(">Q", request.filter[:8])[0]
        expected = {identity for (identity,) in struct.iter_unpack(">I", request.filter[8:])}
    for chunk in reply.chunks:
        if chunk.type not in (CHUNK_BLOCK_STATUS, CHUNK_BLOCK_STATUS_EXT):
            continue
        extended = chunk.type == CHUNK_BLOCK_STATUS_EXT
        head, item = (8, ">QQ") if extended else (4, ">II")
        body = len(chunk.payload) - head
        require(body > 0 and body % struct.calcsize(item) == 0, "R190" if extended else "R173", "odd length")
        seen.append(struct.unpack(">I", chunk.payload[:4])[0])
        extents = list(struct.iter_unpack(item, chunk.payload[head:]))
        if extended:
            require(struct.unpack(">I", chunk.payload[4:8])[0] == len(extents), "R190", "the count is wrong")
        check_extents(request, length, extents)
        if seen[-1] == request.contexts.get("base:allocation"):
            require(all(not status & ~3 for _, status in extents), "R177", f"status bits in {extents[:4]}")
    require(sorted(seen) == sorted(expected), "R172", f"contexts {seen}, expected {expected}")


def check_extents(request, length, extents):
    """The descriptors of one status chunk."""
    require(all(size for size, _ in extents), "R174", "an empty extent")
    require(sum(size for size, _ in extents[:-1]) < length, "R174", "extents after the end of the request")
    require(len(extents) <= 1 << 20, "R176", f"{len(extents)} extents")
    if request.flags & FLAG_REQ_ONE:
        require(len(extents) == 1 and extents[0][0] <= length, "R175", f"{extents[:2]} for REQ_ONE")
    for (size, status), (next_size, following) in zip(extents, extents[1:]):
        mergeable = request.mode == "extended" or size + next_size < 1 << 32
        require(status != following or not mergeable, "R179", "neighbours of the same status")

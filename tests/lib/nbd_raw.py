"""A raw NBD client: the test controls every field, and the oracle checks every reply.

Connection speaks all three transmission modes. What it receives is parsed without trust in the server, and replies
to requests pass nbd_oracle.check_reply() unless the test says `judge=False`.
"""

import collections
import socket
import struct

from lib import nbd_oracle
from lib.nbd_wire import *

Chunk = collections.namedtuple("Chunk", "flags type payload")
Info = collections.namedtuple("Info", "size flags items")
Request = collections.namedtuple("Request", "command offset length flags cookie mode contexts export filter")


class Closed(AssertionError):
    """The server closed (or reset) the connection where bytes were due."""


class Reply:
    """One whole reply: the error (0 when none) and the chunks it came in (simple replies have one, or none)."""

    def __init__(self, magic, cookie, offset=None):
        self.magic, self.cookie, self.offset = magic, cookie, offset
        self.error = 0
        self.text = ""
        self.chunks = []
        self.data = b""

    def assemble(self, start, length):
        """The bytes of a READ, put together from the content chunks."""
        content = bytearray(length)
        for chunk in self.chunks:
            if chunk.type in (CHUNK_OFFSET_DATA, CHUNK_OFFSET_HOLE):
                (offset,) = struct.unpack(">Q", chunk.payload[:8])
                if chunk.type == CHUNK_OFFSET_DATA:
                    data = chunk.payload[8:]
                    content[offset - start:offset - start + len(data)] = data
        return bytes(content)

    def extents(self, context=None):
        """The (length, status) pairs of the status chunk of a context (of the only one when none is named)."""
        for chunk in self.chunks:
            if chunk.type in (CHUNK_BLOCK_STATUS, CHUNK_BLOCK_STATUS_EXT):
                (identity,) = struct.unpack(">I", chunk.payload[:4])
                if context in (None, identity):
                    start, item = (4, ">II") if chunk.type == CHUNK_BLOCK_STATUS else (8, ">QQ")
                    return list(struct.iter_unpack(item, chunk.payload[start:]))
        return []


class Connection:
    """A client connection. It says hello when it is made, unless hello=False."""

    def __init__(self, sock, hello=True, client_flags=3, tls_required=False):
        self.socket = sock
        self.tls_required = tls_required
        self.mode = "simple"
        self.contexts = {}
        self.export = None
        self.cookies = 0x1234_0000_0000_0000
        self.info = None
        if hello:
            self.hello(client_flags)

    def close(self):
        """Closes the socket; harmless when repeated."""
        self.socket.close()

    def reset(self):
        """Closes the socket so that the peer sees a reset where the transport knows one."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # bytes

    def send(self, data):
        """Sends bytes as they are."""
        self.socket.sendall(data)

    def receive(self, length):
        """Just that many bytes; Closed when the stream ends before."""
        parts = []
        while length:
            try:
                part = self.socket.recv(min(length, 1 << 20))
            except ConnectionError as error:
                raise Closed(str(error)) from None
            if not part:
                raise Closed("end of stream")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def at_end(self):
        """Waits for the server's close; False when it sends bytes instead."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    # handshake

    def hello(self, client_flags=3):
        """Reads the greeting and answers with the client flags; returns the server's handshake flags."""
        magic, option_magic, flags = struct.unpack(">QQH", self.receive(18))
        assert magic == NBDMAGIC and option_magic == IHAVEOPT, f"R8: greeting {magic:#x} {option_magic:#x}"
        if client_flags is not None:
            self.send(struct.pack(">I", client_flags))
        return flags

    def send_option(self, number, data=b"", length=None):
        """Sends one option; `length` may lie about the data."""
        self.send(option_bytes(number, data, length))

    def read_option_reply(self, number):
        """One reply packet to an option: (type, data)."""
        magic, option, kind, length = struct.unpack(">QIII", self.receive(20))
        assert magic == OPTION_REPLY_MAGIC, f"R17: option reply magic {magic:#x}"
        assert option == number, f"R17: the reply is to option {option}, not {number}"
        assert length <= MAX_PAYLOAD, f"an option reply of {length} bytes"
        data = self.receive(length)
        assert kind != REP_ACK or not data, "R20: an ACK with data"
        return kind, data

    def option_replies(self, number):
        """All reply packets to an option, up to the one that ends the answer."""
        replies = []
        while True:
            replies.append(self.read_option_reply(number))
            if replies[-1][0] == REP_ACK or replies[-1][0] & REP_ERROR:
                nbd_oracle.check_option_replies(number, replies, self.tls_required)
                return replies

    def option(self, number, data=b"", length=None):
        """Sends an option and returns all its reply packets."""
        self.send_option(number, data, length)
        return self.option_replies(number)

    def option_result(self, number, data=b""):
        """The type of the reply that ends the answer to an option."""
        return self.option(number, data)[-1][0]

    def list(self):
        """The (name, description) of all exports shown."""
        replies = self.option(OPT_LIST)
        assert replies[-1][0] == REP_ACK, f"LIST failed with {replies[-1][0]:#x}"
        return [parse_server(data) for _, data in replies[:-1]]

    def structured_reply(self):
        """Negotiates structured replies."""
        assert self.option_result(OPT_STRUCTURED_REPLY) == REP_ACK, "structured replies were refused"
        self.mode = "structured"

    def extended_headers(self):
        """Negotiates extended headers."""
        assert self.option_result(OPT_EXTENDED_HEADERS) == REP_ACK, "extended headers were refused"
        self.mode = "extended"

    def set_contexts(self, export, queries):
        """SET_META_CONTEXT; returns {name: id} and remembers it."""
        replies = self.option(OPT_SET_META_CONTEXT, meta_bytes(export, queries))
        assert replies[-1][0] == REP_ACK, f"SET_META_CONTEXT failed with {replies[-1]}"
        self.contexts = dict(parse_context(data) for _, data in replies[:-1])
        return self.contexts

    def list_contexts(self, export, queries=()):
        """LIST_META_CONTEXT; returns the names."""
        replies = self.option(OPT_LIST_META_CONTEXT, meta_bytes(export, queries))
        assert replies[-1][0] == REP_ACK, f"LIST_META_CONTEXT failed with {replies[-1]}"
        return [parse_context(data)[0] for _, data in replies[:-1]]

    def information(self, number, export, requests=()):
        """INFO or GO; returns Info, or the error type when it fails."""
        replies = self.option(number, info_bytes(export, requests))
        if replies[-1][0] != REP_ACK:
            return replies[-1][0]
        items = {struct.unpack(">H", data[:2])[0]: data[2:] for _, data in replies[:-1]}
        size, flags = struct.unpack(">QH", items[INFO_EXPORT])
        return Info(size, flags, items)

    def go(self, export, requests=()):
        """GO; returns Info. AssertionError when the server refuses."""
        info = self.information(OPT_GO, export, requests)
        assert isinstance(info, Info), f"GO to {export!r} failed with {info:#x}"
        self.export, self.info = export, info
        return info

    def export_name(self, export, zeroes=False):
        """EXPORT_NAME; returns Info. `zeroes`: the 124 bytes are due."""
        self.send_option(OPT_EXPORT_NAME, export.encode())
        size, flags = struct.unpack(">QH", self.receive(10))
        if zeroes:
            assert self.receive(124) == bytes(124), "R15: padding that is not zero"
        self.export, self.info = export, Info(size, flags, {})
        return self.info

    def negotiate(self, export, mode="simple", contexts=()):
        """From hello to the transmission phase in one of the three modes."""
        if mode == "structured":
            self.structured_reply()
        elif mode == "extended":
            self.extended_headers()
        if contexts:
            self.set_contexts(export, contexts)
        return self.go(export)

    # transmission

    def send_request(self, command, offset=0, length=0, flags=0, payload=b"", cookie=None):
        """Sends one request in the mode that was negotiated, and returns what was asked."""
        if cookie is None:
            self.cookies += 1
            cookie = self.cookies
        if self.mode == "extended" and command == CMD_WRITE:
            flags |= FLAG_PAYLOAD_LEN
        self.send(request_bytes(self.mode, command, offset, length, flags, cookie) + payload)
        return Request(command, offset, length, flags, cookie, self.mode, dict(self.contexts), self.export, payload)

    def send_reads(self, count, length=4096):
        """Sends that many READs, one behind the other, and returns {cookie: Request} for read_replies()."""
        requests = [self.send_request(CMD_READ, index * length, length) for index in range(count)]
        return {request.cookie: request for request in requests}

    def read_replies(self, pending):
        """Yields the reply of each request of {cookie: Request} as it comes, and takes the request out."""
        while pending:
            reply = self.read_reply(pending)
            del pending[reply.cookie]
            yield reply

    def read_reply(self, requests, judge=True):
        """The next whole reply to one of the requests (a Request or {cookie: Request})."""
        if isinstance(requests, Request):
            requests = {requests.cookie: requests}
        (magic,) = struct.unpack(">I", self.receive(4))
        if magic == SIMPLE_REPLY_MAGIC:
            reply = self._simple_reply(magic, requests)
        elif magic in (STRUCTURED_REPLY_MAGIC, EXTENDED_REPLY_MAGIC):
            reply = self._chunked_reply(magic, requests)
        else:
            raise AssertionError(f"reply magic {magic:#x}")
        if judge:
            nbd_oracle.check_reply(requests[reply.cookie], reply, self.info)
        return reply

    def _simple_reply(self, magic, requests):
        error, cookie = struct.unpack(">IQ", self.receive(12))
        assert cookie in requests, f"R121: a reply to the unknown cookie {cookie:#x}"
        reply = Reply(magic, cookie)
        reply.error = error
        request = requests[cookie]
        if request.command == CMD_READ and not error:
            reply.data = self.receive(request.length)
        return reply

    def _chunked_reply(self, magic, requests):
        reply = None
        while True:
            if magic == STRUCTURED_REPLY_MAGIC:
                flags, kind, cookie, length = struct.unpack(">HHQI", self.receive(16))
                offset = None
            else:
                flags, kind, cookie, offset, length = struct.unpack(">HHQQQ", self.receive(28))
            assert cookie in requests, f"R121: a chunk for the unknown cookie {cookie:#x}"
            assert length <= MAX_PAYLOAD + 8, f"R120: a chunk of {length} bytes"
            reply = reply or Reply(magic, cookie, offset)
            assert reply.cookie == cookie, "this client cannot follow interleaved chunks"
            reply.chunks.append(Chunk(flags, kind, self.receive(length)))
            if kind in (CHUNK_ERROR, CHUNK_ERROR_OFFSET):
                reply.error, size = struct.unpack(">IH", reply.chunks[-1].payload[:6])
                reply.text = reply.chunks[-1].payload[6:6 + size].decode()
            if flags & CHUNK_DONE:
                request = requests[cookie]
                if request.command == CMD_READ and not reply.error:
                    reply.data = reply.assemble(request.offset, request.length)
                return reply
            (following,) = struct.unpack(">I", self.receive(4))
            assert following == magic, f"a reply whose chunks differ in their magic: {following:#x}"

    def call(self, command, offset=0, length=0, flags=0, payload=b"", judge=True):
        """Sends one request and returns its reply."""
        return self.read_reply(self.send_request(command, offset, length, flags, payload), judge)

    def read(self, offset, length, flags=0):
        """READ; the bytes. AssertionError when it fails."""
        reply = self.call(CMD_READ, offset, length, flags)
        assert not reply.error, f"READ failed with {reply.error} {reply.text}"
        return reply.data

    def write(self, offset, data, flags=0):
        """WRITE; returns the error, 0 when none."""
        return self.call(CMD_WRITE, offset, len(data), flags, data).error

    def block_status(self, offset, length, flags=0, context=None):
        """BLOCK_STATUS; the (length, status) pairs of the context with that id."""
        reply = self.call(CMD_BLOCK_STATUS, offset, length, flags)
        assert not reply.error, f"BLOCK_STATUS failed with {reply.error} {reply.text}"
        return reply.extents(context)

    def disconnect(self):
        """DISC; returns when the server has closed."""
        self.send_request(CMD_DISC)
        assert self.at_end(), "R128: an answer to DISC"


def option_bytes(number, data=b"", length=None):
    """An option as sent by a client."""
    return struct.pack(">QII", IHAVEOPT, number, len(data) if length is None else length) + data


def info_bytes(export, requests=()):
    """The data of INFO and GO."""
    name = export if isinstance(export, bytes) else export.encode()
    return struct.pack(">I", len(name)) + name + struct.pack(">H", len(requests)) + b"".join(
        struct.pack(">H", request) for request in requests)


def meta_bytes(export, queries=()):
    """The data of LIST_META_CONTEXT and SET_META_CONTEXT."""
    name = export if isinstance(export, bytes) else export.encode()
    encoded = [query if isinstance(query, bytes) else query.encode() for query in queries]
    return struct.pack(">I", len(name)) + name + struct.pack(">I", len(encoded)) + b"".join(
        struct.pack(">I", len(query)) + query for query in encoded)


def request_bytes(mode, command, offset=0, length=0, flags=0, cookie=1):
    """A request header in compact or extended form."""
    if mode == "extended":
        return struct.pack(">IHHQQQ", EXTENDED_REQUEST_MAGIC, flags, command, cookie, offset, length)
    return struct.pack(">IHHQQI", REQUEST_MAGIC, flags, command, cookie, offset, length & 0xFFFFFFFF)


def parse_server(data):
    """A SERVER reply: (name, description)."""
    (length,) = struct.unpack(">I", data[:4])
    assert length <= len(data) - 4, "R29: the name is longer than its reply"
    return data[4:4 + length].decode(), data[4 + length:].decode()


def parse_context(data):
    """A META_CONTEXT reply: (name, id)."""
    return data[4:].decode(), struct.unpack(">I", data[:4])[0]

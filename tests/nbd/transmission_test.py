"""Requests and replies in every mode: commands, flags, bounds, errors.

The rule numbers are those of docs/nbd-rules.md.
"""

import functools
import struct

from lib import images, nbd_raw, settings, wait
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, nbd_export, null_node

SIZE = 8 * MIB
MODES = ("simple", "structured")
EVERY = MODES + ("extended",)
WRITERS = (CMD_WRITE, CMD_TRIM, CMD_WRITE_ZEROES)


def in_each_mode(export="disk", modes=EVERY):
    """Runs a test once in each mode with a fresh session of the export."""
    def decorate(function):
        @functools.wraps(function)
        def wrapper(self):
            for mode in modes:
                if mode == "extended" and settings.qemu_version() and settings.qemu_version() < (8, 2):
                    continue
                with self.subTest(mode=mode):
                    function(self, self.session(export, mode))
        return wrapper
    return decorate


class TransmissionTest(DaemonTest):
    """A writable file, the same read-only, and a null node larger than any payload."""

    @classmethod
    def prepare(cls):
        cls.disk = images.make_random(cls.path("disk.img"), SIZE)
        return [*file_node("disk", cls.disk, discard="unmap"), *nbd_export("disk", writable="on"),
                "--export", "type=nbd,id=ro,node-name=disk,name=ro",
                *null_node("null", 1 << 33), *nbd_export("null", writable="on")]

    def works(self, connection):
        """Checks that the connection is in step."""
        self.assertEqual(len(connection.read(4096, 1000)), 1000)


class ReadWriteTest(TransmissionTest):
    """READ and WRITE do what they say."""

    @in_each_mode()
    def test_read(self, connection):
        """R124 R139 R156: the bytes of the file, at any alignment and length."""
        for offset, length in ((0, 1), (511, 2), (0, SIZE), (SIZE - 1, 1), (4095, 4098), (123457, 100001)):
            self.assertEqual(connection.read(offset, length), images.read_range(self.disk, offset, length))

    @in_each_mode()
    def test_write(self, connection):
        """R161 R171: just the payload at the offset, seen by later reads, neighbours untouched."""
        before = images.read_range(self.disk, MIB, MIB)
        data = images.random_bytes(70001, 5)
        self.assertEqual(connection.write(MIB + 333, data), 0)
        expected = before[:333] + data + before[333 + len(data):]
        self.assertEqual(connection.read(MIB, MIB), expected)
        connection.call(CMD_FLUSH)
        self.assertEqual(images.read_range(self.disk, MIB, MIB), expected)

    @in_each_mode("null")
    def test_maximum_payload(self, connection):
        """R118: 32 MiB in one READ and one WRITE."""
        self.assertEqual(len(connection.read(4096, MAX_PAYLOAD)), MAX_PAYLOAD)
        self.assertEqual(connection.write(12345, bytes(MAX_PAYLOAD)), 0)
        self.works(connection)

    @in_each_mode()
    def test_zero_length(self, connection):
        """R157: commands of no length succeed, change nothing, and do not end the connection."""
        before = images.sha256(self.disk)
        for command in (CMD_READ, CMD_WRITE, CMD_TRIM, CMD_WRITE_ZEROES, CMD_CACHE, CMD_FLUSH):
            self.assertEqual(connection.call(command, 512, 0).error, 0, f"command {command}")
            self.works(connection)
        self.assertEqual(images.sha256(self.disk), before)

    @in_each_mode()
    def test_write_zeroes(self, connection):
        """R164 R165: zero afterwards, neighbours kept, with and without NO_HOLE, at any alignment."""
        for flags in (0, FLAG_NO_HOLE, FLAG_FUA, FLAG_FUA | FLAG_NO_HOLE):
            connection.write(3 * MIB, b"\xee" * 200 * KIB)
            self.assertEqual(connection.call(CMD_WRITE_ZEROES, 3 * MIB + 1001, 100003, flags).error, 0)
            expected = b"\xee" * 1001 + bytes(100003) + b"\xee" * (200 * KIB - 101004)
            self.assertEqual(connection.read(3 * MIB, 200 * KIB), expected)

    @in_each_mode("null", modes=MODES)
    def test_write_zeroes_beyond_the_payload_limit(self, connection):
        """R119: WRITE_ZEROES, TRIM above 32 MiB are done: they carry no payload."""
        for command in (CMD_WRITE_ZEROES, CMD_TRIM):
            for length in (MAX_PAYLOAD + 1, 1 << 31, 0xFFFFFFFF):
                self.assertEqual(connection.call(command, 0, length).error, 0, f"{command} {length:#x}")
        self.works(connection)

    @in_each_mode()
    def test_fast_zero(self, connection):
        """R166: FAST_ZERO is done where the file system makes holes; where it does not, ENOTSUP and nothing changed."""
        makes_holes = images.makes_holes(self.workdir)
        for offset, length in ((4 * MIB, 64 * KIB), (4 * MIB + 100, 5000)):
            model = bytearray(b"\xdd" * 64 * KIB)
            self.assertEqual(connection.write(4 * MIB, bytes(model)), 0)
            error = connection.call(CMD_WRITE_ZEROES, offset, length, FLAG_FAST_ZERO).error
            self.assertEqual(error, 0 if makes_holes else ENOTSUP)
            if makes_holes:
                model[offset - 4 * MIB:offset - 4 * MIB + length] = bytes(length)
            self.assertEqual(connection.read(4 * MIB, 64 * KIB), bytes(model))

    @in_each_mode()
    def test_trim(self, connection):
        """R163: bytes outside of the trimmed range stay."""
        connection.write(5 * MIB, b"\xaa" * 128 * KIB)
        self.assertEqual(connection.call(CMD_TRIM, 5 * MIB + 4096, 64 * KIB).error, 0)
        data = connection.read(5 * MIB, 128 * KIB)
        self.assertEqual(data[:4096], b"\xaa" * 4096)
        self.assertEqual(data[4096 + 64 * KIB:], b"\xaa" * (60 * KIB))

    @in_each_mode()
    def test_cache(self, connection):
        """R169: CACHE changes nothing."""
        before = connection.read(0, 64 * KIB)
        self.assertEqual(connection.call(CMD_CACHE, 0, 64 * KIB).error, 0)
        self.assertEqual(connection.read(0, 64 * KIB), before)

    @in_each_mode()
    def test_fua_everywhere(self, connection):
        """R158: FUA is accepted with every command."""
        for command in (CMD_READ, CMD_WRITE, CMD_FLUSH, CMD_TRIM, CMD_CACHE, CMD_WRITE_ZEROES):
            length = 0 if command == CMD_FLUSH else 512
            payload = bytes(length) if command == CMD_WRITE else b""
            self.assertEqual(connection.call(command, 0, length, FLAG_FUA, payload).error, 0, f"command {command}")

    @in_each_mode()
    def test_flush(self, connection):
        """R160: after FLUSH the file holds what was written."""
        connection.write(6 * MIB, b"flushed")
        self.assertEqual(connection.call(CMD_FLUSH).error, 0)
        self.assertEqual(images.read_range(self.disk, 6 * MIB, 7), b"flushed")

    @settings.unlike_qemu("it closes at once, without the replies")
    @in_each_mode()
    def test_disc(self, connection):
        """R128: outstanding requests are answered, then the connection is closed without a reply to DISC."""
        requests = [connection.send_request(CMD_WRITE, index * 4096, 4096, 0, bytes([index]) * 4096)
                    for index in range(16)]
        connection.send_request(CMD_DISC)
        replies = list(connection.read_replies({request.cookie: request for request in requests}))
        self.assertEqual([reply.error for reply in replies], [0] * 16)
        self.assertTrue(connection.at_end())

    @in_each_mode()
    def test_many_in_flight(self, connection):
        """R121 R122: each of 100 requests in one segment gets one reply with its own cookie."""
        pending, data = {}, b""
        for index in range(100):
            cookie = (0xFFFF_FFFF_0000_0000 + index * 0x1_0000_0001) & (1 << 64) - 1
            pending[cookie] = nbd_raw.Request(CMD_READ, index * 512, 512, 0, cookie, connection.mode, {}, "disk", b"")
            data += nbd_raw.request_bytes(connection.mode, CMD_READ, index * 512, 512, 0, cookie)
        connection.send(data)
        while pending:
            reply = connection.read_reply(pending)
            request = pending.pop(reply.cookie)
            self.assertEqual(reply.data, images.read_range(self.disk, request.offset, 512))

    @in_each_mode()
    def test_same_cookie_twice(self, connection):
        """R121: cookies are opaque: two requests with one cookie get two replies."""
        first = connection.send_request(CMD_READ, 0, 512, cookie=7)
        connection.send_request(CMD_READ, 0, 512, cookie=7)
        self.assertEqual(connection.read_reply(first).data, connection.read_reply(first).data)

    @in_each_mode()
    def test_byte_by_byte(self, connection):
        """R132: a write that arrives byte by byte."""
        request = nbd_raw.Request(CMD_WRITE, 100, 40, 0, 9, connection.mode, {}, "disk", b"")
        for byte in nbd_raw.request_bytes(connection.mode, CMD_WRITE, 100, 40, 0, 9) + b"B" * 40:
            connection.send(bytes([byte]))
        self.assertEqual(connection.read_reply(request).error, 0)
        self.assertEqual(connection.read(100, 40), b"B" * 40)


class StructuredReadTest(TransmissionTest):
    """Content chunks."""

    def sparse(self):
        """A client of a file with a hole at either end, of which the server knows; and the file."""
        if not images.tells_lasting_holes(self.workdir):
            self.skipTest("on this file system no holes are remembered")
        path = images.make_sparse(self.path("sparse.img"), 4 * MIB, [(MIB, MIB)])
        self.add_node("sparse", driver="file", filename=path)
        self.add_export("sparse")
        connection = self.session("sparse", "structured", ["base:allocation"])

        def tells_of_holes():
            self.assertEqual(connection.block_status(0, 4 * MIB), [(MIB, 3), (MIB, 0), (2 * MIB, 3)])
            return len(self.content(connection.call(CMD_READ, 0, 4 * MIB))) > 1
        # A file that was written a moment ago may still be written to, with the same time stamp.
        wait.until(tells_of_holes, 10, "the holes to be remembered")
        return connection, path

    def content(self, reply):
        """(type, offset, length) of the content chunks of a READ, by offset."""
        found = []
        for chunk in reply.chunks:
            if chunk.type in (CHUNK_OFFSET_DATA, CHUNK_OFFSET_HOLE):
                (offset,) = struct.unpack(">Q", chunk.payload[:8])
                hole = chunk.type == CHUNK_OFFSET_HOLE
                length = struct.unpack(">I", chunk.payload[8:])[0] if hole else len(chunk.payload) - 8
                found.append((chunk.type, offset, length))
        return sorted(found, key=lambda chunk: chunk[1])

    def test_holes_at_the_ends(self):
        """R137 R138 R139: holes that are known at either end of a read come as OFFSET_HOLE, the rest as data."""
        connection, path = self.sparse()
        reply = connection.call(CMD_READ, 0, 4 * MIB)
        self.assertEqual(reply.data, images.read_range(path, 0, 4 * MIB))
        self.assertEqual(self.content(reply), [(CHUNK_OFFSET_HOLE, 0, MIB), (CHUNK_OFFSET_DATA, MIB, MIB),
                                               (CHUNK_OFFSET_HOLE, 2 * MIB, 2 * MIB)])

    def test_df(self):
        """R140 R141: DF gives one content chunk with all of the data, where there would be several without it."""
        connection, path = self.sparse()
        for offset, length in ((0, 4 * MIB), (MIB // 2, MIB), (MIB, 2 * MIB)):
            self.assertGreater(len(self.content(connection.call(CMD_READ, offset, length))), 1)
            reply = connection.call(CMD_READ, offset, length, FLAG_DF)
            self.assertEqual(self.content(reply), [(CHUNK_OFFSET_DATA, offset, length)])
            self.assertEqual(reply.data, images.read_range(path, offset, length))

    def test_zero_length_read(self):
        """A read of no length: one NONE chunk."""
        reply = self.session("disk", "structured").call(CMD_READ, 0, 0)
        self.assertEqual([(chunk.type, chunk.flags) for chunk in reply.chunks], [(CHUNK_NONE, CHUNK_DONE)])


class ErrorsTest(TransmissionTest):
    """What is refused, with which error, and that the connection lives."""

    @in_each_mode()
    def test_unknown_commands(self, connection):
        """R148: an unknown command gets EINVAL."""
        for command in (8, 9, 100, 0x7FFF, 0xFFFF):
            self.assertEqual(connection.call(command, 0, 512).error, EINVAL, f"command {command}")
            self.works(connection)

    @in_each_mode()
    def test_unknown_flags(self, connection):
        """R149 R170 R194: flags that are unknown, or not meant for the command, get EINVAL."""
        valid = {CMD_READ: FLAG_FUA, CMD_WRITE: FLAG_FUA, CMD_FLUSH: FLAG_FUA, CMD_TRIM: FLAG_FUA, CMD_CACHE: FLAG_FUA,
                 CMD_WRITE_ZEROES: FLAG_FUA | FLAG_NO_HOLE | FLAG_FAST_ZERO, CMD_BLOCK_STATUS: FLAG_FUA | FLAG_REQ_ONE}
        for command, allowed in valid.items():
            if command == CMD_READ and connection.mode != "simple":
                allowed |= FLAG_DF
            for bit in range(16):
                if not allowed & 1 << bit and (connection.mode != "extended" or 1 << bit != FLAG_PAYLOAD_LEN):
                    payload = bytes(512) if command == CMD_WRITE else b""
                    reply = connection.call(command, 0, 512, 1 << bit, payload)
                    self.assertEqual(reply.error, EINVAL, f"command {command} flag bit {bit}")
        self.works(connection)

    @in_each_mode()
    def test_read_past_the_end(self, connection):
        """R117 R150: READ and TRIM past the end get EINVAL."""
        for command in (CMD_READ, CMD_TRIM):
            for offset, length in ((SIZE, 1), (SIZE - 1, 2), (1 << 63, 512), ((1 << 64) - 1, 1),
                                   ((1 << 64) - 512, 1024)):
                self.assertEqual(connection.call(command, offset, length).error, EINVAL, f"{command} {offset}+{length}")
        self.works(connection)

    @settings.unlike_qemu("EINVAL instead of ENOSPC")
    @in_each_mode()
    def test_write_past_the_end(self, connection):
        """R130 R151: WRITE and WRITE_ZEROES past the end get ENOSPC; the payload is consumed."""
        for offset, length in ((SIZE, 1), (SIZE - 1, 2), (1 << 63, 512), ((1 << 64) - 1, 1)):
            self.assertEqual(connection.write(offset, bytes(length)), ENOSPC, f"{offset}+{length}")
            self.assertEqual(connection.call(CMD_WRITE_ZEROES, offset, length).error, ENOSPC, f"{offset}+{length}")
        self.works(connection)

    @in_each_mode()
    def test_failed_writes_stay_in_step(self, connection):
        """R130 R162: the payload of a write that fails is consumed, and nothing is stored."""
        before = images.sha256(self.disk)
        self.assertNotEqual(connection.write(SIZE - 1, b"xx"), 0)
        self.assertNotEqual(connection.write(SIZE, bytes(MIB)), 0)
        self.works(connection)
        self.assertEqual(images.sha256(self.disk), before)

    @settings.unlike_qemu("EINVAL instead of EPERM")
    @in_each_mode("ro")
    def test_read_only(self, connection):
        """R57 R152: every writing command to a read-only export gets EPERM."""
        for command in WRITERS:
            payload = bytes(512) if command == CMD_WRITE else b""
            self.assertEqual(connection.call(command, 0, 512, 0, payload).error, EPERM, f"command {command}")
        self.works(connection)

    @in_each_mode("ro")
    def test_read_only_is_not_written(self, connection):
        """R57: nothing that a client sends to a read-only export changes the disk."""
        before = images.sha256(self.disk)
        self.assertNotEqual(connection.write(0, b"x" * 4096), 0)
        self.assertNotEqual(connection.call(CMD_WRITE_ZEROES, 0, MIB).error, 0)
        self.assertNotEqual(connection.call(CMD_TRIM, 0, MIB).error, 0)
        self.assertEqual(images.sha256(self.disk), before)

    @in_each_mode("null")
    def test_read_above_the_limit(self, connection):
        """R119 R153: READ and CACHE above 32 MiB get EINVAL, not memory, and the connection lives."""
        for command in (CMD_READ, CMD_CACHE):
            for length in (MAX_PAYLOAD + 1, 1 << 31, 0xFFFFFFFF):
                self.assertEqual(connection.call(command, 0, length).error, EINVAL, f"{command} {length:#x}")
        self.works(connection)

    @in_each_mode("null", modes=MODES)
    def test_write_above_the_limit(self, connection):
        """A WRITE above 32 MiB gets EINVAL and the connection ends: its payload was not read."""
        for length in (MAX_PAYLOAD + 1, 1 << 31, 0xFFFFFFFF):
            fresh = self.session("null", connection.mode)
            request = fresh.send_request(CMD_WRITE, 0, length)
            self.assertEqual(fresh.read_reply(request).error, EINVAL)
            self.assertTrue(fresh.at_end())

    @in_each_mode(modes=MODES)
    def test_bad_magic(self, connection):
        """A request without its magic gets EINVAL at most, and the connection ends."""
        connection.send(struct.pack(">IHHQQI", REQUEST_MAGIC ^ 1, 0, CMD_READ, 5, 0, 512))
        request = nbd_raw.Request(CMD_READ, 0, 512, 0, 5, connection.mode, {}, "disk", b"")
        try:
            self.assertEqual(connection.read_reply(request).error, EINVAL)
        except nbd_raw.Closed:
            pass
        else:
            self.assertTrue(connection.at_end())

    def test_one_bad_client_does_not_harm_another(self):
        """R196: connections whose requests are garbage end one after the other, and another one goes on."""
        good = self.session("disk", "structured")
        request = nbd_raw.Request(CMD_READ, 0, 0, 0, (1 << 64) - 1, "simple", {}, "disk", b"")
        for _ in range(20):
            bad = self.session("disk")
            bad.send(b"\xff" * 28)
            self.works(good)
            try:
                self.assertEqual(bad.read_reply(request).error, EINVAL)
            except nbd_raw.Closed:
                continue
            self.assertTrue(bad.at_end())
        self.works(good)

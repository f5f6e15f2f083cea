"""Extended headers: negotiation, 64-bit lengths, payload lengths, filtered block status.

The rule numbers are those of docs/nbd-rules.md.
"""

import struct

from lib import images, nbd_raw, settings
from lib.images import KIB, MIB
from lib.nbd_raw import meta_bytes
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, nbd_export, null_node

BASE, DEPTH = "base:allocation", "qemu:allocation-depth"
SIZE = 4 * MIB
HUGE = 1 << 45


class ExtendedTest(DaemonTest):
    """A sparse file with both contexts, and a null node far above 4 GiB."""

    @classmethod
    def setUpClass(cls):
        version = settings.qemu_version()
        if version and version < (8, 2):
            cls.skipTest(cls, "qemu-storage-daemon before 8.2 has no extended headers")
        super().setUpClass()

    @classmethod
    def prepare(cls):
        cls.sparse = images.make_sparse(cls.path("sparse.img"), SIZE, [(MIB, MIB)])
        return [*file_node("sparse", cls.sparse, discard="unmap"),
                *nbd_export("sparse", writable="on", **{"allocation-depth": "on"}),
                *null_node("null", HUGE), *nbd_export("null", writable="on"),
                "--export", "type=nbd,id=ro,node-name=sparse,name=ro"]

    def extended(self, export="sparse", contexts=(BASE,)):
        """A session with extended headers."""
        return self.session(export, "extended", contexts)


class NegotiationTest(ExtendedTest):
    """The option and what it changes in haggling."""

    def test_accepted_alone(self):
        """R54 R69: EXTENDED_HEADERS needs no STRUCTURED_REPLY before, and is accepted after one as well."""
        connection = self.client()
        connection.extended_headers()
        connection = self.client()
        connection.structured_reply()
        connection.extended_headers()
        connection.go("sparse")
        self.assertEqual(connection.call(CMD_READ, 0, 512).magic, EXTENDED_REPLY_MAGIC)

    def test_with_data(self):
        """R68: data gets ERR_INVALID, and compact headers stay."""
        connection = self.client()
        self.assertEqual(connection.option_result(OPT_EXTENDED_HEADERS, b"x"), ERR_INVALID)
        connection.go("sparse")
        self.assertEqual(connection.call(CMD_READ, 0, 512).magic, SIMPLE_REPLY_MAGIC)

    def test_twice(self):
        """A second EXTENDED_HEADERS gets ERR_INVALID, and the first stays in force."""
        connection = self.client()
        connection.extended_headers()
        self.assertEqual(connection.option_result(OPT_EXTENDED_HEADERS), ERR_INVALID)
        connection.go("sparse")
        self.assertEqual(len(connection.read(0, 512)), 512)

    def test_structured_reply_afterwards(self):
        """R70: STRUCTURED_REPLY afterwards gets ERR_EXT_HEADER_REQD, and extended headers stay in force."""
        connection = self.client()
        connection.extended_headers()
        self.assertEqual(connection.option_result(OPT_STRUCTURED_REPLY), ERR_EXT_HEADER_REQD)
        connection.go("sparse")
        self.assertEqual(connection.call(CMD_READ, 0, 512).magic, EXTENDED_REPLY_MAGIC)

    def test_payload_flag(self):
        """R61 R62: BLOCK_STATUS_PAYLOAD is shown with contexts, or by INFO; never without extended headers."""
        self.assertTrue(self.extended().info.flags & BLOCK_STATUS_PAYLOAD)
        self.assertFalse(self.extended(contexts=()).info.flags & BLOCK_STATUS_PAYLOAD)
        self.assertFalse(self.session("sparse", "structured", (BASE,)).info.flags & BLOCK_STATUS_PAYLOAD)
        connection = self.client()
        connection.extended_headers()
        self.assertTrue(connection.information(OPT_INFO, "sparse").flags & BLOCK_STATUS_PAYLOAD)

    def test_contexts_need_no_structured_reply(self):
        """R88 R91: SET_META_CONTEXT works with extended headers alone."""
        connection = self.client()
        connection.extended_headers()
        self.assertEqual(connection.option_result(OPT_SET_META_CONTEXT, meta_bytes("sparse", [BASE])), REP_ACK)


class CommandsTest(ExtendedTest):
    """Requests with 64-bit lengths."""

    def test_every_reply_is_extended(self):
        """R183 R184: replies to all commands carry the extended header with cookie and offset."""
        connection = self.extended()
        for command in (CMD_READ, CMD_WRITE, CMD_FLUSH, CMD_TRIM, CMD_CACHE, CMD_WRITE_ZEROES, CMD_BLOCK_STATUS, 99):
            payload = bytes(512) if command == CMD_WRITE else b""
            offset = 0 if command == CMD_FLUSH else 1024
            length = 0 if command == CMD_FLUSH else 512
            reply = connection.call(command, offset, length, 0, payload)
            self.assertEqual((reply.magic, reply.offset), (EXTENDED_REPLY_MAGIC, offset), f"command {command}")

    def test_success_without_content(self):
        """A command without content is answered by one NONE chunk."""
        reply = self.extended().call(CMD_WRITE_ZEROES, 0, 512)
        self.assertEqual([(chunk.type, chunk.flags) for chunk in reply.chunks], [(CHUNK_NONE, CHUNK_DONE)])

    def test_lengths_above_32_bits(self):
        """R195: WRITE_ZEROES, TRIM, BLOCK_STATUS of 2^32 bytes and more are not cut to 32 bits."""
        connection = self.extended("null")
        for length in (1 << 32, (1 << 32) + 512, HUGE):
            for command in (CMD_WRITE_ZEROES, CMD_TRIM):
                self.assertEqual(connection.call(command, 0, length).error, 0, f"command {command} {length:#x}")
            extents = connection.block_status(0, length)
            self.assertEqual(sum(size for size, _ in extents), length)

    def test_length_of_2_to_the_32_writes_more_than_nothing(self):
        """R195: a length whose low 32 bits are zero is not a length of zero: it reaches past the end here."""
        connection = self.extended()
        for command in (CMD_TRIM, CMD_WRITE_ZEROES, CMD_BLOCK_STATUS):
            self.assertNotEqual(connection.call(command, 0, 1 << 32).error, 0, f"command {command}")
        self.assertEqual(connection.read(MIB, 4096), images.read_range(self.sparse, MIB, 4096))

    def test_read_of_a_huge_length(self):
        """R119 R153: READ and CACHE above the limit get EINVAL and the connection lives."""
        connection = self.extended("null")
        for command in (CMD_READ, CMD_CACHE):
            for length in (MAX_PAYLOAD + 1, 1 << 32, 1 << 40):
                self.assertEqual(connection.call(command, 0, length).error, EINVAL, f"{command} {length:#x}")
        self.assertEqual(len(connection.read(0, 512)), 512)

    def test_bounds(self):
        """R150 R193: offset plus length past the end, or past 2^64, fails."""
        connection = self.extended()
        last = (1 << 64) - 1
        for offset, length in ((0, SIZE + 1), (SIZE, 1), (512, last - 511), (1 << 63, 1 << 63), (last, last)):
            for command in (CMD_TRIM, CMD_BLOCK_STATUS):
                self.assertEqual(connection.call(command, offset, length).error, EINVAL, f"{command} {offset}+{length}")

    def test_write_zeroes_past_the_end(self):
        """R151: WRITE_ZEROES past the end gets ENOSPC."""
        connection = self.extended()
        for offset, length in ((0, SIZE + 1), (512, (1 << 64) - 512), (1 << 63, 1 << 63)):
            self.assertEqual(connection.call(CMD_WRITE_ZEROES, offset, length).error, ENOSPC)


class PayloadTest(ExtendedTest):
    """PAYLOAD_LEN."""

    def send_with_payload(self, connection, command, length, flags, payload):
        """A request whose header is as given."""
        connection.cookies += 1
        connection.send(nbd_raw.request_bytes("extended", command, 0, length, flags, connection.cookies) + payload)
        return nbd_raw.Request(command, 0, length, flags, connection.cookies, "extended", {}, "sparse", payload)

    def test_write_without_the_flag(self):
        """R186: WRITE without PAYLOAD_LEN is tolerated as QSD does: it is written, and the stream stays in step."""
        connection = self.extended()
        request = self.send_with_payload(connection, CMD_WRITE, 512, 0, b"w" * 512)
        self.assertEqual(connection.read_reply(request).error, 0)
        self.assertEqual(connection.read(0, 512), b"w" * 512)

    def test_payload_where_none_belongs(self):
        """R187: PAYLOAD_LEN on a command without a payload gets EINVAL, the payload is consumed."""
        connection = self.extended()
        for command in (CMD_READ, CMD_FLUSH, CMD_TRIM, CMD_CACHE, CMD_WRITE_ZEROES, 77):
            for size in (0, 1, 512, 100_000):
                request = self.send_with_payload(connection, command, size, FLAG_PAYLOAD_LEN, bytes(size))
                self.assertEqual(connection.read_reply(request).error, EINVAL, f"command {command} with {size}")
        self.assertEqual(len(connection.read(0, 512)), 512)

    def test_payload_above_the_limit(self):
        """R188: a payload above 32 MiB ends the connection, whatever the command."""
        for command in (CMD_WRITE, CMD_READ, CMD_BLOCK_STATUS, CMD_FLUSH):
            for length in (MAX_PAYLOAD + 1, 1 << 32, (1 << 64) - 1):
                connection = self.extended()
                request = self.send_with_payload(connection, command, length, FLAG_PAYLOAD_LEN, b"")
                try:
                    self.assertEqual(connection.read_reply(request).error, EINVAL)
                except nbd_raw.Closed:
                    continue
                self.assertTrue(connection.at_end(), f"command {command} {length:#x}")

    def test_compact_header_afterwards(self):
        """A compact request magic on an extended connection ends it."""
        connection = self.extended()
        connection.send(nbd_raw.request_bytes("simple", CMD_READ, 0, 512) + bytes(4))
        request = nbd_raw.Request(CMD_READ, 0, 512, 0, 1, "extended", {}, "sparse", b"")
        try:
            connection.read_reply(request, judge=False)
        except (nbd_raw.Closed, AssertionError):
            pass
        self.assertTrue(connection.at_end())


class FilterTest(ExtendedTest):
    """BLOCK_STATUS with a payload that names the contexts."""

    def both(self):
        """A session with both contexts."""
        return self.extended(contexts=(BASE, DEPTH))

    def ask(self, connection, length, identities, payload=None):
        """A filtered BLOCK_STATUS from offset 0; the reply."""
        if payload is None:
            payload = struct.pack(f">Q{len(identities)}I", length, *identities)
        request = connection.send_request(CMD_BLOCK_STATUS, 0, len(payload), FLAG_PAYLOAD_LEN, payload)
        return connection.read_reply(request)

    def test_filter(self):
        """R191: only the listed contexts are answered."""
        connection = self.both()
        base, depth = connection.contexts[BASE], connection.contexts[DEPTH]
        for identities in ([base], [depth], [base, depth], [depth, base]):
            reply = self.ask(connection, SIZE, identities)
            self.assertEqual(reply.error, 0)
            self.assertEqual(len(reply.chunks), len(identities))

    def test_bad_identities(self):
        """R191: unknown or repeated ids get EINVAL, the payload is consumed."""
        connection = self.both()
        base, depth = connection.contexts[BASE], connection.contexts[DEPTH]
        for identities in ([base, base], [99], [base, 0xFFFFFFFF], [base, depth, base], [7] * 1000):
            self.assertEqual(self.ask(connection, SIZE, identities).error, EINVAL, identities[:4])
        self.assertEqual(self.ask(connection, SIZE, [base]).error, 0)

    def test_bad_layout(self):
        """R192: payloads that are not 8 + 4n bytes get EINVAL, the payload is consumed."""
        connection = self.both()
        for payload in (b"", bytes(4), bytes(7), bytes(9), struct.pack(">Q", SIZE) + bytes(3), bytes(8), bytes(4096)):
            self.assertEqual(self.ask(connection, 0, [], payload).error, EINVAL, f"{len(payload)} bytes")
        self.assertEqual(len(connection.read(0, 512)), 512)

    def test_effect_length_past_the_end(self):
        """R193: an effect length beyond the export gets EINVAL."""
        connection = self.both()
        for length in (SIZE + 1, 1 << 40, (1 << 64) - 1, 0):
            self.assertEqual(self.ask(connection, length, [connection.contexts[BASE]]).error, EINVAL, length)

    def test_filter_without_contexts(self):
        """R191: without contexts a payload is consumed and gets EINVAL."""
        connection = self.extended(contexts=())
        self.assertEqual(self.ask(connection, SIZE, [0]).error, EINVAL)
        self.assertEqual(len(connection.read(0, 512)), 512)

    def test_status_values(self):
        """R189 R190: the extents are those of the compact form, in 64 bits."""
        compact = self.session("sparse", "structured", (BASE,)).block_status(0, SIZE)
        self.assertEqual(self.extended().block_status(0, SIZE), compact)
        self.assertEqual(self.extended("null").block_status(0, HUGE), [(HUGE, STATE_HOLE)])


class DataTest(ExtendedTest):
    """Data through extended headers."""

    def test_round_trip(self):
        """R161: what is written with FUA is read, and is in the file."""
        data = images.random_bytes(300 * KIB, 9)
        connection = self.extended()
        self.assertEqual(connection.write(3 * MIB + 5, data, FLAG_FUA), 0)
        self.assertEqual(connection.read(3 * MIB + 5, len(data)), data)
        self.assertEqual(images.read_range(self.sparse, 3 * MIB + 5, len(data)), data)

    def test_read_only(self):
        """R152: a write to a read-only export gets EPERM and its payload is consumed."""
        connection = self.extended("ro", ())
        self.assertEqual(connection.write(0, bytes(4096)), EPERM)
        self.assertEqual(len(connection.read(0, 512)), 512)

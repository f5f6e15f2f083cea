"""The handshake rule by rule: opening, options in general, EXPORT_NAME, INFO and GO, TLS refusal.

The rule numbers are those of docs/nbd-rules.md.
"""

import socket
import struct
import time

from lib import daemon, images, nbd_raw, settings
from lib.images import MIB
from lib.nbd_raw import info_bytes, option_bytes
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, nbd_export, null_node

SIZE = 4 * MIB


class HandshakeTest(DaemonTest):
    """A writable file, a read-only node with a description, and a default export."""

    @classmethod
    def prepare(cls):
        images.make_random(cls.path("disk.img"), SIZE)
        return [*file_node("disk", cls.path("disk.img")), *nbd_export("disk", writable="on"),
                *null_node("null", MIB), *nbd_export("null", description="nothing in it"),
                "--export", "type=nbd,id=default,node-name=null,name="]

    def after_option(self, connection):
        """Checks that the connection is in step: LIST works."""
        self.assertEqual(len(connection.list()), 3)


class OpeningTest(HandshakeTest):
    """The first bytes."""

    def test_greeting(self):
        """R8 R9 R10: 18 bytes, FIXED_NEWSTYLE and NO_ZEROES set, nothing else."""
        connection = self.client(hello=False)
        self.assertEqual(connection.hello(None), FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES)

    def test_unknown_client_flags(self):
        """R11: a client flag the server does not know ends the connection."""
        for bit in range(2, 32):
            connection = self.client(client_flags=3 | 1 << bit)
            self.assertTrue(connection.at_end(), f"bit {bit}")

    def test_padding_without_no_zeroes(self):
        """R15: 124 zero bytes follow EXPORT_NAME for a client that did not decline them."""
        connection = self.client(client_flags=FLAG_FIXED_NEWSTYLE)
        self.assertEqual(connection.export_name("disk", zeroes=True).size, SIZE)
        self.assertEqual(len(connection.read(0, 512)), 512)

    def test_no_padding_with_no_zeroes(self):
        """R14: no padding for a client that declined it."""
        connection = self.client()
        self.assertEqual(connection.export_name("disk").size, SIZE)
        self.assertEqual(len(connection.read(0, 512)), 512)

    def test_not_fixed_client(self):
        """R16: a client without C_FIXED_NEWSTYLE is served EXPORT_NAME, and nothing else."""
        connection = self.client(client_flags=0)
        connection.export_name("disk", zeroes=True)
        self.assertEqual(len(connection.read(0, 512)), 512)
        connection = self.client(client_flags=FLAG_NO_ZEROES)
        connection.export_name("disk")
        self.assertEqual(len(connection.read(0, 512)), 512)

    def test_not_fixed_client_lists(self):
        """R16: any other option of such a client ends the connection."""
        connection = self.client(client_flags=0)
        connection.send_option(OPT_LIST)
        self.assertTrue(connection.at_end())

    def test_bad_option_magic(self):
        """R21: an option without its magic ends the connection, without a byte of answer."""
        connection = self.client()
        connection.send(struct.pack(">QII", IHAVEOPT ^ 1, OPT_LIST, 0))
        self.assertTrue(connection.at_end())

    def test_oldstyle_client_gets_newstyle(self):
        """R7: a client that waits for the oldstyle size gets the newstyle greeting alone."""
        connection = self.client(hello=False)
        connection.receive(18)
        connection.socket.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            connection.socket.recv(1)


class OptionsTest(HandshakeTest):
    """Options in general."""

    def test_unknown_options(self):
        """R18 R19 R32: unknown options get ERR_UNSUP and the stream stays in step, with and without data."""
        connection = self.client()
        for number in (0, OPT_PEEK_EXPORT, 12, 99, 255, 0x7FFFFFFF, 0xFFFFFFFF):
            for data in (b"", b"x", bytes(5000)):
                self.assertEqual(connection.option_result(number, data), ERR_UNSUP, f"option {number}")
        self.after_option(connection)

    def test_abort(self):
        """R25 R26: ABORT is answered with ACK, its data ignored, and the connection ends."""
        for data in (b"", b"good bye"):
            connection = self.client()
            self.assertEqual(connection.option_result(OPT_ABORT, data), REP_ACK)
            self.assertTrue(connection.at_end())

    def test_abort_without_reading(self):
        """R27: ABORT and close at once, many times."""
        for _ in range(50):
            connection = self.client()
            connection.send_option(OPT_ABORT)
            connection.close()
        self.after_option(self.client())

    def test_list(self):
        """R28 R29: LIST shows every export, oldest first, with its description."""
        exports = self.client().list()
        self.assertEqual(exports, [("disk", ""), ("null", "nothing in it"), ("", "")])

    def test_list_with_data(self):
        """R30: LIST with data gets ERR_INVALID."""
        connection = self.client()
        self.assertEqual(connection.option_result(OPT_LIST, b"x"), ERR_INVALID)
        self.after_option(connection)

    def test_names_of_list_are_usable(self):
        """R31: GO and EXPORT_NAME accept each name that LIST shows."""
        for name, _ in self.client().list():
            self.client().go(name)
            self.client().export_name(name)

    def test_options_in_one_segment(self):
        """R132: several options sent at once are answered in order."""
        connection = self.client()
        connection.send(option_bytes(OPT_LIST) + option_bytes(99, b"abc") + option_bytes(OPT_STRUCTURED_REPLY)
                        + option_bytes(OPT_ABORT))
        self.assertEqual(len(connection.option_replies(OPT_LIST)), 4)
        self.assertEqual(connection.option_replies(99)[-1][0], ERR_UNSUP)
        self.assertEqual(connection.option_replies(OPT_STRUCTURED_REPLY)[-1][0], REP_ACK)
        self.assertEqual(connection.option_replies(OPT_ABORT)[-1][0], REP_ACK)

    def test_byte_by_byte(self):
        """R132: a handshake that arrives byte by byte."""
        connection = self.client(client_flags=None)
        for byte in struct.pack(">I", 3) + option_bytes(OPT_GO, info_bytes("disk", [INFO_NAME])):
            connection.send(bytes([byte]))
        self.assertEqual(connection.option_replies(OPT_GO)[-1][0], REP_ACK)

    def test_starttls_is_refused(self):
        """R95: without TLS, STARTTLS gets ERR_POLICY, and the session goes on."""
        connection = self.client()
        self.assertEqual(connection.option_result(OPT_STARTTLS), ERR_POLICY)
        self.after_option(connection)

    def test_starttls_with_data(self):
        """R97: STARTTLS with data gets ERR_INVALID and the stream stays in step."""
        connection = self.client()
        self.assertEqual(connection.option_result(OPT_STARTTLS, b"\x16\x03\x01"), ERR_INVALID)
        self.after_option(connection)

    def test_structured_reply_with_data(self):
        """R65 R66: STRUCTURED_REPLY with data gets ERR_INVALID and simple replies stay."""
        connection = self.client()
        self.assertEqual(connection.option_result(OPT_STRUCTURED_REPLY, b"x"), ERR_INVALID)
        info = connection.go("disk")
        self.assertFalse(info.flags & SEND_DF)
        self.assertEqual(connection.call(CMD_READ, 0, 512).magic, SIMPLE_REPLY_MAGIC)

    def test_structured_reply_twice(self):
        """R66: a second STRUCTURED_REPLY gets ERR_INVALID and the first stays in force."""
        connection = self.client()
        connection.structured_reply()
        self.assertEqual(connection.option_result(OPT_STRUCTURED_REPLY), ERR_INVALID)
        connection.go("disk")
        self.assertEqual(connection.call(CMD_READ, 0, 512).magic, STRUCTURED_REPLY_MAGIC)


class ExportNameTest(HandshakeTest):
    """EXPORT_NAME."""

    def test_flags_and_size(self):
        """R33 R35: size and flags, then the transmission phase."""
        info = self.client().export_name("disk")
        self.assertEqual((info.size, info.flags), (SIZE, 0xD6D))

    def test_default_export(self):
        """R36: the empty name is the export of that name."""
        self.assertEqual(self.client().export_name("").size, MIB)

    def test_unknown_name(self):
        """R34: an unknown name ends the session without an answer."""
        for name in ("nowhere", "dis", "disk2", "DISK", "x" * 4096):
            connection = self.client()
            connection.send_option(OPT_EXPORT_NAME, name.encode())
            self.assertTrue(connection.at_end(), name[:20])

    @settings.unlike_qemu("it takes the name to end at the NUL")
    def test_name_with_nul(self):
        """R1 R34: a name with a NUL in it is the name of no export."""
        connection = self.client()
        connection.send_option(OPT_EXPORT_NAME, b"disk\0")
        self.assertTrue(connection.at_end())

    def test_too_long_name(self):
        """R2 R34: a name above 4096 bytes ends the session before its bytes are awaited."""
        connection = self.client()
        connection.send_option(OPT_EXPORT_NAME, b"", length=4097)
        self.assertTrue(connection.at_end())

    def test_after_structured_reply(self):
        """What was negotiated before EXPORT_NAME holds after it."""
        connection = self.client()
        connection.structured_reply()
        info = connection.export_name("disk")
        self.assertTrue(info.flags & SEND_DF)
        self.assertEqual(connection.call(CMD_READ, 0, 512).magic, STRUCTURED_REPLY_MAGIC)

    @settings.since_qemu(8, 2, "no extended headers")
    def test_after_extended_headers(self):
        """EXPORT_NAME is not allowed after EXTENDED_HEADERS."""
        connection = self.client()
        connection.extended_headers()
        connection.send_option(OPT_EXPORT_NAME, b"disk")
        self.assertTrue(connection.at_end())


class InfoTest(HandshakeTest):
    """INFO and GO."""

    def test_info_then_go(self):
        """R37 R38 R50: GO after INFO gives the same information, and INFO does not attach."""
        connection = self.client()
        asked = [INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE]
        first = connection.information(OPT_INFO, "null", asked)
        self.assertEqual(connection.go("null", asked), first)
        self.assertEqual(len(connection.read(0, 512)), 512)

    def test_name_and_description(self):
        """R40 R41: NAME and DESCRIPTION are those of LIST."""
        info = self.client().information(OPT_INFO, "null", [INFO_NAME, INFO_DESCRIPTION])
        self.assertEqual(info.items[INFO_NAME], b"null")
        self.assertEqual(info.items[INFO_DESCRIPTION], b"nothing in it")

    def test_name_only_when_asked(self):
        """NAME is sent only when requested, as QSD does."""
        self.assertNotIn(INFO_NAME, self.client().information(OPT_INFO, "null", [INFO_BLOCK_SIZE]).items)

    def test_block_size(self):
        """R42 R110 R111 R112: minimum 1, preferred 4096, maximum payload 32 MiB for a buffered file."""
        info = self.client().information(OPT_INFO, "disk", [INFO_BLOCK_SIZE])
        self.assertEqual(struct.unpack(">III", info.items[INFO_BLOCK_SIZE]), (1, 4096, MAX_PAYLOAD))

    def test_flags(self):
        """R55 R56 R58 R59 R63: what a writable and a read-only export show; DF only with structured replies."""
        for export, structured, expected in (("disk", False, 0xD6D), ("disk", True, 0xDED),
                                             ("null", False, 0x50F), ("null", True, 0x58F)):
            connection = self.client()
            if structured:
                connection.structured_reply()
            self.assertEqual(hex(connection.go(export).flags), hex(expected), f"{export} {structured}")

    def test_unknown_requests_are_ignored(self):
        """R43 R44: unknown information types are ignored, repeated ones answered once."""
        connection = self.client()
        info = connection.go("disk", [7, INFO_NAME, 0xFFFF, INFO_NAME, INFO_EXPORT, INFO_EXPORT])
        self.assertEqual(info.items[INFO_NAME], b"disk")

    def test_unknown_export(self):
        """R46 R47 R52: ERR_UNKNOWN, and the session goes on."""
        connection = self.client()
        for number in (OPT_INFO, OPT_GO):
            self.assertEqual(connection.information(number, "nowhere"), ERR_UNKNOWN)
        connection.go("disk")

    def test_inconsistent_lengths(self):
        """R24 R45: name lengths and request counts that do not fit the option get ERR_INVALID, in step."""
        connection = self.client()
        cases = [b"", b"\0", bytes(3), bytes(4), bytes(5),
                 struct.pack(">I", 5) + b"disk" + bytes(2), struct.pack(">I", 6) + b"disk" + bytes(2),
                 struct.pack(">I", 7) + b"disk" + bytes(2), struct.pack(">I", 1000) + b"disk" + bytes(2),
                 struct.pack(">I", 0x7FFFFFFF) + b"disk" + bytes(2), struct.pack(">I", 0xFFFFFFFF) + b"disk" + bytes(2),
                 struct.pack(">I", 4) + b"disk" + struct.pack(">H", 1),
                 struct.pack(">I", 4) + b"disk" + struct.pack(">H", 65535),
                 struct.pack(">I", 4) + b"disk" + struct.pack(">H", 1) + b"\0",
                 struct.pack(">I", 4) + b"disk" + bytes(3), struct.pack(">I", 4) + b"disk" + bytes(4)]
        for number in (OPT_INFO, OPT_GO):
            for data in cases:
                self.assertEqual(connection.option_result(number, data), ERR_INVALID, f"option {number}: {data!r}")
        self.after_option(connection)

    def test_name_of_4097_bytes(self):
        """R2 R24: a name above 4096 bytes gets ERR_INVALID."""
        connection = self.client()
        self.assertEqual(connection.information(OPT_GO, "x" * 4097), ERR_INVALID)
        self.after_option(connection)

    def test_name_with_nul(self):
        """R1 R24: a name with a NUL is invalid, and the stream stays in step."""
        connection = self.client()
        for number in (OPT_INFO, OPT_GO):
            self.assertEqual(connection.information(number, "disk\0"), ERR_INVALID)
        self.after_option(connection)

    def test_go_without_padding(self):
        """R51: no zeroes after GO, whatever NO_ZEROES says."""
        connection = self.client(client_flags=FLAG_FIXED_NEWSTYLE)
        connection.go("disk")
        self.assertEqual(connection.call(CMD_READ, 0, 16).cookie, connection.cookies)

    def test_client_that_does_not_ask_for_sizes(self):
        """R49 R115: no ERR_BLOCK_SIZE_REQD where the sizes are the default ones."""
        self.assertIsInstance(self.client().information(OPT_INFO, "disk"), nbd_raw.Info)
        self.assertIsInstance(self.client().information(OPT_GO, "disk"), nbd_raw.Info)


class OddSizesTest(DaemonTest):
    """Files whose size is not a multiple of 512, and names at their limits."""

    @classmethod
    def prepare(cls):
        images.make_random(cls.path("odd.img"), 8388908)
        cls.long_name = "n" * 4096
        return [*file_node("odd", cls.path("odd.img")), *nbd_export("odd"),
                *null_node("null", 1000), *nbd_export("null")]

    def test_sizes_are_rounded_up_to_512(self):
        """A file of 8388908 bytes exports 8389120; null-co of 1000 exports 1024."""
        self.assertEqual(self.client().go("odd").size, 8389120)
        self.assertEqual(self.client().go("null").size, 1024)

    def test_size_is_a_multiple_of_the_minimum(self):
        """R53 R113: a minimum block size above 1 is told, and the size of the export is a multiple of it."""
        options = {"driver": "file", "node-name": "direct", "filename": self.path("odd.img"), "read-only": True,
                   "cache": {"direct": True}}
        if "error" in self.qmp.command("blockdev-add", options):
            self.skipTest("no direct I/O here")
        self.addCleanup(self.qmp.command, "blockdev-del", {"node-name": "direct"})
        self.add_export("direct")
        info = self.client().information(OPT_INFO, "direct", [INFO_BLOCK_SIZE])
        minimum, _, _ = struct.unpack(">III", info.items[INFO_BLOCK_SIZE])
        self.assertGreaterEqual(minimum, 512)
        self.assertEqual(info.size % minimum, 0)
        self.assertGreaterEqual(info.size, 8388908)

    def test_tail_reads_as_zero(self):
        """Bytes between the end of the file and the end of the export are zero."""
        data = self.session("odd").read(8388908 - 100, 312)
        self.assertEqual(data[:100], images.read_range(self.path("odd.img"), 8388908 - 100, 100))
        self.assertEqual(data[100:], bytes(212))

    def test_name_of_4096_bytes(self):
        """R2: an export name of 4096 bytes, and a description of that length, work everywhere."""
        self.add_export("long", "null", name=self.long_name, description="d" * 4096)
        self.assertIn((self.long_name, "d" * 4096), self.client().list())
        self.assertEqual(self.client().go(self.long_name).size, 1024)
        self.assertEqual(self.client().export_name(self.long_name).size, 1024)

    def test_unicode_name(self):
        """R1: a name beyond ASCII arrives as UTF-8."""
        self.add_export("unicode", "null", name="диск-磁盘")
        self.assertIn(("диск-磁盘", ""), self.client().list())
        self.assertEqual(self.client().go("диск-磁盘").size, 1024)


class TcpTest(DaemonTest):
    """The NBD server on TCP."""

    nbd_server = None

    @classmethod
    def prepare(cls):
        cls.port = daemon.free_port()
        return ["--nbd-server", f"addr.type=inet,addr.host=127.0.0.1,addr.port={cls.port}",
                *null_node("null", 32 * MIB), *nbd_export("null")]

    def tcp(self):
        """A raw connection over TCP."""
        client = socket.create_connection(("127.0.0.1", self.port), settings.seconds(10))
        connection = nbd_raw.Connection(client)
        self.addCleanup(connection.close)
        return connection

    def test_go(self):
        """A handshake and a read over TCP."""
        connection = self.tcp()
        connection.go("null")
        self.assertEqual(len(connection.read(0, MIB)), MIB)

    def test_no_delay(self):
        """R5: 200 small requests in lockstep are not held up by Nagle's algorithm, 40 ms each."""
        connection = self.tcp()
        connection.go("null")
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        started = time.monotonic()
        for index in range(200):
            connection.read(index * 512, 512)
        self.assertLess(time.monotonic() - started, settings.seconds(4))

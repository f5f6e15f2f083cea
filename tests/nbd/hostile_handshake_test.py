"""Hostile handshakes: cut at every byte, split at every byte, lying lengths, options in every order.

A CVE number names the fault of another NBD server that the test is modelled on.
"""

import struct

from hostile import HostileTcpTest, HostileTest, option_sequences, read_session, session_script
from lib import nbd_raw, settings
from lib.nbd_raw import info_bytes, meta_bytes, option_bytes
from lib.nbd_wire import *
from lib.settings import modes


class LengthsTest(HostileTest):
    """Lengths that lie."""

    def ends(self, number, length, data=b""):
        """The option with that length field ends the connection at once: nothing of that length is awaited."""
        connection = self.client()
        connection.send_option(number, data, length)
        self.assertTrue(connection.at_end(), f"option {number} of {length:#x} bytes")

    def test_option_of_4_gigabytes(self):
        """An option that announces more than 32 MiB ends the connection at once (CVE-2017-15119)."""
        for number in (OPT_EXPORT_NAME, OPT_LIST, OPT_INFO, OPT_GO, OPT_SET_META_CONTEXT, OPT_STRUCTURED_REPLY, 99):
            for length in (0xFFFFFFFF, 0x80000000, MAX_PAYLOAD + 1):
                self.ends(number, length)

    def test_export_name_of_4_gigabytes(self):
        """EXPORT_NAME with a length of 0xffffffff ends the connection (CVE-2022-26495)."""
        self.ends(OPT_EXPORT_NAME, 0xFFFFFFFF)

    def test_name_lengths_in_info_and_go(self):
        """INFO and GO whose name length does not fit get an error, in step (CVE-2022-26495, CVE-2022-26496)."""
        connection = self.client()
        for number in (OPT_INFO, OPT_GO):
            for claimed in (5, 1000, 4097, 8000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFA, 0xFFFFFFFC):
                data = struct.pack(">I", claimed) + b"disk" + bytes(2)
                self.assertTrue(connection.option_result(number, data) & REP_ERROR, f"{number} claims {claimed:#x}")
            data = struct.pack(">I", 4) + b"disk" + struct.pack(">H", 65535)
            self.assertTrue(connection.option_result(number, data) & REP_ERROR)
        self.assertTrue(connection.list())

    def test_names_around_buffer_sizes(self):
        """Unknown names of 255 to 4097 bytes in every option that takes a name (CVE-2017-15118)."""
        for size in (255, 256, 257, 511, 512, 3000, 4095, 4096, 4097):
            name = b"n" * size
            connection = self.client()
            for number, data in ((OPT_INFO, info_bytes(name)), (OPT_GO, info_bytes(name)),
                                 (OPT_LIST_META_CONTEXT, meta_bytes(name)), (OPT_SET_META_CONTEXT, meta_bytes(name))):
                self.assertTrue(connection.option_result(number, data) & REP_ERROR, f"option {number}, {size} bytes")
            connection.send_option(OPT_EXPORT_NAME, name)
            self.assertTrue(connection.at_end())

    def test_names_that_break_messages(self):
        """Unknown names of %s, of 0xff, of NUL, of line ends get an error whose text is clean (CVE-2020-10761)."""
        connection = self.client()
        for name in (b"%s%n" * 1024, b"\xff" * 4096, b"\0" * 4096, b"\r\n" * 2048, b"\x1b[2J" * 500,
                     "ё".encode() * 2048, b"a" * 79 + "ё".encode() * 100, b"a" * 78 + "€".encode() * 100):
            for number in (OPT_INFO, OPT_GO):
                replies = connection.option(number, info_bytes(name)) if settings.qemu_version() is None else None
                if replies is None:
                    connection.send_option(number, info_bytes(name))
                    replies = [connection.read_option_reply(number)]
                self.assertIn(replies[-1][0], (ERR_UNKNOWN, ERR_INVALID))
        self.assertTrue(connection.list())

    def test_large_options_are_skipped(self):
        """Unknown options of 1 and 8 MiB are skipped, without memory for them, and the connection lives."""
        before = self.daemon.rss()
        for size in (1 << 20, 8 << 20):
            connection = self.client()
            self.assertEqual(connection.option_result(99, bytes(size)), ERR_UNSUP)
            self.assertTrue(connection.list())
        if not settings.sanitized():
            self.assertLess(self.daemon.rss() - before, 6 << 20)

    def test_many_queries(self):
        """SET_META_CONTEXT of 100,000 empty queries, or of 8,000 long ones, is too big; the connection lives."""
        expected = REP_ACK if settings.is_qemu() else ERR_TOO_BIG
        for queries in ([b""] * 100_000, [b"base:allocation"] * 50_000, [b"x" * 4096] * 8000):
            connection = self.client()
            connection.structured_reply()
            self.assertEqual(connection.option_result(OPT_SET_META_CONTEXT, meta_bytes("disk", queries)), expected)
            self.assertTrue(connection.list())

    def test_queries_up_to_the_limit(self):
        """What fits an option of 64 KiB is answered, however many queries it is."""
        for queries, expected in (([b""] * 16_000, set()), ([b"base:allocation"] * 3000, {"base:allocation"})):
            connection = self.client()
            connection.structured_reply()
            self.assertEqual(set(connection.set_contexts("disk", queries)), expected)


class CutTest(HostileTest):
    """Clients that go away."""

    def test_close_at_every_byte(self):
        """The client closes after every byte of a whole session, in every mode (CVE-2013-7441)."""
        for mode in modes():
            self.cut_everywhere(mode, nbd_raw.Connection.close)
        self.fds_return()

    def test_close_after_the_greeting_at_every_byte(self):
        """The same, the greeting having been read first."""
        def leave(connection):
            connection.receive(18)
            connection.close()
        self.cut_everywhere("structured", leave)
        self.fds_return()

    def test_close_before_reading(self):
        """5,000 connects that close at once, as a port scan does (CVE-2017-9524)."""
        for _ in range(5000):
            self.connect().close()
        self.fds_return()

    def test_unknown_export_name(self):
        """EXPORT_NAME of a name that does not exist, 500 times (CVE-2011-1925)."""
        for _ in range(500):
            connection = self.client()
            connection.send_option(OPT_EXPORT_NAME, b"nope")
            self.assertTrue(connection.at_end())
            connection.close()
        self.fds_return()

    def test_half_close_at_every_byte(self):
        """The client ends its sending side after every byte and reads what comes."""
        options, requests, _ = session_script("structured")
        script = options + requests
        for length in range(0, len(script) + 1):
            connection = nbd_raw.Connection(self.connect(), hello=False)
            connection.send(script[:length])
            connection.socket.shutdown(1)
            while connection.socket.recv(65536):
                pass
            connection.close()
        self.fds_return()


class ResetTest(HostileTcpTest):
    """Resets, over TCP."""

    def test_reset_at_every_byte(self):
        """The client resets the connection after every byte of a session, in every mode."""
        for mode in modes():
            self.cut_everywhere(mode, nbd_raw.Connection.reset)
        self.fds_return()

    def test_reset_with_replies_queued(self):
        """A reset while 16 replies of 1 MiB are on their way: SIGPIPE does not end the server (CVE-2017-10664)."""
        for _ in range(20):
            connection = nbd_raw.Connection(self.connect())
            connection.negotiate("null")
            for index in range(16):
                connection.send_request(CMD_READ, index << 20, 1 << 20)
            connection.receive(100_000)
            connection.reset()
        self.fds_return()


class SplitTest(HostileTest):
    """Segments of every size."""

    def split_everywhere(self, mode):
        """Sends a session in two segments, split at every byte; the answers are always the same."""
        options, requests, asked = session_script(mode)
        script = options + requests
        expected = None
        pinger = self.session("null")
        for cut in range(len(script), 0, -1):
            connection = nbd_raw.Connection(self.connect(), client_flags=None)
            connection.mode = mode
            connection.send(script[:cut])
            pinger.read(0, 1)  # A round trip elsewhere: by now the server has seen the first segment.
            connection.send(script[cut:])
            answers = read_session(connection, mode, asked)
            expected = expected or answers
            self.assertEqual(answers, expected, f"split after byte {cut}")
            connection.close()
        self.fds_return(1 + self.REACTOR_FDS)

    def test_simple(self):
        """R132: a simple session split at every byte (CVE-2017-7539)."""
        self.split_everywhere("simple")

    def test_structured(self):
        """R132: a structured session split at every byte."""
        self.split_everywhere("structured")

    @settings.since_qemu(8, 2, "no extended headers")
    def test_extended(self):
        """R132: an extended session split at every byte."""
        self.split_everywhere("extended")

    def test_byte_by_byte(self):
        """R132: every byte of a session in a segment of its own."""
        for mode in modes():
            options, requests, asked = session_script(mode)
            whole, bytewise = (nbd_raw.Connection(self.connect(), client_flags=None) for _ in range(2))
            whole.send(options + requests)
            for byte in options + requests:
                bytewise.send(bytes([byte]))
            self.assertEqual(read_session(bytewise, mode, asked), read_session(whole, mode, asked))
            whole.close()
            bytewise.close()


class SequencesTest(HostileTest):
    """Options in every order against a model of the handshake."""

    def expect(self, name, state):
        """The type that ends the answer to an option in this state, None for a silent close."""
        structured, extended = state
        known = settings.qemu_version() is None or settings.qemu_version() >= (8, 2)
        if name == "STRUCTURED":
            return ERR_EXT_HEADER_REQD if extended else ERR_INVALID if structured else REP_ACK
        if name == "EXTENDED":
            return ERR_UNSUP if not known else ERR_INVALID if extended else REP_ACK
        if name == "SET_META":
            return REP_ACK if structured or extended else ERR_INVALID
        return {"STARTTLS": ERR_POLICY, "99": ERR_UNSUP}.get(name, REP_ACK)

    def run_sequence(self, names):
        """Sends the options one by one, compares each answer with the model, and reads where a session began."""
        data = {"LIST": (OPT_LIST, b""), "INFO": (OPT_INFO, info_bytes("disk")), "GO": (OPT_GO, info_bytes("disk")),
                "STRUCTURED": (OPT_STRUCTURED_REPLY, b""), "EXTENDED": (OPT_EXTENDED_HEADERS, b""),
                "LIST_META": (OPT_LIST_META_CONTEXT, meta_bytes("disk")), "STARTTLS": (OPT_STARTTLS, b""),
                "SET_META": (OPT_SET_META_CONTEXT, meta_bytes("disk", ["base:allocation"])),
                "ABORT": (OPT_ABORT, b""), "NAME": (OPT_EXPORT_NAME, b"disk"), "99": (99, b"")}
        connection = nbd_raw.Connection(self.connect(), client_flags=None)
        structured = extended = False
        connection.send(struct.pack(">I", 3))
        for name in names:
            number, payload = data[name]
            if name == "NAME":
                connection.send_option(number, payload)
                if extended:
                    self.assertTrue(connection.at_end(), names)
                else:
                    connection.receive(10)
                    self.read_after(connection, structured, extended, names)
                break
            kind = connection.option_result(number, payload)
            self.assertEqual(kind, self.expect(name, (structured, extended)), f"{name} in {names}")
            if name == "ABORT":
                self.assertTrue(connection.at_end(), names)
                break
            structured |= name == "STRUCTURED" and kind == REP_ACK
            extended |= name == "EXTENDED" and kind == REP_ACK
            if name == "GO":
                self.read_after(connection, structured, extended, names)
                break
        connection.close()

    def read_after(self, connection, structured, extended, names):
        """The first request is answered in the mode that was negotiated."""
        connection.mode = "extended" if extended else "structured" if structured else "simple"
        self.assertEqual(len(connection.read(0, 512)), 512, names)

    def test_all_up_to_three(self):
        """All 1,463 sequences of up to three options (CVE-2019-14851)."""
        for names in option_sequences(3):
            self.run_sequence(names)
        self.fds_return()


class LongSequencesTest(SequencesTest):
    """The same, longer."""

    test_all_up_to_three = None

    def test_all_of_four(self):
        """All sequences of four options in which the session is not over earlier."""
        for names in option_sequences(4):
            if len(names) == 4 and not {"GO", "NAME", "ABORT"} & set(names[:3]):
                self.run_sequence(names)
        self.fds_return()

    def test_many_options(self):
        """A client that sends 20,000 options, 100 at a time, is answered, and others are served meanwhile."""
        connection = self.client()
        for number in range(200):
            connection.send(option_bytes(OPT_LIST) * 100)
            if number % 20 == 0:
                self.good_client()
            for _ in range(100):
                self.assertEqual(len(connection.option_replies(OPT_LIST)), 4)

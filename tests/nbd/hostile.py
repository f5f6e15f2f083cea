"""Shared code of the tests with hostile clients: a server, a normal client that must always connect, scripts of
bytes."""

import itertools
import os
import socket
import struct
import time

from lib import daemon, images, nbd_raw, settings, wait
from lib.images import MIB
from lib.nbd_raw import info_bytes, meta_bytes, option_bytes, request_bytes
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, nbd_export, null_node

SIZE = 8 * MIB
GOOD_CLIENT_SECONDS = 1.0


class HostileTest(DaemonTest):
    """A server with a writable disk and a null node. After each test a good client is served within a second."""

    nbd_server = "max-connections=0"

    @classmethod
    def prepare(cls):
        cls.disk = images.make_random(cls.path("disk.img"), SIZE)
        return [*file_node("disk", cls.disk, discard="unmap"), *nbd_export("disk", writable="on"),
                "--export", "type=nbd,id=ro,node-name=disk,name=ro",
                *null_node("null", 1 << 40), *nbd_export("null", writable="on")]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.fds_before = cls.daemon.open_fds()

    def tearDown(self):
        super().tearDown()
        self.good_client()

    def good_client(self, seconds=GOOD_CLIENT_SECONDS):
        """A client that does everything right is served at once."""
        started = time.monotonic()
        connection = nbd_raw.Connection(self.connect())
        connection.negotiate("disk", "structured", ["base:allocation"])
        data = connection.read(0, 65536)
        connection.close()
        self.assertLess(time.monotonic() - started, settings.seconds(seconds), "the good client waited")
        self.assertEqual(data[:1000], images.read_range(self.disk, 0, 1000))

    def connect(self):
        """A fresh socket."""
        return self.daemon.connect_nbd()

    # Of a reactor that was started meanwhile: its ring, what wakes it, and what tells it of hang-ups.
    REACTOR_FDS = 3

    def fds_return(self, slack=REACTOR_FDS):
        """Waits until the server has given back the descriptors of clients that left."""
        most = self.fds_before + slack
        wait.until(lambda: self.daemon.open_fds() <= most, 20, "the descriptors of clients that left", interval=0.01)

    def cut_everywhere(self, mode, stop):
        """Sends each prefix of a session and leaves by stop(connection)."""
        options, requests, _ = session_script(mode)
        script = options + requests
        for length in range(len(script) + 1):
            connection = nbd_raw.Connection(self.connect(), hello=False)
            try:
                connection.send(script[:length])
            except ConnectionError:
                pass
            stop(connection)


class HostileTcpTest(HostileTest):
    """The same over TCP, where a connection can be reset."""

    nbd_server = None

    @classmethod
    def prepare(cls):
        cls.port = daemon.free_port()
        server = f"addr.type=inet,addr.host=127.0.0.1,addr.port={cls.port},max-connections=0"
        return ["--nbd-server", server, *super().prepare()]

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), settings.seconds(10))


def session_script(mode="structured"):
    """The bytes of a whole client session: (handshake with GO, requests, {cookie: Request})."""
    options = struct.pack(">I", 3) + option_bytes(OPT_LIST) + option_bytes(99, b"unknown")
    if mode == "structured":
        options += option_bytes(OPT_STRUCTURED_REPLY)
    elif mode == "extended":
        options += option_bytes(OPT_EXTENDED_HEADERS)
    contexts = {"base:allocation": 0} if mode != "simple" else {}
    if contexts:
        options += option_bytes(OPT_SET_META_CONTEXT, meta_bytes("disk", contexts))
    options += option_bytes(OPT_INFO, info_bytes("disk", [INFO_NAME])) + option_bytes(OPT_GO, info_bytes("disk"))
    data, requests = b"", {}
    asked = [(CMD_READ, 0, 600, 0, b""), (CMD_WRITE, 4 * MIB, 24, 0, b"W" * 24), (CMD_FLUSH, 0, 0, 0, b""),
             (CMD_WRITE_ZEROES, 5 * MIB, 4096, 0, b""), (CMD_READ, SIZE, 1, 0, b"")]
    if contexts:
        asked.append((CMD_BLOCK_STATUS, 0, 65536, 0, b""))
    for cookie, (command, offset, length, flags, payload) in enumerate(asked, 1):
        if mode == "extended" and command == CMD_WRITE:
            flags |= FLAG_PAYLOAD_LEN
        data += request_bytes(mode, command, offset, length, flags, cookie) + payload
        requests[cookie] = nbd_raw.Request(command, offset, length, flags, cookie, mode, contexts, "disk", b"")
    return options, data, requests


def read_session(connection, mode, requests):
    """Reads all answers to session_script(): what was negotiated and {cookie: (error, data, extents)}."""
    answers = [connection.option_replies(OPT_LIST), connection.option_replies(99)]
    if mode == "structured":
        answers.append(connection.option_replies(OPT_STRUCTURED_REPLY))
    elif mode == "extended":
        answers.append(connection.option_replies(OPT_EXTENDED_HEADERS))
    if mode != "simple":
        answers.append(connection.option_replies(OPT_SET_META_CONTEXT))
    answers += [connection.option_replies(OPT_INFO), connection.option_replies(OPT_GO)]
    for reply in connection.read_replies(dict(requests)):
        answers.append((reply.cookie, reply.error, reply.data, reply.extents()))
    return answers[:-len(requests)] + sorted(answers[-len(requests):], key=lambda answer: answer[0])


def option_sequences(longest):
    """All sequences of options up to that length."""
    names = ("LIST", "INFO", "GO", "STRUCTURED", "EXTENDED", "LIST_META", "SET_META", "STARTTLS", "ABORT", "NAME", "99")
    for length in range(1, longest + 1):
        yield from itertools.product(names, repeat=length)


def threads_of(pid):
    """How many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))

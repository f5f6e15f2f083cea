"""A disk below the real file driver that loses unflushed writes, for black-box tests of durability.

It is a file on a FUSE mount (nbdfuse), and behind that an NBD server in this process with a volatile cache. A flush
makes durable what was written before it began, and nothing else. So `stable` is what a power cut would leave.
"""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import threading
import unittest

from lib import tools, wait
from lib.nbd_wire import *

FLAGS = HAS_FLAGS | SEND_FLUSH | SEND_TRIM | SEND_WRITE_ZEROES


class ForgetfulDisk:
    """`path` is the file that the server under test opens; unittest.SkipTest where there can be none."""

    def __init__(self, directory, size):
        for program in ("nbdfuse", "umount"):
            if not shutil.which(program):
                raise unittest.SkipTest(f"{program} is not installed")
        if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
            raise unittest.SkipTest("mounting with FUSE needs root and /dev/fuse")
        self.path = os.path.join(directory, "forgetful.img")
        self.size = size
        self.lock = threading.Lock()
        self.cached = bytearray(size)
        self.stable = bytes(size)
        self.flushes = 0
        self.socket_path = os.path.join(directory, "forgetful.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.socket_path)
        self.listener.listen()
        self.server = threading.Thread(target=self.serve, daemon=True)
        self.server.start()
        with open(self.path, "wb"):
            pass
        self.fuse = subprocess.Popen(["nbdfuse", self.path, "--unix", self.socket_path], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(AssertionError):
            wait.until(lambda: self.fuse.poll() is not None or os.path.getsize(self.path) == size, 10, "the FUSE mount")
        if os.path.getsize(self.path) != size:
            self.close()
            raise unittest.SkipTest("nbdfuse cannot mount here")

    def close(self):
        """Takes the mount and the server away."""
        tools.finish("umount", "-l", self.path)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.fuse.wait(5)
        self.fuse.kill()
        self.fuse.wait()
        # Wakes accept(), if nobody ever came.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.server.join(10)

    def is_stable(self, offset, data):
        """Whether a power cut now would leave `data` at `offset`."""
        with self.lock:
            return self.stable[offset:offset + len(data)] == data

    def serve(self):
        """The one connection of nbdfuse."""
        with contextlib.suppress(OSError, EOFError):
            connection, _ = self.listener.accept()
            with connection, connection.makefile("rb") as stream:
                self.negotiate(connection, stream)
                while self.answer(connection, stream):
                    pass

    def negotiate(self, connection, stream):
        """Every option but the choice of the export is unknown here."""
        connection.sendall(struct.pack(">QQH", NBDMAGIC, IHAVEOPT, FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES))
        receive(stream, 4)
        while True:
            _, option, length = struct.unpack(">QII", receive(stream, 16))
            receive(stream, length)

            def reply(kind, payload=b"", option=option):
                connection.sendall(struct.pack(">QIII", OPTION_REPLY_MAGIC, option, kind, len(payload)) + payload)

            if option == OPT_EXPORT_NAME:
                connection.sendall(struct.pack(">QH", self.size, FLAGS))
                return
            if option == OPT_GO:
                reply(REP_INFO, struct.pack(">HQH", INFO_EXPORT, self.size, FLAGS))
                reply(REP_ACK)
                return
            reply(REP_ACK if option == OPT_ABORT else ERR_UNSUP)

    def answer(self, connection, stream):
        """One request; False when the client leaves."""
        _, _, command, cookie, offset, length = struct.unpack(">IHHQQI", receive(stream, 28))
        payload = b""
        with self.lock:
            if command == CMD_DISC:
                return False
            if command == CMD_READ:
                payload = bytes(self.cached[offset:offset + length])
            elif command == CMD_WRITE:
                self.cached[offset:offset + length] = receive(stream, length)
            elif command in (CMD_TRIM, CMD_WRITE_ZEROES):
                self.cached[offset:offset + length] = bytes(length)
            elif command == CMD_FLUSH:
                self.stable = bytes(self.cached)
                self.flushes += 1
        connection.sendall(struct.pack(">IIQ", SIMPLE_REPLY_MAGIC, 0, cookie) + payload)
        return True


def receive(stream, count):
    """Exactly so many bytes, or EOFError."""
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data

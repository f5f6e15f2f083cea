"""Hostile requests: every command with every flag, absurd lengths, clients that vanish mid-write.

A CVE number names the fault of another NBD server that the test is modelled on.
"""

import os
import signal
import struct
import subprocess
import sys

from hostile import SIZE, HostileTest
from lib import images, nbd_raw, settings, wait
from lib.images import MIB
from lib.nbd_raw import request_bytes
from lib.nbd_wire import *
from lib.settings import modes

LENGTHS = (0, 1, 511, 512, 513, (1 << 25) - 1, 1 << 25, (1 << 25) + 1, 1 << 26, (1 << 26) + 1, 1 << 31, 0xFFFFFE00,
           0xFFFFFFFF)
OFFSETS = (0, 1, SIZE - 1, SIZE, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 512, (1 << 64) - 1)


class FlagsTest(HostileTest):
    """Every command with every flag."""

    def allowed(self, command, mode):
        """The flags that a command knows."""
        known = {CMD_WRITE_ZEROES: FLAG_NO_HOLE | FLAG_FAST_ZERO, CMD_BLOCK_STATUS: FLAG_REQ_ONE}.get(command, 0)
        if command == CMD_READ and mode != "simple":
            known |= FLAG_DF
        if command == CMD_WRITE and mode == "extended":
            known |= FLAG_PAYLOAD_LEN
        return known | FLAG_FUA

    def every_flag(self, mode, export):
        """All 16 commands from 0 with all 16 flag bits, alone and in pairs with FUA."""
        connection = self.session(export, mode, ["base:allocation"] if mode != "simple" else [])
        for command in range(16):
            if command == CMD_DISC:
                continue
            for bits in [1 << bit for bit in range(16)] + [1 << bit | 1 for bit in range(16)]:
                payload = b""
                if command == CMD_WRITE or (mode == "extended" and bits & FLAG_PAYLOAD_LEN):
                    payload = bytes(512)
                reply = connection.call(command, 4096, 512, bits, payload)
                self.assertIn(reply.error, self.expected(command, bits, mode, export),
                              f"{mode} command {command} flags {bits:#x}")
        self.assertEqual(len(connection.read(0, 512)), 512)

    def expected(self, command, bits, mode, export):
        """The errors that are right: one, but where it does not matter which of two mistakes is told."""
        mistakes = set()
        if command > CMD_BLOCK_STATUS or bits & ~self.allowed(command, mode):
            mistakes.add(EINVAL)
        if export == "ro" and command in (CMD_WRITE, CMD_TRIM, CMD_WRITE_ZEROES):
            mistakes.add(EINVAL if settings.is_qemu() else EPERM)
        if command == CMD_BLOCK_STATUS and mode == "simple":
            mistakes.add(EINVAL)  # there are no contexts
        return mistakes or {0}

    def test_every_flag(self):
        """What the protocol has is done, all else gets EINVAL, in every mode, and the connection lives."""
        for mode in modes():
            self.every_flag(mode, "disk")

    def test_every_flag_read_only(self):
        """The same on a read-only export; nothing is written."""
        before = images.sha256(self.disk)
        for mode in modes():
            self.every_flag(mode, "ro")
        self.assertEqual(images.sha256(self.disk), before)

    def test_disc_with_flags(self):
        """DISC ends the connection whatever its flags, offset and length."""
        for mode in modes():
            for bits in (0, 1, 0x8000, 0xFFFF & ~FLAG_PAYLOAD_LEN):
                connection = self.session("disk", mode)
                connection.send_request(CMD_DISC, 1 << 63, 0, bits)
                self.assertTrue(connection.at_end())


class LengthsTest(HostileTest):
    """Every command with edges of length and offset."""

    def is_done(self, command, offset, length, mode):
        """Whether a request without a payload succeeds."""
        if command == CMD_BLOCK_STATUS and (mode == "simple" or length == 0):
            return False
        is_short = command not in (CMD_READ, CMD_CACHE) or length <= MAX_PAYLOAD
        return command < 8 and offset + length <= SIZE and is_short

    def test_edges_without_payload(self):
        """Each combination inside the export is done, all others fail without memory for the length (CVE-2005-3534)."""
        before = self.daemon.rss()
        for mode in modes():
            connection = self.session("disk", mode, ["base:allocation"] if mode != "simple" else [])
            lengths = LENGTHS + ((1 << 32, (1 << 63) - 512, (1 << 64) - 1) if mode == "extended" else ())
            for command in (CMD_READ, CMD_FLUSH, CMD_TRIM, CMD_CACHE, CMD_WRITE_ZEROES, CMD_BLOCK_STATUS, 8, 0xFFFF):
                for offset in OFFSETS[1:]:
                    for length in lengths:
                        reply = connection.call(command, offset, length)
                        self.assertEqual(reply.error == 0, self.is_done(command, offset, length, mode),
                                         f"{mode} command {command} {offset:#x}+{length:#x}: {reply.error}")
            self.assertEqual(len(connection.read(0, 512)), 512)
        if not settings.sanitized():
            self.assertLess(self.daemon.rss() - before, 48 << 20)

    def test_writes_of_absurd_length(self):
        """WRITE of up to 32 MiB past the end keeps its payload in step; above, the connection ends."""
        for mode in modes():
            for length in LENGTHS:
                connection = self.session("disk", mode)
                flags = FLAG_PAYLOAD_LEN if mode == "extended" else 0
                connection.send(request_bytes(mode, CMD_WRITE, SIZE, length, flags, 1))
                request = nbd_raw.Request(CMD_WRITE, SIZE, length, flags, 1, mode, {}, "disk", b"")
                if length <= MAX_PAYLOAD:
                    connection.send(bytes(length))
                    self.assertEqual(connection.read_reply(request).error != 0, length > 0)
                    self.assertEqual(len(connection.read(0, 512)), 512)
                    continue
                try:
                    self.assertNotEqual(connection.read_reply(request).error, 0)
                except nbd_raw.Closed:
                    continue
                self.assertTrue(connection.at_end(), f"{length:#x}")

    def test_block_status_of_everything(self):
        """BLOCK_STATUS of nearly 4 GiB, and 2^63, over a node of a tebibyte, REQ_ONE and not."""
        for mode in modes()[1:]:
            connection = self.session("null", mode, ["base:allocation"])
            for length in (0xFFFFFFFF, 0xFFFFFE00, 1 << 40 if mode == "extended" else 1 << 31):
                for flags in (0, FLAG_REQ_ONE):
                    self.assertTrue(connection.block_status(0, length, flags))

    def test_garbage(self):
        """1,000 requests of random bytes, each on a connection of its own, end that connection only."""
        noise = images.random_bytes(28 * 1000, 99)
        for index in range(1000):
            connection = nbd_raw.Connection(self.connect())
            connection.negotiate("disk", modes()[index % len(modes())])
            connection.send(noise[index * 28:index * 28 + 28] + bytes(4))
            while True:
                try:
                    if not connection.socket.recv(65536):
                        break
                except ConnectionError:
                    break
            connection.close()
        self.fds_return()


CUT_WRITER = """
import os, signal, socket, struct, sys
sys.path.insert(0, sys.argv[1])
from lib import nbd_raw
from lib.nbd_wire import *
from lib.settings import modes
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[2])
connection = nbd_raw.Connection(client)
connection.go("disk")
connection.send(nbd_raw.request_bytes("simple", CMD_WRITE, 0, 1 << 20, 0, 1) + b"Z" * int(sys.argv[3]))
os.kill(os.getpid(), signal.SIGKILL)
"""


class VanishTest(HostileTest):
    """Clients that die."""

    def test_killed_mid_write(self):
        """A client killed by SIGKILL in the middle of a write leaves not a byte of it."""
        before = images.sha256(self.disk)
        tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        for sent in (0, 1, 4096, 65536, 262144, 1000000, (1 << 20) - 1):
            command = [sys.executable, "-c", CUT_WRITER, tests, self.daemon.nbd_path, str(sent)]
            result = subprocess.run(command, check=False, timeout=settings.seconds(30))
            self.assertEqual(result.returncode, -signal.SIGKILL)
            self.fds_return()
            self.assertEqual(images.sha256(self.disk), before, f"after {sent} bytes of the payload")

    def test_cut_writes(self):
        """300 writes whose client closes in the middle of the payload: none is applied."""
        before = images.sha256(self.disk)
        for index in range(300):
            connection = nbd_raw.Connection(self.connect())
            connection.negotiate("disk", modes()[index % len(modes())])
            flags = FLAG_PAYLOAD_LEN if connection.mode == "extended" else 0
            header = request_bytes(connection.mode, CMD_WRITE, index * 512, 65536, flags, 1)
            connection.send(header + b"Z" * (index * 218))
            connection.close()
        self.fds_return()
        self.assertEqual(images.sha256(self.disk), before)

    def test_no_stale_write_after_a_loss(self):
        """The stale-write fence: a write left behind by a lost connection never lands on a newer acknowledged one."""
        for round_number in range(150):
            lost = nbd_raw.Connection(self.connect())
            lost.go("disk")
            for _ in range(16):
                lost.send_request(CMD_WRITE, 2 * MIB, 65536, 0, b"O" * 65536)
            lost.close()
            self.fds_return()  # The server has noticed the loss.
            fresh = nbd_raw.Connection(self.connect())
            fresh.go("disk")
            self.assertEqual(fresh.write(2 * MIB, b"N" * 65536), 0)
            self.assertEqual(fresh.read(2 * MIB, 65536), b"N" * 65536, f"round {round_number}")
            fresh.close()
        self.assertEqual(images.read_range(self.disk, 2 * MIB, 65536), b"N" * 65536)

    def test_close_with_requests_in_flight(self):
        """Clients that leave with 16 large reads unanswered cost nothing that stays."""
        for _ in range(100):
            connection = nbd_raw.Connection(self.connect())
            connection.negotiate("null", "structured")
            for index in range(16):
                connection.send_request(CMD_READ, index << 20, 1 << 20)
            connection.close()
        self.fds_return()

    def test_fault_of_one_is_not_felt_by_another(self):
        """R196: while clients vanish mid-request, another one reads and writes without an error."""
        good = self.session("disk", "structured")
        for index in range(100):
            bad = nbd_raw.Connection(self.connect())
            bad.go("disk")
            bad.send(struct.pack(">I", REQUEST_MAGIC) + bytes(index % 24))
            data = images.random_bytes(4096, index)
            self.assertEqual(good.write(3 * MIB + index * 4096, data), 0)
            self.assertEqual(good.read(3 * MIB + index * 4096, 4096), data)
            bad.close()
        good.close()
        wait.until(lambda: self.daemon.open_fds() <= self.fds_before + self.REACTOR_FDS, 10, "the descriptors")

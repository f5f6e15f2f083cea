"""Large reads that are sent directly from the page cache: a client that stops in one must not delay others."""

import os
import time
from socket import MSG_PEEK

from lib import images, nbd_raw, settings, wait
from lib.images import MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest

SIZE = 8 * MIB
ASKED = 64  # reads of 1 MiB; a unix socket takes the first few of them
SOON = 2.0  # seconds in which what does not wait for a client is done


class FileRepliesTest(DaemonTest):
    """A client asks for much more than its socket takes, and reads nothing until the test says so."""

    @classmethod
    def prepare(cls):
        cls.disk = images.make_random(cls.path("disk.img"), SIZE)
        cls.content = images.read_range(cls.disk, 0, SIZE)
        return []

    def setUp(self):
        self.qmp.events.clear()
        images.make_random(self.disk, SIZE)
        self.options = {"driver": "raw", "node-name": "disk",
                        "file": {"driver": "file", "node-name": "file", "filename": self.disk}}
        self.add_node("disk", driver="raw", file=self.options["file"])
        self.add_export("disk", writable=True)

    def stalled(self, mode="structured"):
        """The client and its requests, the first of which it has the beginning of a reply to."""
        client = self.session("disk", mode)
        pending = {}
        for index in range(ASKED):
            request = client.send_request(CMD_READ, index % 7 * MIB, MIB)
            pending[request.cookie] = request
        first = next(iter(pending))
        # Its bytes are on their way; then the socket is full, and all the rest has been begun.
        wait.until(lambda: client.socket.recv(1, MSG_PEEK), 10, f"the reply to {first}")
        if not settings.is_qemu():  # which does not count them
            wait.until(lambda: self.reads_begun() >= ASKED, 10, "the requests behind it to be begun")
        return client, pending

    def reads_begun(self):
        """Reads of the node so far; one whose reply leaves from the file counts as soon as that is queued."""
        found = self.qmp.execute("query-blockstats", {"query-nodes": True})
        return next(entry["stats"]["rd_operations"] for entry in found if entry.get("node-name") == "disk")

    def take_all(self, client, pending):
        """Reads every reply, and judges it."""
        while pending:
            reply = client.read_reply(pending)
            request = pending.pop(reply.cookie)
            self.assertEqual(reply.error, 0)
            self.assertEqual(reply.data, self.content[request.offset:request.offset + request.length])

    def error_of_lost_part(self):
        """What a read behind the new end gives; None for a client that was cut, as who asks just then may be."""
        other = self.session("disk")
        try:
            return other.call(CMD_READ, 4 * MIB, MIB).error
        except nbd_raw.Closed:
            return None
        finally:
            other.close()

    def soon(self, action):
        """What action() returns; it must not take long."""
        started = time.monotonic()
        result = action()
        self.assertLess(time.monotonic() - started, settings.seconds(SOON))
        return result

    def test_all_modes(self):
        """A slow client gets every byte right, in every mode."""
        for mode in ("simple", "structured"):
            client, pending = self.stalled(mode)
            self.take_all(client, pending)
            client.close()

    def test_others_are_served(self):
        """Other clients read and write as ever."""
        client, pending = self.stalled()
        other = self.session("disk")
        data = images.random_bytes(4096, 9)
        self.assertEqual(self.soon(lambda: other.write(7 * MIB, data)), 0)
        self.assertEqual(self.soon(lambda: other.read(7 * MIB, 4096)), data)
        self.assertEqual(self.soon(lambda: other.read(0, 2 * MIB)), self.content[:2 * MIB])
        self.take_all(client, pending)

    def test_reopen(self):
        """blockdev-reopen with another way of opening the file does not wait; the replies come from the old one."""
        client, pending = self.stalled()
        again = {**self.options["file"], "cache": {"direct": True}}
        reply = self.soon(lambda: self.qmp.command("blockdev-reopen", {"options": [again]}))
        if "error" in reply:
            self.skipTest(f"no direct I/O here: {reply['error']['desc']}")
        self.take_all(client, pending)
        self.assertEqual(client.read(0, MIB), self.content[:MIB])

    def test_resize(self):
        """block_resize does not wait either."""
        client, pending = self.stalled()
        self.soon(lambda: self.qmp.execute("block_resize", {"node-name": "disk", "size": SIZE + MIB}))
        self.take_all(client, pending)

    def test_hard_removal(self):
        """hard ends the client at once, and the node can go."""
        client, pending = self.stalled()
        self.soon(lambda: self.qmp.execute("block-export-del", {"id": "disk", "mode": "hard"}))
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        with self.assertRaises(nbd_raw.Closed):
            self.take_all(client, pending)
        self.soon(lambda: self.qmp.execute("blockdev-del", {"node-name": "disk"}))

    @settings.unlike_qemu("the mode is ours")
    def test_soft_removal(self):
        """soft lets it take what it was promised; what it asks for then is refused."""
        client, pending = self.stalled()
        self.soon(lambda: self.qmp.execute("block-export-del", {"id": "disk", "mode": "soft"}))
        self.take_all(client, pending)
        self.assertEqual(client.call(CMD_READ, 0, MIB).error, ESHUTDOWN)

    @settings.unlike_qemu("it cuts its clients")
    def test_file_cut_short(self):
        """A file that is cut under announced replies cuts the client, with one line; the others go on."""
        client, pending = self.stalled()
        os.truncate(self.disk, MIB // 2)
        # The bytes that the socket had taken by then are the kernel's; it may have lost its content.
        with self.assertRaises(nbd_raw.Closed):
            while pending:
                reply = client.read_reply(pending)
                self.assertEqual(reply.error, 0)
                del pending[reply.cookie]
            self.skipTest("replies are copies here: the kernel does not tell what is in the page cache")
        line = b"its client is disconnected"
        said = wait.until(lambda: line in self.daemon.stderr() and self.daemon.stderr(), 10, "the line")
        self.assertEqual(said.count(line), 1, said)
        self.assertEqual(self.session("disk").read(0, 4096), self.content[:4096])
        wait.until(lambda: self.error_of_lost_part() == EIO, 10, "the error of a part that is gone")

    @settings.unlike_qemu("it cuts its clients")
    def test_server_stop(self):
        """nbd-server-stop gives it the grace and then ends it."""
        self.addCleanup(self.qmp.command, "nbd-server-start",
                        {"addr": {"type": "unix", "data": {"path": self.daemon.nbd_path}}})
        client, pending = self.stalled()
        started = time.monotonic()
        self.qmp.execute("nbd-server-stop")
        took = time.monotonic() - started
        self.assertGreater(took, 4)
        self.assertLess(took, settings.seconds(5 + SOON))
        with self.assertRaises(nbd_raw.Closed):
            self.take_all(client, pending)

"""Shutdown of the server by signals and quit, with clients in every state."""

import signal
import unittest

from lib import daemon, images, nbd_raw, settings
from lib.images import MIB
from lib.nbd_wire import *
from lib.testcase import file_node, nbd_export, null_node
from removal_test import Writer


# Whoever is waited for though nobody needs it would be seen: the bars are far below.
LONG_GRACE_SECONDS = 60


class ShutdownTest(unittest.TestCase):
    """One server for each test, since none survives it. Its clients could have a minute to take their replies."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        self.disk = images.make_empty(f"{self.workdir}/disk.img", 8 * MIB)
        arguments = [*file_node("disk", self.disk), *nbd_export("disk", writable="on"),
                     *null_node("null", 1 << 30), *nbd_export("null"),
                     *null_node("slow", 1 << 30, **{"latency-ns": 1_500_000_000}), *nbd_export("slow")]
        if settings.qemu_version() is None and self._testMethodName != "test_with_a_client_that_does_not_read":
            arguments += ["--shutdown-grace-seconds", str(LONG_GRACE_SECONDS)]
        self.daemon = daemon.Daemon(self.workdir, arguments)
        self.addCleanup(self.daemon.kill)
        self.daemon.start()

    def session(self, export):
        """A raw connection in transmission."""
        connection = nbd_raw.Connection(self.daemon.connect_nbd())
        self.addCleanup(connection.close)
        connection.go(export)
        return connection

    def end(self, number, limit):
        """Sends the signal; the server ends with 0 within the limit."""
        self.daemon.signal(number)
        self.daemon.check_end(self.daemon.wait_exit(limit))

    def test_terminate(self):
        """SIGTERM ends an idle server with 0, without the grace of clients."""
        self.end(signal.SIGTERM, 5)

    def test_interrupt(self):
        """SIGINT ends an idle server with 0, without the grace of clients."""
        self.end(signal.SIGINT, 5)

    def test_hangup(self):
        """SIGHUP ends an idle server with 0, without the grace of clients."""
        self.end(signal.SIGHUP, 5)

    def test_quit(self):
        """quit: events of all exports first, its reply last, exit code 0."""
        self.daemon.qmp.send({"execute": "quit", "id": "bye"})
        messages = [self.daemon.qmp.read_message() for _ in range(4)]
        self.assertEqual([message.get("event") for message in messages], ["BLOCK_EXPORT_DELETED"] * 3 + [None])
        self.assertEqual(messages[-1], {"return": {}, "id": "bye"})
        self.daemon.check_end(self.daemon.wait_exit(5))

    def test_with_silent_and_idle_clients(self):
        """Clients that are silent, in haggling, or idle do not hold up SIGTERM."""
        silent = self.daemon.connect_nbd()
        self.addCleanup(silent.close)
        haggling = nbd_raw.Connection(self.daemon.connect_nbd())
        self.addCleanup(haggling.close)
        haggling.structured_reply()
        self.session("disk")
        self.end(signal.SIGTERM, 6)

    def test_with_a_stalled_write(self):
        """A client in the middle of a write does not hold up SIGTERM, and nothing of it is stored."""
        stalled = self.session("disk")
        stalled.send(nbd_raw.request_bytes("simple", CMD_WRITE, 0, MIB) + b"x" * 1000)
        self.end(signal.SIGTERM, 6)
        self.assertEqual(images.read_range(self.disk, 0, 1000), bytes(1000))

    @settings.unlike_qemu("7.2 waits for it for ever")
    def test_with_a_client_that_does_not_read(self):
        """A client that reads none of its replies holds up SIGTERM no longer than the grace of 1 second."""
        deaf = self.session("null")
        for index in range(16):
            deaf.send_request(CMD_READ, index * MIB, MIB)
        self.end(signal.SIGTERM, 4)

    @settings.unlike_qemu("in-flight requests get no reply")
    def test_with_requests_in_flight(self):
        """SIGTERM while slow requests are in flight: each is answered with its result, then exit 0."""
        client = self.session("slow")
        pending = client.send_reads(8)
        self.daemon.qmp.wait_for_tasks("nbd read", len(pending))
        self.daemon.signal(signal.SIGTERM)
        for reply in client.read_replies(pending):
            self.assertEqual(reply.error, 0)
        self.assertTrue(client.at_end())
        self.daemon.check_end(self.daemon.wait_exit(6))

    def test_under_load(self):
        """SIGTERM under full write load: exit 0 and no acknowledged write is lost."""
        writers = [Writer(self.daemon.connect_nbd(), "disk", index * MIB) for index in range(6)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.warm.wait(settings.seconds(10))
        self.end(signal.SIGTERM, 6)
        for writer in writers:
            writer.join(settings.seconds(10))
            writer.check(self, self.disk)

    def test_kill_under_load(self):
        """SIGKILL under full write load: what was acknowledged is in the page cache, so nothing is lost."""
        writers = [Writer(self.daemon.connect_nbd(), "disk", index * MIB) for index in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.warm.wait(settings.seconds(10))
        self.daemon.kill()
        for writer in writers:
            writer.join(settings.seconds(10))
            writer.check(self, self.disk)

    @settings.unlike_qemu("it ends the process in the middle of the command")
    def test_during_a_stop_of_the_nbd_server(self):
        """SIGTERM while nbd-server-stop waits for a client: both wait for the same end, and nothing new is begun."""
        client = self.session("slow")
        client.send_reads(4)
        self.daemon.qmp.wait_for_tasks("nbd read", 4)
        self.daemon.qmp.send({"execute": "nbd-server-stop"})
        self.daemon.signal(signal.SIGTERM)
        self.daemon.qmp.send({"execute": "block-export-add",
                              "arguments": {"type": "nbd", "id": "late", "node-name": "disk"}})
        replies = [self.daemon.qmp.read_reply() for _ in range(2)]
        self.assertEqual(replies[0], {"return": {}})
        self.assertIn(replies[1].get("error", {}).get("desc"),
                      ("NBD server not running", "The daemon is shutting down", "The block graph is being closed"))
        self.daemon.check_end(self.daemon.wait_exit(6))

    def test_signal_storm(self):
        """500 signals of harmless kinds during traffic change nothing (CVE-2015-0847: a server deadlocked)."""
        writer = Writer(self.daemon.connect_nbd(), "disk", 0)
        writer.start()
        writer.warm.wait(settings.seconds(10))
        for _ in range(250):
            self.daemon.signal(signal.SIGCHLD)
            self.daemon.signal(signal.SIGPIPE)
        self.assertTrue(self.daemon.alive())
        self.assertEqual(self.daemon.qmp.execute("query-block"), [])
        for _ in range(50):
            self.daemon.signal(signal.SIGTERM)
        self.daemon.check_end(self.daemon.wait_exit(6))
        writer.join(settings.seconds(10))
        writer.check(self, self.disk)

    def test_next_server_on_the_same_paths(self):
        """A new server starts with the same arguments, whatever files the old one has left."""
        self.end(signal.SIGTERM, 5)
        second = daemon.Daemon(self.workdir, self.daemon.own_arguments)
        self.addCleanup(second.kill)
        second.start()
        connection = nbd_raw.Connection(second.connect_nbd())
        connection.go("disk")
        connection.close()
        second.stop()

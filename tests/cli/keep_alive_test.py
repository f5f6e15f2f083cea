"""TCP keep-alive of accepted and of outgoing connections, as the kernel reports it."""

import os
import re
import socket
import unittest

from lib import daemon, settings, wait
from lib.testcase import nbd_export, null_node

KEEP_ALIVE_TIMER = 2


def timer_of(port, peer_port):
    """(kind, seconds left) of the timer of this machine's end of a connection over the loopback, None without it."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table:
            fields = line.split()
            if fields[1:3] == [f"0100007F:{port:04X}", f"0100007F:{peer_port:04X}"]:
                kind, left = (int(part, 16) for part in fields[5].split(":"))
                return kind, left / os.sysconf("SC_CLK_TCK")
    return None


class KeepAliveTest(unittest.TestCase):
    """A server for each test."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def timer_of_nbd(self, *options):
        """The timer of what the NBD server accepts, when its address has these options."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        address = ",".join(["addr.type=inet", "addr.host=127.0.0.1", f"addr.port={port}",
                            *(f"addr.{option}" for option in options)])
        server = daemon.Daemon(self.workdir, ["--nbd-server", address, *null_node("n", 1 << 20), *nbd_export("n")],
                               nbd_server=None)
        self.addCleanup(server.kill)
        server.start()
        with socket.create_connection(("127.0.0.1", port), settings.seconds(10)) as client:
            self.assertEqual(client.recv(8), b"NBDMAGIC")
            # The sent bytes are acknowledged before anything else can have the timer.
            found = wait.until(lambda: self.settled_timer(port, client.getsockname()[1]), 10, "the acknowledgement")
        server.stop()
        return found

    def settled_timer(self, port, peer_port):
        """The timer of the server's end, None while it is one for what was sent."""
        found = timer_of(port, peer_port)
        return found if found and found[0] in (0, KEEP_ALIVE_TIMER) else None

    def keep_alive_timer(self, port, peer_port):
        """The timer, if it is the one of keep-alive."""
        found = timer_of(port, peer_port)
        return found if found and found[0] == KEEP_ALIVE_TIMER else None

    @settings.since_qemu(10, 1, "keep-alive of listeners is dropped")
    def test_accepted(self):
        """An accepted connection is probed after the silence that the address names."""
        kind, left = self.timer_of_nbd("keep-alive=on", "keep-alive-count=3", "keep-alive-idle=500",
                                       "keep-alive-interval=5")
        self.assertEqual(kind, KEEP_ALIVE_TIMER)
        self.assertGreater(left, 300)
        self.assertLessEqual(left, 501)

    @settings.unlike_qemu("off unless the address asks for it")
    def test_accepted_by_default(self):
        """A client that is silent for a minute is probed, if the address does not say."""
        kind, left = self.timer_of_nbd()
        self.assertEqual(kind, KEEP_ALIVE_TIMER)
        self.assertGreater(left, 30)
        self.assertLessEqual(left, 61)

    def test_accepted_without(self):
        """With keep-alive=off there is none, whatever the other numbers are."""
        numbers = ["keep-alive-idle=500"] if settings.qemu_version() is None else []
        self.assertEqual(self.timer_of_nbd("keep-alive=off", *numbers)[0], 0)

    @settings.since_qemu(10, 1, "there are no numbers")
    def test_calling(self):
        """A chardev that calls probes its peer so too."""
        server = daemon.Daemon(self.workdir, [], nbd_server=None)
        self.addCleanup(server.kill)
        server.start()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            address = {"host": "127.0.0.1", "port": str(port), "keep-alive": True, "keep-alive-idle": 500}
            server.qmp.execute("chardev-add", {"id": "c", "backend": {"type": "socket", "data": {
                "addr": {"type": "inet", "data": address}, "server": False}}})
            peer, (_, calling_port) = listener.accept()
            with peer:
                # It is asked for once the connection is there.
                _, left = wait.until(lambda: self.keep_alive_timer(calling_port, port), 10, "the timer")
                self.assertGreater(left, 300)
                self.assertLessEqual(left, 501)
                shown = server.qmp.execute("query-chardev")
                self.assertIn(f"tcp:127.0.0.1:{calling_port} <-> 127.0.0.1:{port}",
                              [chardev["filename"] for chardev in shown])
        server.stop()


class ChardevNamesTest(unittest.TestCase):
    """What query-chardev and qom-get tell of sockets."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        self.server = daemon.Daemon(self.workdir, [], nbd_server=None)
        self.addCleanup(self.server.kill)
        self.server.start()

    def add(self, address, **options):
        """Makes a socket chardev; its name, and its address as qom-get tells it."""
        kind, data = address
        self.server.qmp.execute("chardev-add", {"id": "c", "backend": {"type": "socket", "data": {
            "addr": {"type": kind, "data": data}, "wait": False, **options}}})
        return self.told()

    def told(self):
        """The chardev's name and address now."""
        names = {chardev["label"]: chardev["filename"] for chardev in self.server.qmp.execute("query-chardev")}
        return names["c"], self.server.qmp.execute("qom-get", {"path": "/chardevs/c", "property": "addr"})

    def test_tcp_with_the_port_that_it_was_given(self):
        """A listener on port 0 tells the port, and both ends of a connection once there is one."""
        name, address = self.add(("inet", {"host": "127.0.0.1", "port": "0"}))
        port = int(address["port"])
        self.assertEqual(address, {"type": "inet", "host": "127.0.0.1", "port": str(port), "ipv4": True})
        self.assertEqual(name, f"disconnected:tcp:127.0.0.1:{port},server=on")
        self.server.qmp.execute("object-add" if self.has_objects() else "query-block",
                                {"qom-type": "monitor-qmp", "id": "m", "chardev": "c"} if self.has_objects() else {})
        with socket.create_connection(("127.0.0.1", port), settings.seconds(10)) as client:
            expected = f"tcp:127.0.0.1:{port},server=on <-> 127.0.0.1:{client.getsockname()[1]}"
            wait.until(lambda: self.told()[0] == expected, 10, expected)
        self.server.stop()

    def has_objects(self):
        """Whether a monitor can be made here."""
        return (settings.qemu_version() or (11, 1)) >= (11, 1)

    def test_abstract(self):
        """An abstract name is told as such."""
        unique = re.sub(r"\W", "", self.workdir)
        name, address = self.add(("unix", {"path": unique, "abstract": True}))
        self.assertEqual(address, {"type": "unix", "path": unique, "abstract": True, "tight": True})
        self.assertEqual(name, f"disconnected:unix:{unique},abstract=on,tight=on,server=on")
        self.server.stop()

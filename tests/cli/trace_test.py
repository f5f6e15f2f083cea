"""--trace: events at the boundaries of the layers, selected by patterns, on standard error or in a file."""

import os
import re
import unittest

from lib import daemon, images, nbd_raw, settings
from lib.images import MIB
from lib.nbd_raw import request_bytes
from lib.nbd_wire import CMD_READ, CMD_WRITE
from lib.testcase import file_node, nbd_export


@unittest.skipIf(settings.is_qemu(), "qemu-storage-daemon's events have other names")
class TraceTest(unittest.TestCase):
    """One client that writes, reads past the end, and leaves; docs/tracing.md lists the events."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        images.make_empty(self.path("disk.img"), MIB)

    def path(self, name):
        """A path in the private directory."""
        return os.path.join(self.workdir, name)

    def live(self, *options):
        """A server's life with these --trace options; what stands on its standard error."""
        traced = [word for option in options for word in ("--trace", option)]
        disk = [*file_node("disk", "disk.img"), *nbd_export("disk", writable="on")]
        server = daemon.Daemon(self.workdir, [*traced, *disk])
        self.addCleanup(server.kill)
        server.start()
        connection = nbd_raw.Connection(server.connect_nbd())
        connection.go("disk")
        connection.write(0, bytes(512))
        connection.call(CMD_READ, MIB, 512, judge=False)
        connection.disconnect()
        connection.close()
        server.stop()
        return server.stderr().decode()

    def test_a_life_in_events(self):
        """Every border that the client crosses is told, in order, and its requests with their errors."""
        lines = self.live("block_*", "nbd_*").splitlines()
        said = [re.sub(r"cookie \d+", "cookie N", line) for line in lines]
        at = -1
        for pattern in (r"block_node_opened disk driver file", r"block_export_added disk node disk",
                        rf"nbd_client_connected unix:uid {os.getuid()} #1",
                        r"nbd_client_negotiated .* export \S+",
                        r"nbd_request_begin .* cookie N command 1 flags 0x0 offset 0 length 512",
                        r"nbd_request_end .* cookie N error 0",
                        r"nbd_request_begin .* cookie N command 0 flags 0x0 offset 1048576 length 512",
                        r"nbd_request_end .* cookie N error 22", r"nbd_client_left .*", r"block_export_removed \S+",
                        r"block_node_closed disk"):
            found = [index for index, line in enumerate(said) if index > at and re.fullmatch(pattern, line)]
            self.assertTrue(found, f"{pattern} is missing behind line {at} of {said}")
            at = found[0]

    def test_writes_that_are_done_together(self):
        """Requests that are served with one call have a begin and an end each."""
        server = daemon.Daemon(self.workdir, ["--trace", "nbd_request_*", *file_node("disk", "disk.img"),
                                              *nbd_export("disk", writable="on")])
        self.addCleanup(server.kill)
        server.start()
        connection = nbd_raw.Connection(server.connect_nbd())
        connection.go("disk")
        connection.send(b"".join(request_bytes("simple", CMD_WRITE, 512 * number, 512, cookie=number) + bytes(512)
                                 for number in range(8)))
        for _ in range(8):
            connection.receive(16)
        connection.close()
        server.stop()
        said = re.findall(r"nbd_request_(begin|end) .* cookie (\d+)", server.stderr().decode())
        for kind in ("begin", "end"):
            self.assertEqual(sorted(int(cookie) for which, cookie in said if which == kind), list(range(8)), said)

    def test_clients_of_one_user(self):
        """Each has a number of its own in all of its lines, also with an NBD server that was started later."""
        server = daemon.Daemon(self.workdir, ["--trace", "nbd_client_*", *file_node("disk", "disk.img")])
        self.addCleanup(server.kill)
        server.start()
        address = {"type": "unix", "data": {"path": server.nbd_path}}
        for _ in range(2):
            server.qmp.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk"})
            clients = [nbd_raw.Connection(server.connect_nbd()) for _ in range(2)]
            for client in clients:
                client.go("disk")
            for client in clients:
                client.disconnect()
                client.close()
            server.qmp.execute("nbd-server-stop")
            server.qmp.execute("nbd-server-start", {"addr": address})
        server.stop()
        said = server.stderr().decode()
        for number in range(1, 5):
            peer = f"unix:uid {os.getuid()} #{number}"
            mine = [line for line in said.splitlines() if re.search(rf"#{number}\b", line)]
            self.assertEqual(mine, [f"nbd_client_connected {peer}", f"nbd_client_negotiated {peer} export disk",
                                    f"nbd_client_left {peer}"], said)

    def test_only_what_was_switched_on(self):
        """Patterns come from the option and from a file; a - switches off again; the rest stays silent."""
        with open(self.path("patterns"), "w", encoding="ascii") as file:
            file.write("# requests\nnbd_request_*\n\n-*_end\nnothing\n")
        lines = self.live("daemon_serving,events=patterns").splitlines()
        self.assertEqual({line.split()[0] for line in lines[1:]}, {"daemon_serving", "nbd_request_begin"}, lines)
        self.assertRegex(lines[0], r":patterns:5: warning: trace event 'nothing' does not exist$")

    def test_file(self):
        """With file= the events go there, and standard error stays empty."""
        self.assertEqual(self.live("qmp_*,file=trace.log"), "")
        with open(self.path("trace.log"), encoding="ascii") as file:
            self.assertEqual(file.read(), "")
        self.assertEqual(self.live("block_node_*,file=trace.log"), "")
        with open(self.path("trace.log"), encoding="ascii") as file:
            self.assertIn("block_node_closed disk\n", file.read())

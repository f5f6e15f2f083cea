"""Commands that fail for lack of descriptors: they are rolled back completely."""

import collections
import os
import re
import resource
import unittest

from lib import certificates, images, processes, settings, wait
from lib.testcase import DaemonTest

# More descriptors than any command here opens.
DESCRIPTORS_MAX = 64
# Threads that stay once they were needed: the backends' workers.
WORKERS = re.compile("file-worker|iou-")


class ScarceDescriptorsTest(DaemonTest):
    """Each command with room for no descriptor, for one, for two and so on, until it succeeds."""

    nbd_server = None

    @classmethod
    def prepare(cls):
        certificates.make(cls.path("pki"))
        images.write_file(cls.path("rules"), b'{"rules": []}')
        images.write_file(cls.path("secret"), b"secret")
        return []

    def set_limit(self, count):
        """Lets the server open that many descriptors more, or as many as it likes."""
        soft, hard = self.limits
        if count is not None:
            used = {int(name) for name in os.listdir(f"/proc/{self.daemon.pid}/fd")}
            soft = [number for number in range(len(used) + count + 1) if number not in used][count]
        resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, (soft, hard))

    @settings.unlike_qemu("it keeps a descriptor of an iothread that it could not make")
    def setUp(self):
        self.limits = resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE)
        self.addCleanup(self.set_limit, None)

    def open_files(self):
        """What the server has open, without the numbers of sockets and pipes."""
        folder, found = f"/proc/{self.daemon.pid}/fd", collections.Counter()
        for name in os.listdir(folder):
            try:
                found[os.readlink(os.path.join(folder, name)).split(":[")[0]] += 1
            except FileNotFoundError:
                continue
        return found

    def threads(self):
        """The names of the server's threads but for workers."""
        names = processes.thread_names(self.daemon.pid).values()
        return sorted(name for name in names if not WORKERS.match(name))

    def state(self):
        """All that can be seen of the server."""
        return (self.qmp.execute("qom-list", {"path": "/objects"}), self.qmp.execute("query-chardev"),
                self.open_files(), self.threads(), sorted(os.listdir(self.workdir)))

    def becomes(self, state):
        """Threads that end may be seen for a moment still."""
        try:
            wait.until(lambda: self.state() == state, 5, "the state of before")
        except AssertionError:
            self.assertEqual(self.state(), state)

    def check(self, command, arguments, back, back_arguments=None):
        """Whenever it fails the server is as before, and the command succeeds when it is given again."""
        # Descriptors that the process opens once and keeps.
        self.qmp.execute(command, arguments)
        self.qmp.execute(back, back_arguments)
        before, refusals = self.state(), 0
        for count in range(DESCRIPTORS_MAX):
            self.set_limit(count)
            answer = self.qmp.command(command, arguments)
            self.set_limit(None)
            if "return" not in answer:
                refusals += 1
                self.becomes(before)
                self.qmp.execute(command, arguments)
            self.qmp.execute(back, back_arguments)
            self.becomes(before)
            if "return" in answer:
                break
        else:
            self.fail("it never succeeds")
        self.assertGreater(refusals, 0, "it opens nothing")

    def test_objects(self):
        """Objects that open something, of each such type."""
        for kind, properties in (("iothread", {}), ("secret", {"file": self.path("secret")}),
                                 ("authz-list-file", {"filename": self.path("rules")}),
                                 ("tls-creds-x509", {"dir": self.path("pki"), "endpoint": "server"})):
            with self.subTest(kind):
                self.check("object-add", {"qom-type": kind, "id": "o", **properties}, "object-del", {"id": "o"})

    def test_sockets(self):
        """The NBD server and a chardev, on a path and on a port."""
        for address in ({"type": "unix", "data": {"path": self.path("socket")}},
                        {"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}):
            with self.subTest(address["type"]):
                self.check("nbd-server-start", {"addr": address}, "nbd-server-stop")
                backend = {"type": "socket", "data": {"addr": address, "server": True, "wait": False}}
                self.check("chardev-add", {"id": "c", "backend": backend}, "chardev-remove", {"id": "c"})

    def test_taking_back(self):
        """What is there is removed by a process that can open nothing more."""
        before = self.state()
        self.qmp.execute("object-add", {"qom-type": "iothread", "id": "thread"})
        self.qmp.execute("object-add", {"qom-type": "authz-list-file", "id": "list", "filename": self.path("rules")})
        self.qmp.execute("object-add", {"qom-type": "tls-creds-x509", "id": "tls", "dir": self.path("pki"),
                                        "endpoint": "server"})
        self.qmp.execute("nbd-server-start", {"addr": {"type": "unix", "data": {"path": self.path("socket")}},
                                              "tls-creds": "tls"})
        self.set_limit(0)
        self.qmp.execute("nbd-server-stop")
        for name in ("thread", "list", "tls"):
            self.qmp.execute("object-del", {"id": name})
        self.set_limit(None)
        self.becomes(before)


if __name__ == "__main__":
    unittest.main()

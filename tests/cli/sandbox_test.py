"""--sandbox and --user: what the server gives up, and what it says about what it can no longer do."""

import os
import pwd
import re
import subprocess
import unittest

from lib import daemon, images, nbd_raw, processes, settings
from lib.images import MIB
from lib.qmp import QmpClient
from lib.testcase import file_node, nbd_export


@unittest.skipIf(settings.is_qemu(), "its sandbox is another one")
class SandboxCase(unittest.TestCase):
    """A server with a sandbox around directories of its own."""

    mode = "full"

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        for name in ("images", "other", "run"):
            os.mkdir(self.path(name))
        for name in ("images/disk.img", "images/second.img", "other/third.img"):
            images.make_random(self.path(name), MIB)
        if self.mode == "full" and processes.landlock_version() == 0:
            self.skipTest("the kernel has no Landlock")

    def path(self, *names):
        """A path in the private directory."""
        return os.path.join(self.workdir, *names)

    def option(self):
        """The option with the directories."""
        if self.mode != "full":
            return ["--sandbox", self.mode]
        return ["--sandbox", f"full,images={self.path('images')},sockets={self.path('run')}"]

    def start(self, *arguments, before=()):
        """A server with an export and a monitor in the directory of the sockets."""
        server = daemon.Daemon(self.path("run"), [*arguments, *file_node("disk", self.path("images/disk.img")),
                                                  *nbd_export("disk", writable="on")])
        server.arguments = [*before, *self.option(), *server.arguments]
        # LeakSanitizer traces its own process, which the sandbox forbids; the other suites look for leaks.
        server.environment = {**os.environ, "ASAN_OPTIONS": f"{os.environ.get('ASAN_OPTIONS', '')}:detect_leaks=0"}
        self.addCleanup(server.kill)
        return server.start()

    def serves(self, server, export="disk"):
        """A client reads and writes."""
        connection = nbd_raw.Connection(server.connect_nbd())
        connection.go(export)
        self.assertEqual(connection.write(0, b"x" * 4096), 0)
        self.assertEqual(connection.read(0, 4096), b"x" * 4096)
        connection.disconnect()
        connection.close()

    def status(self, server, name):
        """A line of the process's status."""
        with open(f"/proc/{server.pid}/status", encoding="ascii") as file:
            return re.search(rf"^{name}:\s*(.*)$", file.read(), re.M).group(1)

    def fails_to_start(self, *arguments):
        """The standard error of a start that fails."""
        result = subprocess.run([settings.program(), *arguments], cwd=self.workdir, text=True, check=False,
                                capture_output=True, timeout=settings.seconds(20))
        self.assertEqual(result.returncode, 1)
        return result.stderr


class SeccompTest(SandboxCase):
    """--sandbox seccomp"""

    mode = "seccomp"

    def test_it_serves_without_rights(self):
        """Clients are served by a process without capabilities, with a filter, on each backend."""
        for backend in ("auto", "epoll"):
            with self.subTest(backend=backend):
                server = self.start("--aio-backend", backend, "--object", "iothread,id=io0")
                self.serves(server)
                self.assertEqual({self.status(server, name) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd")},
                                 {"0" * 16} if os.getuid() == 0 else
                                 {"0" * 16, self.status(server, "CapBnd")})
                self.assertEqual((self.status(server, "NoNewPrivs"), self.status(server, "Seccomp")), ("1", "2"))
                server.stop()

    def test_files_are_not_restricted(self):
        """Images anywhere."""
        server = self.start()
        server.qmp.execute("blockdev-add", {"driver": "file", "node-name": "n",
                                            "filename": self.path("other/third.img")})
        server.stop()

    def test_privileged_ports(self):
        """Without capabilities there is none, and the error says which option to change."""
        if os.getuid() != 0:
            self.skipTest("no user but root has them anyway")
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
            if int(file.read()) <= 809:
                self.skipTest("the system gives such ports to everybody")
        text = self.fails_to_start("--sandbox", "seccomp", "--nbd-server",
                                   "addr.type=inet,addr.host=127.0.0.1,addr.port=809")
        self.assertIn("Permission denied (the sandbox of this daemon has no capabilities", text)
        self.assertIn("'--sandbox off'", text)

    def test_pam_is_refused(self):
        """By the command line and by QMP."""
        text = self.fails_to_start("--sandbox", "seccomp", "--object", "authz-pam,id=a,service=x")
        self.assertIn("an authz-pam object cannot work in a sandbox", text)
        server = self.start()
        error = server.qmp.command("object-add", {"qom-type": "authz-pam", "id": "a", "service": "x"})["error"]
        self.assertIn("'--sandbox off'", error["desc"])
        server.stop()


class FullTest(SandboxCase):
    """--sandbox full"""

    def test_it_serves(self):
        """Clients are served, with exports and nodes that QMP adds in the directory."""
        server = self.start()
        self.serves(server)
        server.qmp.execute("blockdev-add", {"driver": "file", "node-name": "n", "filename":
                                            self.path("images/second.img")})
        server.qmp.execute("block-export-add", {"type": "nbd", "id": "n", "node-name": "n", "writable": True})
        self.serves(server, "n")
        server.stop()

    def test_an_image_elsewhere(self):
        """It cannot be opened, and the error names the option; the server goes on."""
        server = self.start()
        error = server.qmp.command("blockdev-add", {"driver": "file", "node-name": "n",
                                                    "filename": self.path("other/third.img")})["error"]
        self.assertEqual(error["desc"], f"Could not open '{self.path('other/third.img')}': Permission denied (the "
                         "sandbox of this daemon opens files only beneath the paths of --sandbox images=, "
                         "credentials=, state= and sockets=: add the path there and restart)")
        self.serves(server)
        server.stop()

    def test_ways_out(self):
        """Neither a symbolic link nor a path with .. leads out."""
        os.symlink(self.path("other/third.img"), self.path("images/link.img"))
        server = self.start()
        for name in ("images/link.img", "images/../other/third.img"):
            error = server.qmp.command("blockdev-add", {"driver": "file", "node-name": "n",
                                                        "filename": self.path(name)})["error"]
            self.assertIn("Permission denied (the sandbox", error["desc"])
        server.stop()

    def test_a_socket_elsewhere(self):
        """A monitor's socket needs a directory of sockets."""
        server = self.start()
        add = lambda directory: server.qmp.command(
            "chardev-add", {"id": "c1", "backend": {"type": "socket", "data": {
                "addr": {"type": "unix", "data": {"path": self.path(directory, "m.sock")}}, "wait": False}}})
        self.assertIn("Permission denied (the sandbox", add("other")["error"]["desc"])
        self.assertIn("return", add("run"))
        server.stop()

    def test_on_the_command_line(self):
        """A start that needs more fails with the same sentence."""
        text = self.fails_to_start(*self.option(), *file_node("n", self.path("other/third.img")))
        self.assertIn("Permission denied (the sandbox of this daemon opens files only beneath", text)

    def test_a_directory_that_is_missing(self):
        """The start fails."""
        self.assertIn("--sandbox: '/nowhere': No such file or directory",
                      self.fails_to_start("--sandbox", "full,images=/nowhere"))

    def test_in_the_background(self):
        """--daemonize, with the log and the pid file in the directories."""
        result = subprocess.run([settings.program(), *self.option(), "--daemonize", "--pidfile", "run/pid",
                                 "--log-file", "run/log", "--chardev",
                                 f"socket,id=c,path={self.path('run/q.sock')},server=on,wait=off", "--monitor", "c"],
                                cwd=self.workdir, check=False, capture_output=True, timeout=settings.seconds(20))
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        with open(self.path("run/pid"), encoding="ascii") as file:
            pid = int(file.read())
        self.addCleanup(processes.kill, pid)
        with QmpClient(self.path("run/q.sock")) as client:
            client.execute("quit")


class OptionTest(SandboxCase):
    """The options' words."""

    def test_wrong_words(self):
        """Each error says what there is."""
        for value, text in (("on", "must be 'off', 'seccomp' or 'full'"), ("full,image=/", "images"),
                            ("seccomp,images=/", "paths belong to the mode 'full'")):
            self.assertIn(text, self.fails_to_start("--sandbox", value))

    def test_unknown_users(self):
        """A user or group that does not exist."""
        self.assertIn("there is no user 'nobody-has-this'", self.fails_to_start("--user", "nobody-has-this"))
        self.assertIn("there is no group 'nobody-has-this'", self.fails_to_start("--user", "root:nobody-has-this"))

    def test_another_user(self):
        """All ids are those of the user, who needs permission for the files."""
        if os.getuid() != 0:
            self.skipTest("only root becomes another user")
        entry = pwd.getpwnam("nobody")
        for name in ("", "images", "run"):
            os.chown(self.path(name), entry.pw_uid, entry.pw_gid)
        os.chmod(self.path("images/disk.img"), 0o666)
        server = self.start(before=["--user", "nobody"])
        self.serves(server)
        self.assertEqual(set(self.status(server, "Uid").split()), {str(entry.pw_uid)})
        self.assertEqual(set(self.status(server, "Gid").split()), {str(entry.pw_gid)})
        server.stop()


if __name__ == "__main__":
    unittest.main()

"""docs/guides/backup.md: its commands, run literally, have the documented effect."""

import os
import re
import shutil
import signal
import subprocess

from lib import images, nbd_raw, processes, settings, tools
from lib.client_tool import ToolTest, program
from lib.daemon import connected_or_none
from lib.images import KIB, MIB
from lib.wait import until

GUIDE = os.path.join(settings.ROOT, "docs", "guides", "backup.md")
SIZE = 16 * MIB


def blocks(title):
    """The shell blocks of a section, each as its lines."""
    with open(GUIDE, encoding="utf-8") as file:
        section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", file.read(), re.S | re.M).group(1)
    return [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```", section, re.S | re.M)]


class GuideTest(ToolTest):
    """Both programs are found by the PATH, and the reader stands in a directory with the image."""

    def setUp(self):
        super().setUp()
        if settings.is_qemu():
            self.skipTest("the guide is for our server")
        os.makedirs(self.path("bin"))
        os.symlink(program(), self.path("bin", "blockexport"))
        os.symlink(settings.program(), self.path("bin", "blockexportd"))
        self.environment = {"PATH": f"{self.path('bin')}:{tools.PATH}", "HOME": self.workdir, "LC_ALL": "C.UTF-8"}
        images.make_random(self.path("vda.img"), SIZE)
        self.addCleanup(self.stop_server)
        self.shell("\n".join(blocks("The daemon")[0]))

    def shell(self, command):
        """Runs a command as the reader would; its output. It must succeed."""
        result = subprocess.run(["/bin/sh", "-c", command], cwd=self.workdir, env=self.environment, text=True,
                                capture_output=True, stdin=subprocess.DEVNULL, timeout=settings.seconds(60),
                                check=False)
        self.assertEqual(result.returncode, 0, f"{command}\n{result.stdout}\n{result.stderr}")
        return result.stdout

    def stop_server(self):
        """Ends the server that a command left behind; it must end."""
        if not os.path.exists(self.path("daemon.pid")):
            return
        with open(self.path("daemon.pid"), encoding="ascii") as file:
            pid = int(file.read())
        os.kill(pid, signal.SIGTERM)
        until(lambda: not processes.alive(pid), what="the server's end")

    def write(self, offset, data):
        """A write of the disk's user."""
        connection = nbd_raw.Connection(connected_or_none(self.path("nbd.sock")))
        self.addCleanup(connection.close)
        connection.negotiate("vda")
        self.assertEqual(connection.write(offset, data), 0)
        connection.disconnect()

    def test_four_commands_make_a_backup_and_restore_it(self):
        """The first three, again on the next day, add an incremental point; each point restores to its moment."""
        begin, pull, end, restore = blocks("Four commands")[0]
        first = images.read_range(self.path("vda.img"), 0, SIZE)
        self.assertIn("full", self.shell(begin))
        self.write(0, b"x" * (64 * KIB))
        self.assertIn("full", self.shell(pull))
        self.shell(end)
        self.shell(restore)
        self.assertEqual(images.read_range(self.path("restored.img"), 0, SIZE), first)
        self.write(5 * MIB, b"y" * (4 * KIB))
        second = images.read_range(self.path("vda.img"), 0, SIZE)
        self.assertIn("incremental", self.shell(begin))
        self.assertIn("incremental", self.shell(pull))
        self.shell(end)
        os.unlink(self.path("restored.img"))
        self.shell(restore)
        self.assertEqual(images.read_range(self.path("restored.img"), 0, SIZE), second)

    def test_the_script_makes_a_backup_after_a_crash(self):
        """The script works, and again after the daemon was killed: the point is incremental."""
        script = "\n".join(blocks("When something fails")[0])
        self.shell(script)
        self.write(3 * MIB, b"z" * (4 * KIB))
        with open(self.path("daemon.pid"), encoding="ascii") as file:
            pid = int(file.read())
        os.kill(pid, signal.SIGKILL)
        until(lambda: not processes.alive(pid), what="the server's end")
        self.shell("\n".join(blocks("The daemon")[0]))
        before = images.read_range(self.path("vda.img"), 0, SIZE)
        self.assertIn("incremental", self.shell(script))
        self.shell(blocks("Four commands")[0][3])
        self.assertEqual(images.read_range(self.path("restored.img"), 0, SIZE), before)

    def test_other_clients_read_the_export(self):
        """nbdinfo shows the changed blocks, and nbdcopy copies the disk as it was."""
        for name in ("nbdinfo", "nbdcopy"):
            if shutil.which(name, path=tools.PATH) is None:
                self.skipTest(f"{name} is not installed")
        begin, pull, end, _ = blocks("Four commands")[0]
        for command in (begin, pull, end):
            self.shell(command)
        self.write(64 * KIB, b"x" * (4 * KIB))
        before = images.read_range(self.path("vda.img"), 0, SIZE)
        self.shell(begin)
        show, copy = blocks("Other clients")[0]
        self.assertRegex(self.shell(show), r"\n +65536 +65536 +1 +dirty\n")
        self.shell(copy)
        self.assertEqual(images.read_range(self.path("full-copy.img"), 0, SIZE), before)

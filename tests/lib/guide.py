"""The commands of a guide in docs/guides/, run as its reader runs them."""

import json
import os
import re
import signal
import subprocess

from lib import nbd_raw, processes, settings, tools
from lib.client_tool import ToolTest, program
from lib.daemon import connected_or_none
from lib.wait import until


class GuideCase(ToolTest):
    """Both programs are found by the PATH, and the reader stands in a private directory."""

    guide = ""  # name of the file
    export = ""  # the export that write() writes to

    def setUp(self):
        super().setUp()
        if settings.is_qemu():
            self.skipTest("the guide is for our server")
        os.makedirs(self.path("bin"))
        os.symlink(program(), self.path("bin", "blockexport"))
        os.symlink(settings.program(), self.path("bin", "blockexportd"))
        self.environment = {"PATH": f"{self.path('bin')}:{tools.PATH}", "HOME": self.workdir, "LC_ALL": "C.UTF-8"}
        self.addCleanup(self.stop_server)

    def section(self, title):
        """The text of a section."""
        with open(os.path.join(settings.ROOT, "docs", "guides", self.guide), encoding="utf-8") as file:
            return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", file.read(), re.S | re.M).group(1)

    def blocks(self, title):
        """The shell blocks of a section, each as its lines."""
        return [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```", self.section(title), re.S | re.M)]

    def script(self, title, number=0):
        """A shell block as one text."""
        return "\n".join(self.blocks(title)[number])

    def qmp_commands(self, title):
        """The QMP commands of a section; /srv is the private directory."""
        lines = re.sub(r"\n {8}(?=[\"{])", " ", self.section(title)).splitlines()
        texts = [line.removeprefix("    -> ") for line in lines if line.startswith("    -> ")]
        return [json.loads(text.replace("/srv/", self.workdir + "/")) for text in texts]

    def shell(self, command):
        """Runs a command as the reader would; its output. It must succeed."""
        result = subprocess.run(["/bin/sh", "-e", "-c", command], cwd=self.workdir, env=self.environment, text=True,
                                capture_output=True, stdin=subprocess.DEVNULL, timeout=settings.seconds(60),
                                check=False)
        self.assertEqual(result.returncode, 0, f"{command}\n{result.stdout}\n{result.stderr}")
        return result.stdout

    def server_pid(self):
        """The process that a command left behind."""
        with open(self.path("daemon.pid"), encoding="ascii") as file:
            return int(file.read())

    def end_server(self, number):
        """Sends it a signal, and waits for its end."""
        pid = self.server_pid()
        os.kill(pid, number)
        until(lambda: not processes.alive(pid), what="the server's end")

    def stop_server(self):
        """Ends it, if there is one; it must end."""
        if os.path.exists(self.path("daemon.pid")) and processes.alive(self.server_pid()):
            self.end_server(signal.SIGTERM)

    def connect(self, export=None):
        """A raw connection to an export."""
        connection = nbd_raw.Connection(connected_or_none(self.path("nbd.sock")))
        self.addCleanup(connection.close)
        connection.negotiate(export or self.export)
        return connection

    def write(self, offset, data, export=None):
        """A write of the disk's user."""
        connection = self.connect(export)
        self.assertEqual(connection.write(offset, data), 0)
        connection.disconnect()

    def read(self, offset, length, export=None):
        """A read of the disk's user."""
        connection = self.connect(export)
        data = connection.read(offset, length)
        connection.disconnect()
        return data

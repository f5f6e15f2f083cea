"""The guide systemd, as far as a machine without systemd as its first process allows."""

import os
import re
import shutil
import subprocess
import unittest

from lib import images, settings
from lib.guide import GuideCase
from lib.images import MIB

UNITS = os.path.join(settings.ROOT, "packaging", "systemd")


class SystemdGuideTest(GuideCase):
    """The commands that need no running systemd, and the names that the others use."""

    guide = "systemd.md"

    def need(self, program):
        """Skips the test where a program is missing."""
        if shutil.which(program) is None:
            self.skipTest(f"{program} is not installed")

    def test_what_remains(self):
        """The number is "OK"."""
        self.need("systemd-analyze")
        os.symlink(os.path.join(settings.ROOT, "packaging"), self.path("packaging"))
        result = subprocess.run(["/bin/sh", "-e", "-c", self.script("See what it may do")], cwd=self.workdir, text=True,
                                capture_output=True, timeout=settings.seconds(60), check=False)
        if "unrecognized option" in result.stderr:
            self.skipTest("systemd-analyze is too old")
        self.assertRegex(result.stdout, r"exposure level for blockexportd.service: \d\.\d OK")

    def test_a_socket(self):
        """The command starts a server for nbdinfo."""
        self.need("systemd-socket-activate")
        self.need("nbdinfo")
        images.make_random(self.path("disk.img"), MIB)
        script = self.script("Let systemd hold the socket")
        start, ask = script.split(" &\n")
        output = self.shell(f"{start} >activate.log 2>&1 &\nwhile [ ! -S nbd.sock ]; do sleep 0.1; done\n{ask}")
        self.assertIn(f"export-size: {MIB}", output)

    def test_the_units_have_what_the_guide_says(self):
        """Directories, times and the name of the socket."""
        with open(os.path.join(UNITS, "blockexportd.service"), encoding="utf-8") as file:
            service = file.read()
        with open(os.path.join(UNITS, "blockexportd.socket"), encoding="utf-8") as file:
            sockets = file.read()
        for line in ("Type=notify", "WatchdogSec=30", "Restart=on-failure"):
            self.assertIn(f"{line}\n", service)
            self.assertIn(line.split("=")[0], self.section("Write your own unit") + self.section("Start it"))
        for path in re.search(r"^ReadWritePaths=(.*)", service, re.M).group(1).split():
            self.assertIn(path.lstrip("-"), self.section("See what it may do"))
        name = re.search(r"FileDescriptorName=(.*)", sockets).group(1)
        self.assertIn(f"systemd:{name}", self.section("Let systemd hold the socket"))


if __name__ == "__main__":
    unittest.main()

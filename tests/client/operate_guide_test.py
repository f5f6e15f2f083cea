"""docs/guides/operate.md: its commands, run as they stand."""

import unittest

from lib import images
from lib.guide import GuideCase
from lib.images import MIB


class OperateGuideTest(GuideCase):
    """Each section after the one before."""

    guide = "operate.md"

    def run_section(self, title, number=0):
        """A block with the environment of the reader."""
        return self.shell("export BLOCKEXPORT_MONITOR=qmp.sock\n" + self.script(title, number))

    def test_guide(self):
        """The server starts, an export comes, is seen, grows and goes."""
        images.make_sparse(self.path("disk.img"), MIB, [])
        self.shell(self.script("A server"))
        self.assertIn("answers", self.run_section("A server", 1))
        shown = self.run_section("Exports that come and go")
        self.assertIn("is exported as 'vm1/vda'", shown)
        self.assertIn("'vda' has 65.0 MiB now", shown)
        if "query-export-clients" in self.shell("blockexport qmp --monitor qmp.sock query-commands"):
            self.assertIn("CLIENT", self.run_section("Clients"))
        self.assertIn("'vda' is removed", self.run_section("The end of an export"))


if __name__ == "__main__":
    unittest.main()

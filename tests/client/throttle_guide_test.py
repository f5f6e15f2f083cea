"""The guide throttle: its commands, run literally, limit the disks."""

import time
import unittest

from lib import images
from lib.guide import GuideCase
from lib.images import MIB
from lib.qmp import QmpClient


class ThrottleGuideTest(GuideCase):
    """The server of the guide."""

    guide = "throttle.md"
    export = "a"

    def setUp(self):
        super().setUp()
        for name in ("a", "b"):
            images.make_random(self.path(f"{name}.img"), 16 * MIB)
        self.shell(self.script("Limit two disks together"))
        self.qmp = QmpClient(self.path("qmp.sock"))
        self.addCleanup(self.qmp.close)

    def seconds_of(self, export, count):
        """The time that so many reads of a client take, one after the other."""
        session = self.connect(export)
        began = time.monotonic()
        for number in range(count):
            session.read(4096 * number, 4096)
        return time.monotonic() - began

    def execute(self, title):
        """Executes the commands of a section; their results."""
        return [self.qmp.execute(command["execute"], command["arguments"]) for command in self.qmp_commands(title)]

    def test_limits(self):
        """220 reads take a second: 20 go at once, the others at the rate, which the next section raises."""
        self.assertGreater(self.seconds_of("a", 220), 0.9)
        limits = self.execute("Change the limits")[-1]
        self.assertEqual((limits["iops-total"], limits["bps-total"]), (1000, 0))
        began = self.seconds_of("b", 400)
        self.assertGreater(began, 0.25)
        self.assertLess(began, 0.9)

    def test_other_group(self):
        """A disk in a group without limits is not limited."""
        self.execute("Give a disk another group")
        self.assertLess(self.seconds_of("b", 220), 0.9)
        self.assertGreater(self.seconds_of("a", 220), 0.9)


if __name__ == "__main__":
    unittest.main()

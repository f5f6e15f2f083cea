"""docs/guides/internal-snapshot.md: its commands, run literally, do what they say."""

from lib import images, tools
from lib.guide import GuideCase
from lib.images import KIB, MIB
from lib.qmp import QmpClient

SIZE = 64 * MIB


class InternalSnapshotTest(GuideCase):
    """The disk has something before and after the snapshot."""

    guide = "internal-snapshot.md"
    export = "data"

    def setUp(self):
        super().setUp()
        self.shell(self.script("A disk under use"))
        self.before = bytearray(SIZE)
        self.write(MIB, b"b" * (100 * KIB), "data")
        self.before[MIB:MIB + 100 * KIB] = b"b" * (100 * KIB)
        self.take = self.run_commands("Take a snapshot")
        self.write(MIB + 50 * KIB, b"a" * MIB, "data")

    def run_commands(self, title):
        """The QMP commands of a section; their answers."""
        with QmpClient(self.path("monitor.sock")) as qmp:
            return [qmp.execute(command["execute"], command["arguments"]) for command in self.qmp_commands(title)]

    def contents_of(self, name):
        """All bytes of an image, as QEMU reads it."""
        tools.run("qemu-img", "convert", "-O", "raw", name, "contents", cwd=self.workdir)
        return images.read_range(self.path("contents"), 0, SIZE)

    def test_go_back_and_copy(self):
        """The list has the snapshot, the disk has its state again, and so has the copy."""
        nodes = self.take[1]
        shown = [node["image"]["snapshots"] for node in nodes if "snapshots" in node["image"]]
        self.assertEqual([[one["name"] for one in each] for each in shown], [["before-update"]])
        output = self.shell(self.script("Go back to it"))
        self.assertRegex(output, r"(?m)^1 +before-update ")
        self.assertTrue(self.contents_of("data.qcow2") == self.before)
        self.shell(self.script("Copy it"))
        self.assertTrue(images.read_range(self.path("before-update.img"), 0, SIZE) == self.before)

    def test_delete_it(self):
        """The snapshot is gone, and the disk has its changes."""
        deleted = self.run_commands("Delete it")
        self.assertEqual(deleted[0]["name"], "before-update")
        self.shell("\n".join(self.script("Go back to it").splitlines()[:2]))
        tools.run("qemu-img", "check", "-q", "data.qcow2", cwd=self.workdir)
        self.assertEqual(self.contents_of("data.qcow2")[MIB + 50 * KIB:MIB + 50 * KIB + 4096], b"a" * 4096)

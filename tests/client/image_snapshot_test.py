"""`blockexport image snapshot` beside `qemu-img snapshot`: equal lists, contents, messages and exit codes."""

import json
import re
import shutil
import subprocess

from lib import settings, tools
from lib.client_tool import ToolTest, program


class SnapshotTest(ToolTest):
    """The same actions by both programs on copies of one image."""

    def act(self, *words):
        """Acts on "ours" and "theirs"; the exit codes are equal. Returns the messages of both without their names."""
        results = []
        for tool, name in ((["qemu-img"], "theirs"), ([program(), "image"], "ours")):
            command = [*tool, "snapshot", *words, self.path(name)]
            results.append(tools.finish(*command) if tool == ["qemu-img"] else
                           subprocess.run(command, capture_output=True, text=True, timeout=settings.seconds(60),
                                          check=False))
        theirs, ours = results
        self.assertEqual(ours.returncode, theirs.returncode, f"{words}\n{theirs.stderr}\n{ours.stderr}")
        return [result.stderr.partition(": ")[2].strip() for result in results]

    def agree(self, where):
        """Both images are sound, have the same snapshots and contents."""
        lists = []
        for name in ("ours", "theirs"):
            tools.run("qemu-img", "check", "-q", "-f", "qcow2", self.path(name))
            information = json.loads(tools.run("qemu-img", "info", "--output=json", self.path(name)))
            lists.append([(one["id"], one["name"], one["vm-state-size"], one["vm-clock-sec"], one.get("icount"))
                          for one in information.get("snapshots", [])])
        self.assertEqual(lists[0], lists[1], where)
        tools.run("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "qcow2", self.path("ours"), self.path("theirs"))
        for _, name, *_ in lists[0]:
            for image in ("ours", "theirs"):
                tools.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-l", f"snapshot.name={name}",
                          self.path(image), self.path(image + ".raw"))
            with open(self.path("ours.raw"), "rb") as ours, open(self.path("theirs.raw"), "rb") as theirs:
                self.assertTrue(ours.read() == theirs.read(), f"{where}: snapshot {name}")

    def write(self, value):
        """A change of both disks."""
        for name in ("ours", "theirs"):
            tools.run("qemu-io", "-f", "qcow2", "-c", f"write -P {value} {value}k 200k", self.path(name))

    def begin(self, *options):
        """Two equal images with data."""
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", *options, self.path("ours"), "4M")
        tools.run("qemu-io", "-f", "qcow2", "-c", "write -P 7 100k 2M", "-c", "write -c -P 9 3M 64k", self.path("ours"))
        shutil.copy(self.path("ours"), self.path("theirs"))

    def run_actions(self):
        """Snapshots come and go."""
        steps = [("-c", "a"), 1, ("-c", "b"), 2, ("-c", "a"), ("-a", "a"), 3, ("-c", "3"), ("-d", "b"), ("-a", "3"), 4,
                 ("-d", "a"), ("-a", "a"), ("-d", "a"), ("-d", "3")]
        for step in steps:
            if isinstance(step, int):
                self.write(step * 50)
            else:
                self.act(*step)
            self.agree(step)

    def test_usual_image(self):
        self.begin()
        self.run_actions()

    def test_version_2(self):
        self.begin("-o", "compat=0.10")
        self.run_actions()

    def test_small_clusters(self):
        self.begin("-o", "cluster_size=512")
        self.run_actions()

    def test_subclusters(self):
        self.begin("-o", "extended_l2=on")
        self.run_actions()

    def test_sizes(self):
        """A snapshot of another size gives the disk that size."""
        self.begin()
        self.act("-c", "a")
        for name in ("ours", "theirs"):
            tools.run("qemu-img", "resize", "-q", "-f", "qcow2", self.path(name), "8M")
        self.act("-c", "b")
        self.write(100)
        self.act("-a", "a")
        self.agree("smaller")
        self.act("-a", "b")
        self.agree("larger")
        self.act("-d", "a")
        self.agree("deleted")

    def test_dirty_bitmaps(self):
        """An image with bitmaps keeps its state: their bits would say nothing of the difference from a snapshot."""
        self.begin()
        self.act("-c", "a")
        for name in ("ours", "theirs"):
            tools.run("qemu-img", "bitmap", "--add", "-f", "qcow2", self.path(name), "b")
        self.write(50)
        theirs, ours = self.act("-a", "a")
        self.assertIn("Device has active dirty bitmaps", ours)
        self.assertEqual(ours, theirs)
        self.agree("refused")

    def test_messages(self):
        """Errors have the same words."""
        self.begin("-o", "refcount_bits=1")
        for words in (("-d", "nope"), ("-a", "nope"), ("-c", "x")):
            theirs, ours = self.act(*words)
            # qemu-img 7.2 tells the number too.
            self.assertEqual(ours.splitlines()[0], re.sub(r"-\d+ \((.*)\)$", r"\1", theirs.splitlines()[0]))
        # A failure of qemu-img leaves leaks.
        tools.run("qemu-img", "check", "-q", "-f", "qcow2", self.path("ours"))
        with open(self.path("ours"), "wb") as file:
            file.truncate(1 << 20)
        shutil.copy(self.path("ours"), self.path("theirs"))
        # The one has a word about the format in front.
        for words in (("-l",), ("-c", "x"), ("-d", "x"), ("-a", "x")):
            theirs, ours = self.act(*words)
            message = re.sub(r"-\d+ \((.*)\)$", r"\1", ("\n" + theirs).splitlines()[-1].removeprefix("qemu-img: "))
            self.assertEqual(ours, message if "Could not" in theirs else "")

    def test_list(self):
        """Text and JSON; two actions at once are refused."""
        self.begin()
        self.act("-c", "first")
        text = tools.run(program(), "image", "snapshot", self.path("ours"))
        self.assertRegex(text, r"^Snapshot list:\n.*\n1 +first +0 B ")
        found = json.loads(tools.run(program(), "image", "snapshot", "-l", "--json", self.path("ours")))
        theirs = json.loads(tools.run("qemu-img", "info", "--output=json", self.path("ours")))["snapshots"]
        self.assertEqual(found, theirs)
        result = subprocess.run([program(), "image", "snapshot", "-l", "-c", "x", self.path("ours")],
                                capture_output=True, text=True, timeout=settings.seconds(60), check=False)
        self.assertNotEqual(result.returncode, 0)

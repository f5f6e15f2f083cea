"""`blockexport image check` beside `qemu-img check`: the same verdict and counts for images with every kind of damage,
and repairs after which qemu-img finds nothing and the contents are the same."""

import json
import os
import random
import shutil
import subprocess
import unittest

from lib import qcow2, settings, tools
from lib.client_tool import ToolTest, program

CLUSTER = 64 * 1024
DIRTY, CORRUPT = 1, 2
INCOMPATIBLE, AUTOCLEAR = 72, 88


class CheckCase(ToolTest):
    """Images of every kind, made once, and both programs."""

    def image(self, kind="default", **options):
        """A copy of an image of that kind, named "disk"."""
        key = (kind, *sorted(options.items()))
        path = self.path("original-" + "-".join(map(str, key)).replace("'", "").replace(" ", ""))
        if not os.path.exists(path):
            qcow2.make(path, kind, **options)
        shutil.copy(path, self.path("disk"))
        return qcow2.Metadata(self.path("disk"))

    def theirs(self, *options, name="disk"):
        """Exit code and JSON of qemu-img check; None when it printed none."""
        result = tools.finish("qemu-img", "check", "-f", "qcow2", "--output=json", *options, self.path(name))
        return result.returncode, json.loads(result.stdout) if result.stdout else None, result.stderr

    def ours(self, *options, name="disk"):
        """The same of this tool."""
        result = subprocess.run([program(), "image", "check", "-f", "qcow2", "--json", *options, self.path(name)],
                                capture_output=True, text=True, timeout=settings.seconds(60), check=False)
        self.assertIn(result.returncode, (0, 1, 2, 3), result.stderr)
        return result.returncode, json.loads(result.stdout) if result.stdout else None, result.stderr

    def same(self, message=""):
        """Both say the same; the exit code. Where qemu-img gives up, ours calls the image at least corrupt."""
        theirs, ours = self.theirs(), self.ours()
        text = f"{message}\n{theirs[2][-500:]}\n{ours[2][-500:]}"
        if theirs[0] == 1 and theirs[1] is None:
            if "'data-file' is required" not in theirs[2]:
                self.assertIn(ours[0], (1, 2), text)
        else:
            self.assertEqual(theirs[:2], ours[:2], text)
        return ours[0]

    def repair(self, mode, message=""):
        """Repairs a copy of the disk with ours; qemu-img agrees on what is left, and contents are the same."""
        shutil.copy(self.path("disk"), self.path("repaired"))
        ours = self.ours("-r", mode, name="repaired")
        theirs = self.theirs(name="repaired")
        if theirs[1] is not None:
            self.assertEqual(theirs[0], ours[0], f"{message}\n{theirs[2][-500:]}\n{ours[2][-500:]}")
        compared = tools.finish("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", self.path("disk"),
                                self.path("repaired"))
        # Above 1: it cannot read the damaged one.
        self.assertNotEqual(compared.returncode, 1, f"{message}\n{compared.stdout}")
        return ours


class DamageTest(CheckCase):
    """One damage each."""

    def test_every_kind_of_image_is_clean(self):
        for kind in qcow2.KINDS:
            with self.subTest(kind=kind):
                self.image(kind)
                self.assertEqual(self.same(kind), 0)

    def damages(self):
        """Name, what it does to the image, the exit code, that after a repair of leaks, and that after one of all."""
        def entry(change, which=0):
            def apply(image):
                place = image.data_entries()[which]
                image.set_number(place, 8, change(image.number(place, 8)))
            return apply

        def cluster_of_entry(image, which=0):
            return (image.number(image.data_entries()[which], 8) & qcow2.OFFSET_MASK) // image.cluster_bytes

        def refcount(value, which=0):
            return lambda image: image.set_refcount(cluster_of_entry(image, which), value)

        def word(place, change):
            def apply(image):
                offset = place(image)
                image.set_number(offset, 8, change(image.number(offset, 8)))
            return apply

        l1 = lambda image: image.l1_offset
        table = lambda image: image.refcount_table
        compressed = lambda image: image.l2_entries(lambda entry: entry & qcow2.COMPRESSED)[0]
        return [
            ("leaked", lambda image: image.set_refcount(9, 5), 3, 0, 0),
            ("refcount too high", refcount(5), 2, 0, 0),
            ("refcount 0", refcount(0), 2, 2, 0),
            ("COPIED flipped", entry(lambda value: value ^ qcow2.COPIED), 2, 2, 0),
            ("COPIED of the L2 table flipped", word(l1, lambda value: value ^ qcow2.COPIED), 2, 2, 0),
            ("COPIED of compressed data", word(compressed, lambda value: value | qcow2.COPIED), 2, 2, 2),
            ("compressed data outside", word(compressed, lambda value: value | 1 << 40), 2, 2, 2),
            ("two entries for one cluster", lambda image: image.set_number(
                image.data_entries()[1], 8, image.number(image.data_entries()[0], 8)), 2, 2, 0),
            ("data in the refcount table", entry(lambda value: value & ~qcow2.OFFSET_MASK | CLUSTER), 2, 2, 0),
            ("data in the header", entry(lambda value: value & ~qcow2.OFFSET_MASK | 512), 2, 2, 2),
            ("data outside", entry(lambda value: value | 1 << 40), 2, 2, 2),
            ("data at the end of all offsets", entry(lambda value: value | qcow2.OFFSET_MASK), 2, 2, 2),
            ("data unaligned", entry(lambda value: value + 512), 2, 2, 2),
            ("zeroes unaligned", entry(lambda value: value + 512 | qcow2.ZERO), 2, 2, 0),
            ("reserved bits of L2", entry(lambda value: value | 1 << 56), 2, 2, 2),
            ("reserved bits of L1", word(l1, lambda value: value | 1), 2, 2, 2),
            ("L2 table outside", word(l1, lambda value: value | 1 << 40), 2, 2, 2),
            ("L2 table unaligned", word(l1, lambda value: value + 512), 2, 2, 2),
            ("L2 table is the L1 table", word(l1, lambda value: qcow2.COPIED | image_l1(self)), 2, 2, 2),
            ("refcount block unaligned", word(table, lambda value: value + 512), 1, 1, 0),
            ("refcount block with reserved bits", word(table, lambda value: value | 1), 2, 2, 0),
            ("refcount block outside", word(table, lambda value: value | 1 << 40), 2, 2, 0),
            ("no refcount block", word(table, lambda value: 0), 2, 2, 0),
            ("refcount block in a data cluster", lambda image: image.set_number(
                image.refcount_table + 8, 8, cluster_of_entry(image) * CLUSTER), 2, 2, 0),
            ("refcount table at 0", lambda image: image.set_number(48, 8, 0), 2, 2, 0),
            ("no refcount table", lambda image: image.set_number(56, 4, 0), 2, 2, 0),
            ("refcount table outside", lambda image: image.set_number(48, 8, 1 << 40), 2, 2, 0),
            ("snapshot's L1 table unaligned", word(lambda image: image.snapshots_offset, lambda value: value + 512),
             2, 2, 2),
            ("snapshot's L2 table outside", word(lambda image: image.snapshot_l1()[0], lambda value: value | 1 << 40),
             2, 2, 2),
            ("snapshot's L1 entry lost", word(lambda image: image.snapshot_l1()[0], lambda value: 0), 3, 0, 0),
            ("bitmap's cluster outside", word(lambda image: image.bitmap_table()[0], lambda value: value | 1 << 40),
             2, 2, 2),
            ("bitmaps invalid", lambda image: image.set_number(AUTOCLEAR, 8, 0), 3, 0, 0),
        ]

    def test_each_damage(self):
        for name, apply, code, after_leaks, after_all in self.damages():
            with self.subTest(damage=name):
                image = self.image()
                apply(image)
                self.assertEqual(self.same(name), code)
                before = self.read_disk()
                if self.theirs()[1] is None:
                    continue
                self.assertEqual(self.repair("leaks", name)[0], after_leaks)
                repaired = self.repair("all", name)
                self.assertEqual(repaired[0], after_all)
                if after_all == 0:
                    fixed = repaired[1].get("corruptions-fixed", 0) + repaired[1].get("leaks-fixed", 0)
                    self.assertGreater(fixed, 0)
                self.assertEqual(self.read_disk(), before, "only the copy was repaired")

    def read_disk(self):
        """The file of the damaged image."""
        with open(self.path("disk"), "rb") as file:
            return file.read()

    def test_marks_are_cleared_by_a_repair(self):
        for mark in (DIRTY, CORRUPT):
            image = self.image()
            image.set_number(INCOMPATIBLE, 8, mark)
            self.assertEqual(self.same(), 0)
            self.assertEqual(self.ours("-r", "all")[0], 0)
            self.assertEqual(image.number(INCOMPATIBLE, 8), 0)

    def test_refcounts_of_a_killed_writer_with_lazy_refcounts(self):
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", self.path("disk"), "8M")
        # The writer aborts, so that the refcounts of what it allocated stay unwritten.
        tools.finish("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", "-c", "flush", "-c", "abort", self.path("disk"))
        self.assertEqual(qcow2.Metadata(self.path("disk")).number(INCOMPATIBLE, 8), DIRTY)
        self.assertEqual(self.same(), 2)
        self.assertEqual(self.repair("all")[0], 0)
        tools.run("qemu-io", "-r", "-f", "qcow2", "-c", "read -P 7 0 1M", self.path("repaired"))

    def test_a_snapshot_survives_a_repair_of_an_image_with_bitmaps(self):
        """qemu-img 7.2 loses it."""
        image = self.image()
        image.set_refcount(image.number(image.data_entries()[0], 8) % (1 << 56) // CLUSTER, 7)
        self.assertEqual(self.ours("-r", "all")[0], 0)
        self.assertIn("first", tools.run("qemu-img", "snapshot", "-l", self.path("disk")))


def image_l1(test):
    """Offset of the L1 table of the damaged image."""
    return qcow2.Metadata(test.path("disk")).l1_offset


class MutationTest(CheckCase):
    """Random damages, the same in each run."""

    # Exit code 1 comes with 12 of the 400; the fifth part that a sanitizer has time for has three of them.
    SEEDS = range(0, 400, 5 if settings.sanitized() else 1)

    def places(self, image):
        """Offset and length of words of the metadata, by structure."""
        found = {"L1": [(image.l1_offset + 8 * i, 8) for i in range(min(image.l1_entries, 64))],
                 "L2": [(offset, 8) for offset in image.l2_entries()[:256]],
                 "refcount table": [(image.refcount_table + 8 * i, 8) for i in range(4)],
                 "refcounts": [(offset + i, 2) for offset in image.refcount_blocks()[:4] for i in range(0, 64, 2)],
                 "header": [(24, 8), (36, 4), (40, 8), (48, 8), (56, 4), (60, 4), (64, 8), (72, 8), (80, 8), (88, 8)]}
        if image.l2_entry_bytes == 16:
            found["subclusters"] = [(offset + 8, 8) for offset in image.l2_entries()[:64]]
        if image.snapshots:
            l1, entries = image.snapshot_l1()
            found["snapshot L1"] = [(l1 + 8 * i, 8) for i in range(min(entries, 64))]
            found["snapshots"] = [(image.snapshots_offset + i, 4) for i in range(0, 64, 4)]
        if image.version == 3 and image.bitmap_directory():
            directory, length = image.bitmap_directory()
            found["bitmaps"] = [(directory + i, 4) for i in range(0, length, 4)]
            found["bitmap table"] = [(image.bitmap_table()[0], 8)]
        return found

    def mutate(self, chance, image):
        """Changes one word; a text that says which."""
        places = self.places(image)
        structure = chance.choice(sorted(name for name in places if places[name]))
        offset, length = chance.choice(places[structure])
        before = image.number(offset, length)
        way = chance.choice(["flip", "flip", "flip", "zero", "copy", "cluster", "unaligned", "copied"])
        after = {"flip": before ^ 1 << chance.randrange(8 * length),
                 "zero": 0,
                 "copy": image.number(*chance.choice(places[structure])),
                 "cluster": before & ~qcow2.OFFSET_MASK
                            | chance.randrange(image.file_bytes() // image.cluster_bytes + 2) * image.cluster_bytes,
                 "unaligned": before + 512 * chance.randrange(1, 9),
                 "copied": before ^ qcow2.COPIED}[way] & (1 << 8 * length) - 1
        image.set_number(offset, length, after)
        return f"{structure} {offset:#x}: {before:#x} to {after:#x}"

    def test_random_damages(self):
        codes = {0: 0, 1: 0, 2: 0, 3: 0}
        for seed in self.SEEDS:
            chance = random.Random(seed)
            kind = chance.choice(sorted(qcow2.KINDS))
            image = self.image(kind)
            text = f"seed {seed}, {kind}: {self.mutate(chance, image)}"
            with self.subTest(text):
                code = self.same(text)
                codes[code] += 1
                if code in (2, 3) and seed % 2 == 0:
                    self.repair("all", text)
        for code, number in codes.items():
            self.assertGreater(number, len(self.SEEDS) // 40, code)


class OutputTest(CheckCase):
    """Text, options and exit codes."""

    def test_text(self):
        for value, code in ((1, 0), (4, 3)):
            image = self.image(snapshots=False, bitmaps=False)
            image.set_refcount(1, value)
            theirs = tools.finish("qemu-img", "check", self.path("disk"))
            out, notes = self.tool("image", "check", self.path("disk"), expected=code)
            self.assertEqual(out, theirs.stdout)
            self.assertEqual(notes, theirs.stderr)
            self.assertEqual(theirs.returncode, code)
        theirs = tools.finish("qemu-img", "check", "-r", "leaks", shutil.copy(self.path("disk"), self.path("other")))
        self.assertEqual(self.tool("image", "check", "--repair", "leaks", self.path("disk"))[0], theirs.stdout)

    def test_formats(self):
        with open(self.path("raw"), "wb") as file:
            file.truncate(1 << 20)
        _, errors = self.tool("image", "check", self.path("raw"), expected=63)
        self.assertEqual(errors, "blockexport: This image format does not support checks\n")
        self.assertEqual(tools.finish("qemu-img", "check", "-f", "raw", self.path("raw")).returncode, 63)
        _, errors = self.tool("image", "check", "-f", "qcow2", self.path("raw"), expected=1)
        self.assertIn("Image is not in qcow2 format", errors)
        _, errors = self.tool("image", "check", self.path("none"), expected=1)
        self.assertIn("No such file or directory", errors)
        # 2 would mean a corrupt image.
        self.tool("image", "check", "--repair", "most", self.path("raw"), expected=1)

    def test_locks(self):
        self.image()
        writer = subprocess.Popen(["qemu-io", "-f", "qcow2", self.path("disk")], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        try:
            writer.stdin.write("length\n")
            writer.stdin.flush()
            writer.stdout.readline()
            for options in ((), ("-r", "all")):
                _, errors = self.tool("image", "check", *options, self.path("disk"), expected=1)
                self.assertIn("lock", errors)
            self.tool("image", "check", "--force-share", self.path("disk"))
        finally:
            writer.communicate("quit\n")
        self.tool("image", "check", "-r", "all", self.path("disk"))
        _, errors = self.tool("image", "check", "-r", "all", "-U", self.path("disk"), expected=1)
        self.assertIn("share", errors)

    def test_a_repair_without_permission_to_write(self):
        image = self.image()
        image.set_refcount(1, 5)
        os.chmod(self.path("disk"), 0o400)
        if os.access(self.path("disk"), os.W_OK):
            self.skipTest("this user may write to every file")
        self.tool("image", "check", "-r", "leaks", self.path("disk"), expected=1)


if __name__ == "__main__":
    unittest.main()

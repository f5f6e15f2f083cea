"""`blockexport image convert`, `compare` and `bitmap` beside qemu-img: equal disks and answers, nothing left over."""

import itertools
import json
import os
import random
import subprocess
import unittest

from lib import images, tools
from lib.client_tool import ToolTest, program
from lib.images import KIB, MIB


class ConvertCase(ToolTest):
    """A raw disk with data, zeroes that are stored, and holes."""

    SIZE = 9 * MIB + 7 * 512

    def setUp(self):
        super().setUp()
        generator = random.Random(self.id())
        with open(self.path("disk.raw"), "wb") as file:
            file.truncate(self.SIZE)
            for _ in range(12):
                file.seek(generator.randrange(self.SIZE // 512) * 512)
                data = generator.randbytes(generator.choice((16, 512))) * generator.randrange(32, 9600)
                file.write(data[:min(150 * KIB, self.SIZE - file.tell())])
            file.seek(4 * MIB)
            file.write(bytes(200 * KIB))
            file.seek(self.SIZE - 700)
            file.write(b"the end" * 100)

    def convert(self, *arguments, expected=0):
        """What `image convert` prints."""
        return self.tool("image", "convert", *arguments, expected=expected)

    def qemu_img(self, *arguments, expected=0):
        """What qemu-img prints."""
        return tools.run("qemu-img", *arguments, cwd=self.workdir, expected=expected)

    def assert_same(self, first, second, first_format="raw", second_format="qcow2"):
        """Both tools say that two images are equal."""
        self.qemu_img("compare", "-f", first_format, "-F", second_format, first, second)
        self.tool("image", "compare", "-f", first_format, "-F", second_format, first, second)

    def info(self, name):
        """What qemu-img says about an image."""
        return json.loads(self.qemu_img("info", "--output=json", name))


class ConvertTest(ConvertCase):
    """Copies of a disk."""

    def test_forms(self):
        """There and back, through qcow2 images of many forms."""
        for number, (options, compress) in enumerate(itertools.product(
                ("cluster_size=512", "compat=0.10", "cluster_size=2M", "extended_l2=on,cluster_size=128k",
                 "compression_type=zstd", "refcount_bits=1", "preallocation=metadata"), (False, True))):
            with self.subTest(options=options, compress=compress):
                name = f"{number}.qcow2"
                if compress and "preallocation" in options:
                    _, said = self.convert("-c", "-O", "qcow2", "-o", options, "disk.raw", name, expected=1)
                    self.assertIn("Compression and preallocation not supported at the same time", said)
                    continue
                self.convert("-O", "qcow2", "-o", options, *(["-c"] if compress else []), "disk.raw", name)
                self.qemu_img("check", "-q", name)
                self.assert_same("disk.raw", name)
                self.convert("-m", "1", name, f"{number}.raw")
                self.assertEqual(images.sha256(self.path(f"{number}.raw")), images.sha256(self.path("disk.raw")))
                if compress:
                    found = json.loads(self.qemu_img("check", "--output=json", name))
                    self.assertGreater(found["compressed-clusters"], 0)
                os.unlink(self.path(name))

    def test_as_qemu_img_allocates(self):
        """As many clusters as qemu-img's copy has, and a raw copy with the holes."""
        self.convert("-O", "qcow2", "disk.raw", "ours.qcow2")
        self.qemu_img("convert", "-O", "qcow2", "disk.raw", "theirs.qcow2")
        ours, theirs = (json.loads(self.qemu_img("check", "--output=json", f"{side}.qcow2"))
                        for side in ("ours", "theirs"))
        self.assertEqual(ours["allocated-clusters"], theirs["allocated-clusters"])
        self.tool("image", "compare", "-s", "ours.qcow2", "theirs.qcow2")
        self.convert("ours.qcow2", "ours.raw")
        self.qemu_img("convert", "-O", "raw", "theirs.qcow2", "theirs.raw")
        self.assertLessEqual(os.stat(self.path("ours.raw")).st_blocks,
                             os.stat(self.path("theirs.raw")).st_blocks + 64)

    def test_sparse_size(self):
        """-S 0 allocates all of it; a number that is no multiple of a sector is refused."""
        self.convert("-S", "0", "-O", "qcow2", "disk.raw", "full.qcow2")
        found = json.loads(self.qemu_img("check", "--output=json", "full.qcow2"))
        self.assertEqual(found["allocated-clusters"], found["total-clusters"])
        self.assert_same("disk.raw", "full.qcow2")
        self.convert("-S", "64k", "-O", "raw", "disk.raw", "other.raw")
        self.assert_same("disk.raw", "other.raw", second_format="raw")
        _, said = self.convert("-S", "1000", "disk.raw", "no.raw", expected=1)
        self.assertIn("'1000' is no multiple of 512 bytes", said)
        self.assertFalse(os.path.exists(self.path("no.raw")))

    def test_chain(self):
        """A chain becomes one image, and an image becomes an overlay with the clusters that differ."""
        self.convert("-O", "qcow2", "disk.raw", "base.qcow2")
        self.qemu_img("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2")
        tools.run("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", "-c", "write -z 4M 1M", "top.qcow2",
                  cwd=self.workdir)
        self.convert("top.qcow2", "flat.raw")
        self.assert_same("flat.raw", "top.qcow2")
        self.convert("-O", "qcow2", "-B", "base.qcow2", "-F", "qcow2", "flat.raw", "overlay.qcow2")
        self.assert_same("flat.raw", "overlay.qcow2")
        self.assertEqual(self.info("overlay.qcow2")["backing-filename"], "base.qcow2")
        alone = [each for each in json.loads(self.qemu_img("map", "--output=json", "overlay.qcow2"))
                 if each["depth"] == 0 and each["data"]]
        self.assertEqual([(each["start"], each["length"]) for each in alone], [(MIB, 64 * KIB)])

    def test_existing_target(self):
        """-n writes into what is there: all of it, or without zeroes when they are there."""
        images.write_file(self.path("old.raw"), b"\xee" * (self.SIZE + MIB))
        self.convert("-n", "disk.raw", "old.raw")
        with open(self.path("old.raw"), "rb") as old, open(self.path("disk.raw"), "rb") as disk:
            self.assertEqual(old.read(self.SIZE), disk.read())
            self.assertEqual(old.read(), b"\xee" * MIB)
        images.make_sparse(self.path("zero.raw"), self.SIZE, [])
        self.convert("-n", "--target-is-zero", "disk.raw", "zero.raw")
        self.assertEqual(images.sha256(self.path("zero.raw")), images.sha256(self.path("disk.raw")))
        images.make_sparse(self.path("small.raw"), MIB, [])
        _, said = self.convert("-n", "disk.raw", "small.raw", expected=1)
        self.assertIn("Output file is smaller than input file", said)

    def test_bitmaps(self):
        """Bitmaps come along, with their bits and states."""
        self.convert("-O", "qcow2", "disk.raw", "a.qcow2")
        self.qemu_img("bitmap", "--add", "-g", "128k", "a.qcow2", "b0")
        tools.run("qemu-io", "-f", "qcow2", "-c", "write -P 7 3M 1M", "a.qcow2", cwd=self.workdir)
        self.qemu_img("bitmap", "--add", "--disable", "a.qcow2", "b1")
        self.convert("-O", "qcow2", "--bitmaps", "a.qcow2", "b.qcow2")
        found = [sorted(self.info(name)["format-specific"]["data"]["bitmaps"], key=lambda each: each["name"])
                 for name in ("a.qcow2", "b.qcow2")]
        self.assertEqual(*found)
        self.qemu_img("check", "-q", "b.qcow2")
        self.qemu_img("bitmap", "--add", "--merge", "b0", "-b", "b.qcow2", "-F", "qcow2", "a.qcow2", "copy")
        _, said = self.convert("--bitmaps", "a.qcow2", "b.raw", expected=1)
        self.assertIn("Format driver 'raw' does not support bitmaps", said)

    def test_progress_and_json(self):
        """The progress ends with all of it, and JSON tells of the new image."""
        shown, _ = self.convert("-p", "disk.raw", "a.raw")
        self.assertEqual(shown.splitlines()[-1].strip(), "(100.00/100%)")
        made = json.loads(self.convert("--json", "-O", "qcow2", "disk.raw", "a.qcow2")[0])
        self.assertEqual((made["format"], made["virtual-size"]), ("qcow2", self.SIZE))

    def test_refusals(self):
        """Wrong calls, and sources that cannot be read, leave no file and change none."""
        before = images.sha256(self.path("disk.raw"))
        os.symlink("disk.raw", self.path("link.raw"))
        self.qemu_img("create", "-q", "-f", "qcow2", "bad.qcow2", "1M")
        with open(self.path("bad.qcow2"), "r+b") as file:
            file.seek(40)
            file.write(b"\xff" * 8)
        for arguments, text in (
                (("-c", "disk.raw", "no"), "Compression not supported for this file format"),
                (("--target-is-zero", "disk.raw", "no"), "--target-is-zero requires use of -n flag"),
                (("disk.raw", "disk.raw"), "'disk.raw' is a file of the source"),
                (("disk.raw", "link.raw"), "'link.raw' is a file of the source"),
                (("missing", "no"), "Could not open 'missing'"),
                (("bad.qcow2", "no"), "Could not open 'bad.qcow2'"),
                (("-O", "qcow2", "-o", "cluster_size=3", "disk.raw", "no"), "luster size must be a power of two"),
                (("-O", "qcow2", "-B", "missing", "-F", "raw", "disk.raw", "no"), "Could not open"),
                (("-n", "disk.raw", "no"), "Could not open 'no'")):
            with self.subTest(arguments=arguments):
                _, said = self.convert(*arguments, expected=1)
                self.assertIn(text, said)
                self.assertFalse(os.path.exists(self.path("no")))
        self.convert("-m", "17", "disk.raw", "no", expected=2)
        self.assertEqual(images.sha256(self.path("disk.raw")), before)

    def test_source_in_use(self):
        """A source that a program writes is refused; a new target is not left then."""
        self.convert("-O", "qcow2", "disk.raw", "used.qcow2")
        with subprocess.Popen(["qemu-io", "-f", "qcow2", self.path("used.qcow2")], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as writer:
            writer.stdin.write(b"write 0 64k\n")
            writer.stdin.flush()
            self.assertIn(b"wrote 65536", writer.stdout.readline())
            _, said = self.convert("used.qcow2", "no.raw", expected=1)
            self.assertIn("lock", said)
            self.convert("-U", "used.qcow2", "yes.raw")
            writer.communicate(b"quit\n")
        self.assertFalse(os.path.exists(self.path("no.raw")))
        self.assert_same("yes.raw", "used.qcow2")

    def test_an_image_of_its_own_chain(self):
        """The backing file of the source is no target: it stays as it is."""
        self.convert("-O", "qcow2", "disk.raw", "base.qcow2")
        self.qemu_img("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2")
        before = images.sha256(self.path("base.qcow2"))
        for options in ((), ("-n",), ("-U",), ("-U", "-n")):
            with self.subTest(options=options):
                self.convert(*options, "-O", "qcow2", "top.qcow2", "base.qcow2", expected=1)
                self.assertEqual(images.sha256(self.path("base.qcow2")), before)

    def test_data_file_after_a_failure(self):
        """Neither the target nor its data file is left."""
        result = subprocess.run(["/bin/sh", "-c", 'ulimit -f 2048; exec "$@"', "sh", program(), "image", "convert",
                                 "-S", "0", "-O", "qcow2", "-o", "data_file=no.data", "disk.raw", "no.qcow2"],
                                cwd=self.workdir, capture_output=True, text=True,
                                preexec_fn=_ignore_file_size_signal, check=False)
        self.assertEqual(result.returncode, 1, result.stderr)
        for name in ("no.qcow2", "no.data"):
            self.assertFalse(os.path.exists(self.path(name)), name)

    def test_full_disk(self):
        """A target that cannot be written fails with the reason, and goes."""
        result = subprocess.run(["/bin/sh", "-c", 'ulimit -f 2048; exec "$@"', "sh", program(), "image", "convert",
                                 "-S", "0", "disk.raw", "no.raw"], cwd=self.workdir, capture_output=True, text=True,
                                preexec_fn=_ignore_file_size_signal, check=False)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("File too large", result.stderr)
        self.assertFalse(os.path.exists(self.path("no.raw")))


class ConcatenationTest(ConvertCase):
    """Several sources, whose disks follow one another."""

    def setUp(self):
        super().setUp()
        images.make_random(self.path("odd.raw"), 700)
        images.make_sparse(self.path("small.raw"), 3 * MIB + 5 * 512, [(MIB + 300, 90 * KIB)])
        self.qemu_img("convert", "-f", "raw", "-O", "qcow2", "small.raw", "small.qcow2")

    def both(self, *arguments):
        """The copies of both tools are equal."""
        self.convert(*arguments, "ours")
        self.qemu_img("convert", *arguments, "theirs")
        self.qemu_img("compare", "ours", "theirs")
        self.assertEqual(self.info("ours")["virtual-size"], self.info("theirs")["virtual-size"])

    def test_as_qemu_img_does(self):
        for options in (["-O", "raw"], ["-O", "qcow2"], ["-O", "qcow2", "-c"], ["-O", "raw", "-S", "0"]):
            with self.subTest(options=options):
                self.both(*options, "-f", "raw", "disk.raw", "small.raw")
                self.both(*options, "-f", "raw", "odd.raw", "small.raw", "odd.raw", "disk.raw", "odd.raw")
                self.both(*options, "-f", "qcow2", "small.qcow2", "small.qcow2")

    def test_of_several_formats(self):
        """Each source is probed; options name one each."""
        self.convert("-O", "qcow2", "small.qcow2", "disk.raw", "probed")
        self.convert("-O", "qcow2", "--image-opts", "driver=qcow2,file.filename=small.qcow2",
                     "driver=raw,file.filename=disk.raw", "named")
        with open(self.path("all.raw"), "wb") as file:
            for name in ("small.raw", "disk.raw"):
                file.write(images.read_range(self.path(name), 0, os.path.getsize(self.path(name))))
        for name in ("probed", "named"):
            self.assert_same("all.raw", name)

    def test_refusals(self):
        """The texts are those of qemu-img, and nothing is left over."""
        for arguments in (("-O", "qcow2", "-B", "small.qcow2", "-F", "qcow2"), ("-O", "qcow2", "--bitmaps")):
            with self.subTest(arguments=arguments):
                said = self.convert(*arguments, "small.qcow2", "small.qcow2", "no", expected=1)[1]
                theirs = tools.finish("qemu-img", "convert", *arguments, "small.qcow2", "small.qcow2", "no",
                                      cwd=self.workdir).stderr
                self.assertEqual(said.removeprefix("blockexport: "), theirs.removeprefix("qemu-img: "))
        self.convert(*["small.raw"] * 65, "no", expected=2)
        self.convert("small.raw", expected=2)
        said = self.convert("-O", "qcow2", "small.raw", "disk.raw", "small.raw", expected=1)[1]
        self.assertIn("'small.raw' is a file of the source", said)
        self.assertFalse(os.path.exists(self.path("no")))


def _ignore_file_size_signal():
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


class CompareTest(ConvertCase):
    """Answers and exit codes of `image compare`."""

    def both(self, *arguments, code):
        """What both tools say; they end with that code."""
        ours, _ = self.tool("image", "compare", *arguments, expected=code)
        self.assertEqual(ours, self.qemu_img("compare", *arguments, expected=code))
        return ours

    def test_differences(self):
        """The first byte that differs, wherever it is."""
        for offset in (0, 511, 512, 3 * MIB + 5, self.SIZE - 1):
            with self.subTest(offset=offset):
                tools.run("cp", "--sparse=always", self.path("disk.raw"), self.path("other.raw"))
                with open(self.path("other.raw"), "r+b") as file:
                    file.seek(offset)
                    byte = file.read(1)
                    file.seek(offset)
                    file.write(bytes([byte[0] ^ 1]))
                said = self.both("-f", "raw", "-F", "raw", "disk.raw", "other.raw", code=1)
                self.assertEqual(said, f"Content mismatch at offset {offset // 512 * 512}!\n")
                said = json.loads(self.tool("image", "compare", "--json", "disk.raw", "other.raw", expected=1)[0])
                self.assertEqual((said["identical"], said["offset"]), (False, offset // 512 * 512))

    def test_sizes(self):
        """Behind the end of the shorter image, zeroes are no difference, unless the comparison is strict."""
        tools.run("cp", "--sparse=always", self.path("disk.raw"), self.path("longer.raw"))
        os.truncate(self.path("longer.raw"), self.SIZE + 5 * MIB)
        arguments = ("-f", "raw", "-F", "raw", "disk.raw", "longer.raw")
        self.assertEqual(self.both(*arguments, code=0), "Warning: Image size mismatch!\nImages are identical.\n")
        self.assertEqual(self.both("-s", *arguments, code=1), "Strict mode: Image size mismatch!\n")
        with open(self.path("longer.raw"), "r+b") as file:
            file.seek(self.SIZE + 4 * MIB)
            file.write(b"x")
        said = self.both(*arguments, code=1)
        self.assertEqual(said.splitlines()[0], "Warning: Image size mismatch!")

    def test_allocation(self):
        """Clusters of zeroes and none are equal, unless the comparison is strict."""
        for name in ("a", "b"):
            self.qemu_img("create", "-q", "-f", "qcow2", name, "4M")
        tools.run("qemu-io", "-f", "qcow2", "-c", "write -P 0 1M 64k", "a", cwd=self.workdir)
        self.both("a", "b", code=0)
        said, _ = self.tool("image", "compare", "-s", "a", "b", expected=1)
        self.assertEqual(said, f"Strict mode: Offset {MIB} block status mismatch!\n")

    def test_errors(self):
        """An image that cannot be opened is no difference."""
        self.tool("image", "compare", "disk.raw", "missing", expected=2)
        self.tool("image", "compare", "-f", "qcow2", "disk.raw", "disk.raw", expected=2)
        self.tool("image", "compare", "disk.raw", expected=2)


class BitmapTest(ConvertCase):
    """`image bitmap` and `qemu-img bitmap` leave equal images."""

    def setUp(self):
        super().setUp()
        for side in ("ours", "theirs"):
            self.qemu_img("create", "-q", "-f", "qcow2", f"{side}.qcow2", "64M")

    def both(self, *arguments, tail=("b0",), expected=0):
        """Both tools do the same, each with its image."""
        said = self.tool("image", "bitmap", *arguments, "ours.qcow2", *tail, expected=expected)
        self.qemu_img("bitmap", *arguments, "theirs.qcow2", *tail, expected=expected)
        found = [self.info(f"{side}.qcow2")["format-specific"]["data"].get("bitmaps") for side in ("ours", "theirs")]
        self.assertEqual(found[0], found[1])
        self.qemu_img("check", "-q", "ours.qcow2")
        return said[1]

    def dirty(self, name):
        """The dirty extents of a bitmap in our image, as QEMU reads them."""
        copy = self.path("copy.qcow2")
        self.qemu_img("create", "-q", "-f", "qcow2", copy, "64M")
        self.qemu_img("bitmap", "--add", "--merge", name, "-b", "ours.qcow2", "-F", "qcow2", copy, "copied")
        return self.info(copy)["format-specific"]["data"]["bitmaps"]

    def test_life(self):
        """Every action, one by one and together."""
        self.both("--add")
        self.both("--add", "--disable", "-g", "1M", tail=("b1",))
        self.both("--enable", tail=("b1",))
        self.both("--disable")
        self.both("--clear")
        self.both("--merge", "b1")
        self.both("--remove")
        self.both("--remove", tail=("b1",))

    def test_merge_from_another_image(self):
        """The bits of another image's bitmap arrive."""
        self.qemu_img("create", "-q", "-f", "qcow2", "source.qcow2", "64M")
        self.qemu_img("bitmap", "--add", "source.qcow2", "s")
        tools.run("qemu-io", "-f", "qcow2", "-c", "write 5M 3M", "source.qcow2", cwd=self.workdir)
        self.both("--add", "--merge", "s", "-b", "source.qcow2", "-F", "qcow2")
        self.assertEqual(self.dirty("b0")[0]["granularity"], 64 * KIB)

    def test_refusals(self):
        """Refused as by qemu-img, and the image stays."""
        self.both("--add")
        for arguments, tail, text in (
                (("--add",), ("b0",), "already exists"),
                (("--remove",), ("none",), "not found"),
                (("--merge", "none"), ("b0",), "not found"),
                (("--add", "-g", "1000"), ("b1",), "granularity")):
            with self.subTest(arguments=arguments):
                self.assertIn(text, self.both(*arguments, tail=tail, expected=1).lower())
        _, said = self.tool("image", "bitmap", "ours.qcow2", "b0", expected=1)
        self.assertIn("Need at least one of --add", said)
        self.tool("image", "bitmap", "--add", "disk.raw", "b0", expected=1)


if __name__ == "__main__":
    unittest.main()

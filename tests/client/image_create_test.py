"""`blockexport image create` beside `qemu-img create`: equal images, equal lines, and no file after a failure."""

import itertools
import json
import os
import subprocess
import unittest

from lib import images, tools
from lib.client_tool import ToolTest, program
from lib.images import KIB, MIB


class CreateCase(ToolTest):
    """Two directories, in which both programs make images of the same names."""

    def setUp(self):
        super().setUp()
        for side in ("ours", "theirs"):
            os.makedirs(self.path(side))
            images.make_sparse(self.path(side, "base.raw"), 3 * MIB, [(0, 64 * KIB), (2 * MIB, 4 * KIB)])
            tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "base.qcow2", "5M",
                      cwd=self.path(side))

    def ours(self, *arguments, expected=0):
        """What our tool prints."""
        here = self.workdir
        self.workdir = os.path.join(here, "ours")
        try:
            return self.tool("image", "create", *arguments, expected=expected)
        finally:
            self.workdir = here

    def theirs(self, *arguments, expected=0):
        """What qemu-img prints."""
        return tools.run("qemu-img", "create", *arguments, cwd=self.path("theirs"), expected=expected)

    def info(self, side, name, *arguments):
        """What qemu-img says about an image."""
        return json.loads(tools.run("qemu-img", "info", "--output=json", *arguments, name, cwd=self.path(side)))

    def compare(self, *arguments, name="disk", form="qcow2", text=True):
        """Both make the image; it must be the same one."""
        ours, theirs = self.ours(*arguments)[0], self.theirs(*arguments)
        if text:
            self.assertEqual(ours, theirs)
        own, other = self.info("ours", name, "-f", form), self.info("theirs", name, "-f", form)
        # Members that tell of the storage of the file.
        self.assertLessEqual(own.pop("actual-size"), max(2 * other.pop("actual-size"), 8 * KIB))
        self.assertEqual(own, other)
        if form == "qcow2":
            tools.run("qemu-img", "check", "-q", "-f", "qcow2", name, cwd=self.path("ours"))
        tools.run("qemu-img", "compare", "-q", "-f", form, "-F", form, name, self.path("theirs", name),
                  cwd=self.path("ours"))
        return own


class EqualTest(CreateCase):
    """Images that are right."""

    def test_matrix_of_options(self):
        """Every combination of cluster size, subclusters, preallocation, refcounts and compression that there is."""
        clusters = ("16k", "64k", "2M")
        subclusters = ("off", "on")
        preallocations = ("off", "metadata", "falloc", "full")
        others = ("refcount_bits=16", "refcount_bits=1,compression_type=zstd", "refcount_bits=64,lazy_refcounts=on")
        for values in itertools.product(clusters, subclusters, preallocations, others):
            options = "cluster_size={},extended_l2={},preallocation={},{}".format(*values)
            with self.subTest(options=options):
                self.compare("-f", "qcow2", "-o", options, "disk", "5M")
                os.unlink(self.path("ours", "disk"))
                os.unlink(self.path("theirs", "disk"))

    def test_single_options(self):
        """Options by themselves, in all their spellings."""
        for options in ("cluster_size=512", "cluster_size=4096", "compat=0.10", "compat=1.1", "compat=v2", "compat=v3",
                        "refcount_bits=2", "refcount_bits=32", "extended_l2", "lazy_refcounts", "lazy_refcounts=yes",
                        "cluster_size=4k,cluster_size=8k", "compression_type=zlib", "preallocation=off", ""):
            with self.subTest(options=options):
                self.compare("-f", "qcow2", *(["-o", options] if options else []), "disk", "1M",
                             text="yes" not in options)
        self.compare("-f", "qcow2", "-o", "cluster_size=4k", "-o", "lazy_refcounts=on", "disk", "1M")
        self.compare("-f", "qcow2", "-o", "size=3M", "disk")

    def test_sizes(self):
        """Numbers with suffixes, for both formats; what is no whole sector is rounded up."""
        for form in ("qcow2", "raw"):
            for size in ("0", "512", "1000", "64k", "64K", "1.5M", "3G", "1T", "0x100000", "4096b"):
                with self.subTest(format=form, size=size):
                    self.compare("-f", form, "disk", size, form=form, text=size != "1000")

    def test_raw(self):
        """Raw is the default, and has preallocation."""
        self.compare("disk", "1M", form="raw")
        for mode in ("off", "falloc", "full"):
            self.compare("-f", "raw", "-o", f"preallocation={mode}", "disk", "1M", form="raw")
        self.assertEqual(images.allocated(self.path("ours", "disk")), MIB)

    def test_backing(self):
        """The size is that of the backing file, or one that was given; without a look at it with -u."""
        for below, kind in (("base.raw", "raw"), ("base.qcow2", "qcow2")):
            for extra in ([], ["-o", "extended_l2=on"], ["-o", "preallocation=metadata,extended_l2=on"]):
                self.compare("-f", "qcow2", "-b", below, "-F", kind, *extra, "disk")
                self.compare("-f", "qcow2", "-b", below, "-F", kind, *extra, "disk", "16M")
        self.compare("-f", "qcow2", "-o", "backing_file=base.raw,backing_fmt=raw", "disk")
        self.ours("-f", "qcow2", "-u", "-b", "nowhere", "-F", "qcow2", "disk", "1M")
        self.theirs("-f", "qcow2", "-u", "-b", "nowhere", "-F", "qcow2", "disk", "1M")
        own, other = self.info("ours", "disk"), self.info("theirs", "disk")
        self.assertEqual(own.pop("actual-size"), other.pop("actual-size"))
        self.assertEqual(own, other)

    def test_a_backing_file_beside_the_image(self):
        """Its name is relative to the directory of the image."""
        for side in ("ours", "theirs"):
            os.makedirs(self.path(side, "below"))
            os.rename(self.path(side, "base.raw"), self.path(side, "below", "base.raw"))
        self.compare("-f", "qcow2", "-b", "base.raw", "-F", "raw", "below/disk", name="below/disk")

    def test_data_file(self):
        """The data file is made too, also one with a comma in its name, and has the size of the disk."""
        for options in ("data_file=data", "data_file=da,,ta", "data_file=data,data_file_raw=on",
                        "data_file=data,preallocation=metadata", "data_file=data,preallocation=full"):
            with self.subTest(options=options):
                self.compare("-f", "qcow2", "-o", options, "disk", "3M")
                name = "da,ta" if ",," in options else "data"
                sizes = [os.path.getsize(self.path(side, name)) for side in ("ours", "theirs")]
                self.assertEqual(sizes[0], sizes[1])

    def test_an_old_image_is_replaced(self):
        """Nothing of it is left."""
        for side in ("ours", "theirs"):
            images.make_random(self.path(side, "disk"), 3 * MIB)
        self.compare("-f", "qcow2", "disk", "2M")
        self.assertLess(os.path.getsize(self.path("ours", "disk")), MIB)

    def test_block_device(self):
        """A qcow2 image can stand on a block device, which stays there after a failure too."""
        images.make_random(self.path("ours", "storage"), 4 * MIB)
        result = tools.finish("losetup", "--find", "--show", self.path("ours", "storage"))
        if result.returncode:
            self.skipTest("no loop device can be set up")
        device = result.stdout.strip()
        self.addCleanup(tools.run, "losetup", "--detach", device)
        self.ours("-f", "qcow2", device, "64M")
        tools.run("qemu-img", "check", "-q", "-f", "qcow2", device)
        self.assertEqual(self.info("ours", device)["virtual-size"], 64 * MIB)
        _, errors = self.ours("-f", "qcow2", "-o", "preallocation=full", device, "64M", expected=1)
        self.assertIn("No space left on device", errors)
        self.assertTrue(os.path.exists(device))
        self.assertIn("is a raw image by itself", self.ours("-f", "raw", device, "1M", expected=1)[1])

    def test_output(self):
        """--json tells what was made, as `image info` does; --quiet tells nothing."""
        made, _ = self.ours("-f", "qcow2", "-b", "base.raw", "-F", "raw", "--json", "disk")
        made = json.loads(made)
        self.assertEqual(made, json.loads(self.ours("-f", "qcow2", "-b", "base.raw", "-F", "raw", "--output=json",
                                                    "disk")[0]))
        self.assertEqual(made, self.info("ours", "disk"))
        self.assertEqual(self.ours("-q", "-f", "qcow2", "disk", "1M"), ("", ""))


class RefusedTest(CreateCase):
    """Wrong options."""

    # Arguments, a part of the message; whether it is also qemu-img's.
    WRONG = [
        (["-o", "cluster_size=1000", "disk", "1M"], "Cluster size must be a power of two between 512 and 2048k", True),
        (["-o", "cluster_size=4M", "disk", "1M"], "Cluster size must be a power of two between 512 and 2048k", True),
        (["-o", "cluster_size=8k,extended_l2=on", "disk", "1M"], "Extended L2 entries are only supported with", True),
        (["-o", "refcount_bits=3", "disk", "1M"], "Refcount width must be a power of two", True),
        (["-o", "refcount_bits=-1", "disk", "1M"], "Refcount width must be a power of two", False),
        (["-o", "compat=0.10,refcount_bits=8", "disk", "1M"], "Different refcount widths than 16 bits require", True),
        (["-o", "compat=0.10,lazy_refcounts=on", "disk", "1M"], "Lazy refcounts only supported with compat", True),
        (["-o", "compat=7", "disk", "1M"], "Parameter 'version' does not accept value '7'", True),
        (["-o", "data_file_raw=on", "disk", "1M"], "data-file-raw requires data-file", True),
        (["-o", "data_file=data,data_file_raw=on", "-b", "base.raw", "-F", "raw", "disk"],
         "Backing file and data-file-raw cannot be used", True),
        (["-o", "compression_type=lzo", "disk", "1M"], "'compression-type' does not accept value 'lzo'", True),
        (["-o", "preallocation=some", "disk", "1M"], "'preallocation' does not accept value 'some'", True),
        (["-o", "nonsense=1", "disk", "1M"], "Invalid parameter 'nonsense'", True),
        (["-o", "cluster_size=x", "disk", "1M"], "'cluster-size' expects", False),
        (["disk"], "Image creation needs a size parameter", True),
        (["disk", "1X"], "'size' expects", False),
        (["-o", "size=1M", "disk", "1M"], "The image size must be specified only once", True),
        (["disk", "8E"], "Image size", False),
        (["disk", "4E"], "", False),
        (["-b", "base.raw", "disk"], "Backing file specified without backing format", True),
        (["-b", "", "-F", "raw", "disk", "1M"], "Expected backing file name, got empty string", True),
        (["-F", "raw", "disk", "1M"], "Backing format cannot be used without backing file", True),
        (["-u", "-b", "base.raw", "-F", "raw", "disk"], "Image creation needs a size parameter", True),
        (["-b", "nowhere", "-F", "raw", "disk"], "Could not open 'nowhere'", True),
        (["-b", "base.raw", "-F", "qcow2", "disk"], "Image is not in qcow2 format", True),
        (["-b", "base.raw", "-F", "nonsense", "disk"], "Unknown driver 'nonsense'", True),
        (["-b", "disk", "-F", "raw", "disk", "1M"], "same filename as the backing file", True),
        (["-b", "n" * 1024, "-F", "raw", "-u", "disk", "1M"], "", True),
    ]

    def test_wrong_options(self):
        """The message is that of qemu-img where both have one; no file is left, and one that was there stays."""
        for arguments, message, is_theirs in self.WRONG:
            with self.subTest(arguments=arguments):
                _, errors = self.ours("-f", "qcow2", *arguments, expected=1)
                self.assertIn(message, errors)
                self.assertTrue(errors.startswith("blockexport: disk: "))
                self.assertEqual(sorted(os.listdir(self.path("ours"))), ["base.qcow2", "base.raw"])
                result = tools.finish("qemu-img", "create", "-f", "qcow2", *arguments, cwd=self.path("theirs"))
                self.assertEqual(result.returncode, 1)
                if is_theirs:
                    self.assertIn(message, result.stderr)

    def test_an_image_that_was_there_stays(self):
        """Wrong options do not touch it."""
        images.make_random(self.path("ours", "disk"), MIB)
        before = images.sha256(self.path("ours", "disk"))
        for arguments, _, _ in self.WRONG:
            self.ours("-f", "qcow2", *arguments, expected=1)
            self.assertEqual(images.sha256(self.path("ours", "disk")), before, arguments)

    def test_raw(self):
        """What raw images do not have."""
        for arguments, message in ((["-o", "preallocation=metadata", "disk", "1M"], "Unsupported preallocation mode"),
                                   (["-o", "cluster_size=4k", "disk", "1M"], "Invalid parameter 'cluster_size'"),
                                   (["-b", "base.raw", "-F", "raw", "disk"], "Backing file not supported for file"),
                                   (["disk"], "Image creation needs a size parameter")):
            for form in ([], ["-f", "raw"]):
                self.assertIn(message, self.ours(*form, *arguments, expected=1)[1])
                self.assertEqual(sorted(os.listdir(self.path("ours"))), ["base.qcow2", "base.raw"])

    def test_the_command_line(self):
        """What is no option, or too much."""
        for arguments in ([], ["-f", "vmdk", "disk", "1M"], ["disk", "1M", "2M"], ["--nonsense", "disk", "1M"]):
            self.ours(*arguments, expected=2)

    def test_no_file_is_left_when_the_data_file_cannot_be_made(self):
        """The image was made first."""
        _, errors = self.ours("-f", "qcow2", "-o", "data_file=nowhere/data", "disk", "1M", expected=1)
        self.assertIn("Could not create 'nowhere/data': No such file or directory", errors)
        self.assertEqual(sorted(os.listdir(self.path("ours"))), ["base.qcow2", "base.raw"])

    def test_no_file_is_left_when_space_ends(self):
        """A limit of file sizes ends the creation in its midst."""
        limit = ["prlimit", "--fsize=1000000"]
        for arguments in (["-f", "qcow2", "-o", "preallocation=full,data_file=data"],
                          ["-f", "qcow2", "-o", "preallocation=full"], ["-o", "preallocation=full"]):
            result = tools.finish("sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", *limit, program(), "image", "create",
                                  *arguments, "disk", "4M", cwd=self.path("ours"))
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertIn("File too large", result.stderr)
            self.assertEqual(sorted(os.listdir(self.path("ours"))), ["base.qcow2", "base.raw"])

    def test_images_in_use(self):
        """A file that somebody writes to is not replaced, nor one of the chain below by another name."""
        holder = subprocess.Popen(["qemu-io", "-f", "qcow2", self.path("ours", "base.qcow2")],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            holder.stdout.read(1)  # the prompt
            _, errors = self.ours("-f", "qcow2", "base.qcow2", "1M", expected=1)
            self.assertIn('Failed to get "write" lock', errors)
        finally:
            holder.communicate(b"quit\n")
        before = images.sha256(self.path("ours", "base.raw"))
        _, errors = self.ours("-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "./base.raw", expected=1)
        self.assertIn('Failed to get "write" lock', errors)
        self.assertEqual(images.sha256(self.path("ours", "base.raw")), before)


if __name__ == "__main__":
    unittest.main()

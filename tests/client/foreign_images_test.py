"""Images of the formats vdi, vpc, vmdk, vhdx and parallels that qemu-img makes: the export has the disk's bytes, and
`blockexport image info` and `map` tell the same as qemu-img; and the guide docs/guides/import.md."""

import json
import os
import shutil
import unittest

from lib import images, settings, tools
from lib.client_tool import ToolTest
from lib.daemon import Daemon
from lib.guide import GuideCase
from lib.images import KIB, MIB

ODD_SIZE = 20 * MIB + 1536
LARGE_SIZE = 5 << 30
# Format, and options of its creation.
FORMATS = [("vdi", ""), ("vdi", "static=on"), ("vpc", "force_size=on"), ("vpc", "subformat=fixed,force_size=on"),
           ("vhdx", "subformat=dynamic"), ("vhdx", "subformat=fixed"), ("parallels", ""),
           ("parallels", "cluster_size=64k"), ("vmdk", "subformat=monolithicSparse"),
           ("vmdk", "subformat=monolithicFlat"), ("vmdk", "subformat=twoGbMaxExtentSparse"),
           ("vmdk", "subformat=twoGbMaxExtentFlat"), ("vmdk", "subformat=streamOptimized"),
           ("vmdk", "zeroed_grain=on")]


class ImagesCase(ToolTest):
    """A raw disk with data, zeroes and holes, and an image of it."""

    def make(self, form, options, size=ODD_SIZE):
        """Writes disk.img and the image `image`."""
        images.make_sparse(self.path("disk.img"), size, [(0, 300 * KIB), (9 * MIB + 4096, 70 * KIB), (size - 512, 512)])
        with open(self.path("disk.img"), "r+b") as file:
            file.seek(3 * MIB)
            file.write(bytes(64 * KIB))
            file.seek(5 * MIB)
            file.write(b"text" * 100_000)
        arguments = ["-o", options] if options else []
        tools.run("qemu-img", "convert", "-f", "raw", "-O", form, *arguments, "disk.img", "image", cwd=self.workdir,
                  timeout=120)

    def serve(self, form):
        """A server that exports the image."""
        server = Daemon(self.workdir,
                        ["--blockdev", f"{form},node-name=n,file.driver=file,file.filename={self.path('image')}",
                         "--export", "nbd,id=e,node-name=n,name=disk"], nbd_server="")
        server.start()
        self.addCleanup(server.kill)
        return server


class ContentTest(ImagesCase):
    """The export of each kind of image."""

    def check(self, form, options, size):
        """The export has the disk's bytes."""
        self.make(form, options, size)
        server = self.serve(form)
        uri = f"nbd+unix:///disk?socket={server.nbd_path}"
        tools.run("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, self.path("disk.img"), timeout=120)
        server.stop()

    def test_every_kind(self):
        for form, options in FORMATS:
            with self.subTest(form=form, options=options):
                self.check(form, options, ODD_SIZE)

    def test_larger_than_two_gib(self):
        for form, options in (("vdi", ""), ("vpc", "force_size=on"), ("vhdx", ""), ("parallels", ""), ("vmdk", ""),
                              ("vmdk", "subformat=twoGbMaxExtentSparse"), ("vmdk", "subformat=twoGbMaxExtentFlat")):
            with self.subTest(form=form, options=options):
                self.check(form, options, LARGE_SIZE)


    def test_four_tib(self):
        """Little data in a large disk."""
        for form in ("vdi", "vhdx", "parallels", "vmdk"):
            with self.subTest(form=form):
                tools.run("qemu-img", "create", "-q", "-f", form, "image", "4T", cwd=self.workdir)
                tools.run("qemu-io", "-f", form, "-c", "write -P 7 4000G 64k", "-c", "write -P 8 1M 5k", "image",
                          cwd=self.workdir)
                server = self.serve(form)
                uri = f"nbd+unix:///disk?socket={server.nbd_path}"
                tools.run("qemu-io", "-r", "-f", "raw", "-c", "read -P 7 4000G 64k", "-c", "read -P 8 1M 5k", "-c",
                          "read -P 0 2T 1M", uri)
                server.stop()
                os.unlink(self.path("image"))


class NamesTest(ImagesCase):
    """The rule --image-references for the extents that a descriptor names."""

    def test_rules(self):
        """Extents beneath an allowed directory are opened, others are not."""
        self.make("vmdk", "subformat=twoGbMaxExtentFlat")
        os.mkdir(self.path("elsewhere"))
        node = ["--blockdev", f"vmdk,node-name=n,file.driver=file,file.filename={self.path('image')}"]
        for rule, text in (("deny", "--image-references deny forbids to open it"),
                           (self.path("elsewhere"), "image-f001")):
            result = tools.finish(settings.program(), "--image-references", rule, *node)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(text, result.stderr)
        server = Daemon(self.workdir, ["--image-references", self.workdir, *node])
        self.addCleanup(server.kill)
        server.start()
        server.stop()


class DescriptionTest(ImagesCase):
    """What the tool tells, beside qemu-img."""

    def theirs(self, verb, *arguments):
        """The JSON that qemu-img prints."""
        return json.loads(tools.run("qemu-img", verb, "--output=json", *arguments, cwd=self.workdir))

    def ours(self, verb, *arguments):
        """The same of this tool."""
        return json.loads(self.tool("image", verb, "--output=json", *arguments)[0])

    def test_info(self):
        for form, options in FORMATS:
            with self.subTest(form=form, options=options):
                self.make(form, options)
                ours, theirs = self.ours("info", "-f", form, "image"), self.theirs("info", "-f", form, "image")
                theirs.pop("children", None)
                self.assertEqual(ours, theirs)
                if "fixed" not in options or form != "vpc":
                    self.assertEqual(self.ours("info", "image"), ours)

    def test_map_without_the_holes_of_the_file(self):
        for form, options in FORMATS:
            if form == "vhdx":
                continue
            with self.subTest(form=form, options=options):
                self.make(form, options)
                self.assertEqual(present(self.ours("map", "-f", form, "image")),
                                 present(self.theirs("map", "-f", form, "image")))


def present(entries):
    """The runs that an image has, joined; ours are more exact about zeroes in allocated blocks."""
    runs = []
    for entry in entries:
        run = [entry["start"], entry["length"], entry["data"], entry["present"]]
        if runs and runs[-1][2:] == run[2:]:
            runs[-1][1] += run[1]
        else:
            runs.append(run)
    return runs


class LibyalTest(ImagesCase):
    """The bytes of the disk as the libraries of the libyal project read them, which share no code with QEMU."""

    def check(self, form, options, read_media):
        """This tool's raw image, the library's bytes and the disk are the same."""
        self.make(form, options)
        self.tool("image", "convert", "-f", form, "-O", "raw", "image", "ours.img")
        begin = 0
        with open(self.path("ours.img"), "rb") as ours, open(self.path("disk.img"), "rb") as disk:
            for theirs in read_media(self.path("image")):
                self.assertTrue(ours.read(len(theirs)) == theirs, f"differs from the library behind byte {begin}")
                self.assertTrue(disk.read(len(theirs)) == theirs, f"the library differs behind byte {begin}")
                begin += len(theirs)
            self.assertEqual((ours.read(), disk.read()), (b"", b""))
        self.assertEqual(begin, ODD_SIZE)

    def check_all(self, forms, read_media):
        """All kinds of images of these formats."""
        for form, options in FORMATS:
            if form in forms:
                with self.subTest(form=form, options=options):
                    self.check(form, options, read_media)

    def test_vhd_and_vhdx(self):
        try:
            import pyvhdi  # pylint: disable=import-outside-toplevel
        except ImportError:
            self.skipTest("python3-libvhdi is not installed")

        def read_media(path):
            """The disk in pieces."""
            image = pyvhdi.file()
            image.open(path)
            yield from pieces_of(image.get_media_size(), image.read_buffer_at_offset)
            image.close()

        self.check_all(("vpc", "vhdx"), read_media)

    def test_vmdk(self):
        try:
            import pyvmdk  # pylint: disable=import-outside-toplevel
        except ImportError:
            self.skipTest("python3-libvmdk is not installed")

        def read_media(path):
            """The disk in pieces. The library reads descriptors by themselves, and sparse files that have one."""
            image = pyvmdk.handle()
            image.open(path)
            image.open_extent_data_files()
            yield from pieces_of(image.get_media_size(), image.read_buffer_at_offset)
            image.close()

        self.check_all(("vmdk",), read_media)


def pieces_of(size, read_at):
    """A disk of that size in pieces of at most 1 MiB."""
    for offset in range(0, size, MIB):
        yield read_at(min(MIB, size - offset), offset)


class ImportTest(GuideCase):
    """A streamOptimized image, as OVA files have them."""

    guide = "import.md"
    export = "disk"

    def setUp(self):
        super().setUp()
        if shutil.which("nbdcopy", path=tools.PATH) is None:
            self.skipTest("nbdcopy is not installed")
        images.make_sparse(self.path("disk.img"), 64 * MIB, [(0, MIB), (30 * MIB, 100 * KIB)])
        tools.run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", "disk.img",
                  "disk.vmdk", cwd=self.workdir)

    def test_look_serve_and_convert(self):
        """The converted image has the disk's contents."""
        self.assertIn("streamOptimized", self.shell(self.script("See what it is").splitlines()[0]))
        self.shell(self.script("Serve it"))
        self.assertEqual(self.read(0, 4096), images.read_range(self.path("disk.img"), 0, 4096))
        self.shell(self.script("Convert it"))
        self.shell(self.script("Stop the daemons"))
        tools.run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", "disk.img", "disk.qcow2", cwd=self.workdir)


if __name__ == "__main__":
    unittest.main()

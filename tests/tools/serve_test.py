"""tools/serve.sh: its messages about an image before the export. A program that ends at once replaces the daemon."""

import shlex
import shlex
import shutil
import subprocess
import unittest

from tool_case import ToolCase

# Images that no tool has to make: their beginnings.
BEGINNINGS = {"qcow": b"QFI\xfb\0\0\0\1", "qcow2": b"QFI\xfb\0\0\0\3", "vmdk": b"KDMV\1\0\0\0", "vhdx": b"vhdxfile",
              "vhd": b"conectix", "qed": b"QED\0", "LUKS": b"LUKS\xba\xbe\0\2", "vdi": bytes(64) + b"\x7f\x10\xda\xbe",
              "parallels": b"WithouFreSpacExt", "gzip": b"\x1f\x8b\x08", "xz": b"\xfd7zXZ\0",
              "zstd": b"\x28\xb5\x2f\xfd", "bzip2": b"BZh91AY&SY", "zip": b"PK\3\4"}


class ServeTest(ToolCase):
    def setUp(self):
        super().setUp()
        self.stand_in("daemon", f'echo "$@" >>{shlex.quote(str(self.place / "asked"))}\necho 1 >"$2"')

    def serve(self, image, **environment):
        """What is printed while an image is served, which it must be."""
        result = self.run_tool("tools/serve.sh", str(self.stand_ins / "daemon"), IMAGE=str(image), PORT="1",
                               **environment)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("driver=raw", (self.place / "asked").read_text(encoding="utf-8"))
        return result.stdout, result.stderr

    def image(self, name, content):
        """An image of that content."""
        path = self.place / name
        path.write_bytes(content)
        return path

    def test_a_raw_image(self):
        """It is announced, and nothing is warned of."""
        for content in (b"", b"short", b"\xeb\x3c\x90" + bytes(4096), bytes(1 << 20)):
            path = self.image("disk, one.img", content)
            out, warned = self.serve(path)
            self.assertIn(f"about to export {path} as a raw image (writable: off)", out)
            self.assertEqual(warned, "")

    def test_every_format_by_its_beginning(self):
        """The format is named, with the line that converts it; it is exported all the same."""
        for name, beginning in BEGINNINGS.items():
            with self.subTest(name):
                path = self.image("disk.img", beginning.ljust(4096, b"\0"))
                out, warned = self.serve(path)
                self.assertIn(f"the bytes of {path}, which is a file of the format {name} (", out)
                self.assertIn("Clients will see the container, not the disk in it", warned)
                self.assertIn(str(path), warned.splitlines()[2])
                self.assertNotIn("destroys", warned)

    def test_formats_that_are_told_by_their_end(self):
        """A fixed VHD is a raw disk with a footer, a DMG ends with a block of its own."""
        for name, end in (("vhd", b"conectix"), ("dmg", b"koly")):
            _, warned = self.serve(self.image("disk.img", bytes(8192) + end.ljust(512, b"\0")))
            self.assertIn(f"its format is {name}.", warned)

    def test_writable(self):
        """Who makes it writable is told what that does to the image."""
        path = self.image("disk.qcow2", BEGINNINGS["qcow2"].ljust(4096, b"\0"))
        out, warned = self.serve(path, WRITABLE="on")
        self.assertIn("(writable: on)", out)
        self.assertIn("destroys the image", warned)

    @unittest.skipUnless(shutil.which("qemu-img"), "qemu-img is not installed")
    def test_what_qemu_img_makes(self):
        """Real images are recognised, and the line that is shown serves them."""
        for name in ("qcow2", "vmdk", "vdi", "vhdx", "vpc"):
            path = self.place / f"the disk.{name}"
            subprocess.run(["qemu-img", "create", "-q", "-f", name, path, "1M"], check=True, timeout=60)
            _, warned = self.serve(path)
            line = next(line for line in warned.splitlines() if line.startswith("    build/blockexport serve "))
            self.assertEqual(shlex.split(line),
                             ["build/blockexport", "serve", "--format", name, str(path)])


if __name__ == "__main__":
    unittest.main()

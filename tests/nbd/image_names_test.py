"""Names of backing and data files inside qcow2 images: the nodes that they open, the errors, and the policies."""

import json
import os
import struct
import subprocess

from lib import images, settings, tools
from lib.images import KIB, MIB
from lib.testcase import DaemonTest

SIZE = MIB
FORMAT_EXTENSION = 0xE2792ACA
PREFIX = "Could not open backing file: "


class NamesTest(DaemonTest):
    """An image `base.qcow2` with data, beside images in the folder `sub` that the tests give names."""

    @classmethod
    def prepare(cls):
        os.mkdir(cls.path("sub"))
        cls.plain = cls.path("sub/plain.qcow2")
        for name in ("sub/base.qcow2", "sub/other.qcow2", "sub/plain.qcow2"):
            tools.run("qemu-img", "create", "-q", "-f", "qcow2", cls.path(name), str(SIZE))
        tools.run("qemu-io", "-f", "qcow2", "-c", f"write -P 7 0 {64 * KIB}", cls.path("sub/base.qcow2"))
        return []

    def image(self, name, backing, backing_format=None):
        """An image whose header has that name of a backing file, as qemu-img would not write it. Its path."""
        with open(self.plain, "rb") as file:
            content = bytearray(file.read())
        header_length = struct.unpack(">I", content[100:104])[0]
        body = b""
        if backing_format is not None:
            word = backing_format.encode()
            body = struct.pack(">II", FORMAT_EXTENSION, len(word)) + word + bytes(-len(word) % 8)
        body += bytes(8)
        text = backing.encode()
        content[header_length:4 * KIB] = (body + text).ljust(4 * KIB - header_length, b"\0")
        content[8:20] = struct.pack(">QI", header_length + len(body), len(text))
        path = self.path(f"sub/{name}")
        images.write_file(path, bytes(content))
        return path

    def node(self, path, **options):
        """The options of a node over an image."""
        return {"driver": "qcow2", "node-name": "image", "file": {"driver": "file", "filename": path}, **options}

    def add(self, path, **options):
        """Adds the node and takes it away; the nodes that were there meanwhile, by driver and file, or the error."""
        answer = self.qmp.command("blockdev-add", self.node(path, **options))
        if "error" in answer:
            return answer["error"]["desc"]
        nodes = self.qmp.execute("query-named-block-nodes", {"flat": True})
        self.qmp.execute("blockdev-del", {"node-name": "image"})
        return sorted((node["drv"], node["file"], node["ro"]) for node in nodes
                      if node["node-name"] != "image" and not node["file"].endswith(path))

    def below(self, driver, path):
        """The return value of add() for a backing file of that driver."""
        return sorted([(driver, path, True), ("file", path, True)])


class OpeningTest(NamesTest):
    """Forms of names, with the answers of qemu-storage-daemon."""

    def test_forms(self):
        """A path is relative to the image; a protocol and JSON are not."""
        base = self.path("sub/base.qcow2")
        quoted = json.dumps({"driver": "qcow2", "file": {"driver": "file", "filename": base}})
        for number, (name, image_format, driver, path) in enumerate((
                ("base.qcow2", "qcow2", "qcow2", base),
                ("./base.qcow2", "qcow2", "qcow2", self.path("sub/./base.qcow2")),
                (base, "qcow2", "qcow2", base),
                ("base.qcow2", "raw", "raw", base),
                ("base.qcow2", None, "qcow2", base),
                (f"file:{base}", "qcow2", "qcow2", base),
                (f"json:{quoted}", "qcow2", "qcow2", base),
                (f"json:{quoted}", None, "qcow2", base),
                (f'json:{{"file.filename": "{base}"}}', "qcow2", "qcow2", base),
                (f'json:{{"file": {{"filename": "{base}"}}}}', None, "qcow2", base),
                (f'json:{{"driver": "raw", "file": {{"driver": "file", "filename": "{base}"}}}}', "qcow2", "qcow2",
                 base))):
            with self.subTest(name=name, format=image_format):
                self.assertEqual(self.add(self.image(f"form{number}.qcow2", name, image_format)),
                                 self.below(driver, path))

    def test_files(self):
        """A format that is a driver of files takes the file as it is."""
        base = self.path("sub/base.qcow2")
        for name in ("base.qcow2", f'json:{{"driver": "file", "filename": "{base}"}}'):
            self.assertEqual(self.add(self.image("files.qcow2", name, "file")), [("file", base, True)])
        self.assertEqual(self.add(self.image("files.qcow2", "null-co://", "null-co")),
                         [("null-co", "null-co://", True)])

    def test_errors(self):
        """Each names the cause, after the words that a backing file is concerned."""
        base = self.path("sub/base.qcow2")
        for number, (name, image_format, message) in enumerate((
                ("gone", "qcow2", f"Could not open '{self.path('sub/gone')}': No such file or directory"),
                ("foo:bar", "qcow2", "Unknown protocol 'foo'"),
                ("raw:base.qcow2", "qcow2", "Unknown protocol 'raw'"),
                (":x", "qcow2", "Unknown protocol ''"),
                ("base.qcow2", "vdix", "Unknown driver 'vdix'"),
                ("file:", "raw", "The 'file' block driver requires a file name"),
                ("json:[1]", "qcow2", "Invalid JSON object given"),
                ("json:{}", None, "Must specify either driver or file"),
                ('json:{"driver": "qcow2"}', "qcow2", 'A block device must be specified for "file"'),
                (f'json:{{"driver": "file", "filename": "{base}"}}', "qcow2",
                 'A block device must be specified for "file"'))):
            with self.subTest(name=name):
                self.assertEqual(self.add(self.image(f"error{number}.qcow2", name, image_format)), PREFIX + message)

    def test_null(self):
        """The option `backing` goes before the name in the image."""
        path = self.image("null.qcow2", "gone", "qcow2")
        self.assertEqual(self.add(path, backing=None), [])
        self.qmp.execute("blockdev-add", {"driver": "null-co", "node-name": "given"})
        self.addCleanup(self.qmp.execute, "blockdev-del", {"node-name": "given"})
        self.assertEqual(self.add(path, backing="given"), [("null-co", "null-co://", False)])

    def test_chain(self):
        """The bytes of an image come from the end of its chain."""
        self.image("middle.qcow2", "base.qcow2", "qcow2")
        top = self.image("top.qcow2", "middle.qcow2", "qcow2")
        self.add_node("image", **{"driver": "qcow2", "file": {"driver": "file", "filename": top}})
        self.add_export("image")
        tools.run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", self.path("sub/base.qcow2"), self.uri("image"))

    def test_data_file(self):
        """A data file is a plain path."""
        data = self.path("sub/data.raw")
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={data}", self.path("sub/data.qcow2"),
                  str(SIZE))
        self.assertEqual(self.add(self.path("sub/data.qcow2")), [("file", data, False)])

    def test_reopen(self):
        """An image with a backing file keeps it as long as a reopen names it."""
        self.add_node("image", **{"driver": "qcow2", "file": {"driver": "file", "filename": self.image(
            "reopen.qcow2", "base.qcow2", "qcow2")}})
        node = self.node(self.path("sub/reopen.qcow2"))
        answer = self.qmp.command("blockdev-reopen", {"options": [node]})
        self.assertEqual(answer["error"]["desc"], "backing is missing for 'image'")


class OurNamesTest(NamesTest):
    """Names that qemu-storage-daemon follows without an end, or further than an image should reach."""

    @settings.unlike_qemu("chains of images are bounded")
    def setUp(self):
        super().setUp()

    def test_loops(self):
        """An image that is its own backing file is an error at once, however it names itself."""
        os.symlink("link.qcow2", self.path("sub/symbolic.qcow2"))
        for name, given in (("self.qcow2", "self.qcow2"), ("link.qcow2", "symbolic.qcow2"),
                            ("json.qcow2", "json:" + json.dumps({"file.filename": self.path("sub/json.qcow2")}))):
            with self.subTest(name=name):
                path = self.image(name, given, "qcow2")
                answer = self.add(path)
                self.assertTrue(answer.startswith(PREFIX), answer)
                self.assertTrue(answer.endswith("contains an image above it in the chain, which would never end"),
                                answer)

    def test_hard_link(self):
        """A hard link is another name of the same file."""
        path = self.image("hard.qcow2", "second.qcow2", "qcow2")
        os.link(path, self.path("sub/second.qcow2"))
        self.assertIn("contains an image above it", self.add(path))

    def test_depth(self):
        """200 images may be below one another; one more is an error."""
        for i in range(201):
            self.image(f"deep{i}.qcow2", "base.qcow2" if i == 0 else f"deep{i - 1}.qcow2", "qcow2")
        self.assertEqual(len(self.add(self.path("sub/deep199.qcow2"))), 400)
        self.assertTrue(self.add(self.path("sub/deep200.qcow2")).endswith("more than 200 images"))

    def test_nodes_of_the_daemon(self):
        """An image refers to no node of the daemon, and to no bitmap store."""
        path = self.image("reference.qcow2", 'json:{"driver": "raw", "file": "given"}', "raw")
        self.assertEqual(self.add(path), PREFIX + "An image cannot refer to the node 'given'")

    def test_probing(self):
        """A backing file without a format is mentioned in the log."""
        self.add(self.image("probed.qcow2", "base.qcow2"))
        self.assertIn(b"does not say the format of its backing file 'base.qcow2', which was probed as qcow2",
                      self.daemon.stderr())


class DirectoryTest(NamesTest):
    """A daemon whose images may name files beneath one folder."""

    @classmethod
    @settings.unlike_qemu("it has no such option")
    def setUpClass(cls):
        super().setUpClass()

    @classmethod
    def prepare(cls):
        super().prepare()
        os.mkdir(cls.path("outside"))
        os.link(cls.path("sub/base.qcow2"), cls.path("outside/secret.qcow2"))
        os.symlink("../outside", cls.path("sub/escape"))
        return ["--image-references", cls.path("sub")]

    def test_inside(self):
        """Files of the folder are opened, by any path."""
        for name in ("base.qcow2", self.path("sub/base.qcow2"), "../outside/../sub/base.qcow2",
                     "json:" + json.dumps({"file.filename": self.path("sub/base.qcow2")})):
            with self.subTest(name=name):
                self.assertEqual(len(self.add(self.image("inside.qcow2", name, "qcow2"))), 2)

    def test_outside(self):
        """Nothing else is, through links either."""
        for name in ("../outside/secret.qcow2", "escape/secret.qcow2", self.path("outside/secret.qcow2"),
                     "file:" + self.path("outside/secret.qcow2"),
                     "json:" + json.dumps({"file.filename": self.path("outside/secret.qcow2")})):
            with self.subTest(name=name):
                self.assertIn("it is in no directory of --image-references",
                              self.add(self.image("outside.qcow2", name, "qcow2")))

    def test_data_file(self):
        """The same holds for data files."""
        path = self.path("sub/data.qcow2")
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={self.path('outside/data.raw')}", path,
                  str(SIZE))
        self.assertIn("it is in no directory of --image-references", self.add(path))

    def test_format(self):
        """No format is probed."""
        self.assertIn("--image-references forbids to guess it", self.add(self.image("format.qcow2", "base.qcow2")))

    def test_own_nodes(self):
        """The policy does not concern nodes of the user."""
        given = {"driver": "qcow2", "file": {"driver": "file", "filename": self.path("outside/secret.qcow2")}}
        self.assertEqual(len(self.add(self.image("own.qcow2", "../outside/secret.qcow2", "qcow2"), backing=given)), 2)


class DenyTest(NamesTest):
    """A daemon that opens no name."""

    @classmethod
    @settings.unlike_qemu("it has no such option")
    def setUpClass(cls):
        super().setUpClass()

    @classmethod
    def prepare(cls):
        super().prepare()
        return ["--image-references", "deny"]

    def test_deny(self):
        """An error, unless the options say what is below."""
        path = self.image("deny.qcow2", "base.qcow2", "qcow2")
        self.assertEqual(self.add(path), PREFIX + "The image names 'base.qcow2', and --image-references deny forbids "
                                                  "to open it")
        self.assertEqual(self.add(path, backing=None), [])

    def test_command_line(self):
        """The words and directories exclude each other; a directory must exist."""
        for arguments, message in ((("allow", self.workdir), "'allow' and 'deny' exclude each other, and directories"),
                                   ((self.path("none"),), "No such file or directory")):
            options = [word for argument in arguments for word in ("--image-references", argument)]
            result = subprocess.run([settings.program(), *options], capture_output=True, text=True, check=False,
                                    timeout=settings.seconds(15))
            self.assertEqual(result.returncode, 1)
            self.assertIn(message, result.stderr)

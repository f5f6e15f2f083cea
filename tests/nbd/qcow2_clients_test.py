"""qcow2 images and foreign programs: a filesystem that clients copy in and out, and QEMU beside us on one image."""

import json
import os
import unittest

from lib import certificates, daemon, images, nbd_raw, settings, tools
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest

SIZE = 32 * MIB

# Options of qemu-img create, by kind of image.
KINDS = {
    "default": [],
    "small": ["cluster_size=4k"],
    "subclusters": ["extended_l2=on"],
    "version2": ["compat=0.10"],
    "data": ["data_file=DATA"],
}


def make_filesystem(path, workdir):
    """A raw file with an ext4 filesystem that has files and directories."""
    content = os.path.join(workdir, "content")
    for number in range(40):
        folder = os.path.join(content, f"folder{number % 4}", f"below{number % 3}")
        os.makedirs(folder, exist_ok=True)
        length = (number * number * 613) % (200 * KIB)
        images.write_file(os.path.join(folder, f"file{number}"), images.random_bytes(length, number))
    images.make_sparse(os.path.join(content, "sparse"), 4 * MIB, [(MIB, 64 * KIB), (3 * MIB, 4 * KIB)])
    images.make_empty(path, SIZE)
    tools.run("mkfs.ext4", "-q", "-F", "-d", content, path)
    return path


def make_image(workdir, name, options=(), backing=None, size=SIZE):
    """An empty image by qemu-img; its path."""
    path = os.path.join(workdir, name)
    words = [word for option in options for word in ("-o", option.replace("DATA", path + ".data"))]
    base = ["-b", backing, "-F", "raw"] if backing else []
    tools.run("qemu-img", "create", "-q", "-f", "qcow2", *base, *words, path, str(size))
    return path


class CopyCase:
    """What tests of copies need; a part of a DaemonTest."""

    def check_filesystem(self, path):
        """The file is the filesystem, and fsck finds no fault."""
        tools.run("cmp", self.source, path)
        self.assertIn("files", tools.run("e2fsck", "-fn", path))

    def check_image(self, path):
        """No error, no leak, and by QEMU's reading the filesystem."""
        report = json.loads(tools.run("qemu-img", "check", "--output=json", "-f", "qcow2", path))
        for field in ("corruptions", "leaks", "check-errors"):
            self.assertEqual(report.get(field, 0), 0, report)
        tools.run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", self.source, path)
        copy = path + ".read"
        tools.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, copy)
        self.check_filesystem(copy)

    def export_image(self, path):
        """Exports an image for writing as `disk`."""
        self.qmp.execute("blockdev-add", {"driver": "qcow2", "node-name": "disk", "discard": "unmap",
                                          "file": {"driver": "file", "filename": path}})
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk", "writable": True})

    def end_export(self):
        """Closes the image."""
        self.qmp.execute("block-export-del", {"id": "disk", "mode": "hard"})
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.qmp.execute("blockdev-del", {"node-name": "disk"})


class FilesystemTest(CopyCase, DaemonTest):
    """A filesystem is copied into an export, and read back through it."""

    @classmethod
    def prepare(cls):
        cls.source = make_filesystem(cls.path("source.img"), cls.workdir)
        return []

    def copy_and_read(self, copy_in, copy_out, kinds=tuple(KINDS), backing=None):
        """Copies in and out, for each kind of image."""
        for kind in kinds:
            with self.subTest(kind=kind):
                name = f"{self.id().rsplit('.', 1)[-1]}-{kind}"
                path = make_image(self.workdir, name, KINDS[kind], backing)
                self.export_image(path)
                copy_in()
                out = self.path(name + ".out")
                copy_out(out)
                tools.run("qemu-img", "compare", "-f", "raw", "-F", "raw", self.source, self.uri("disk"))
                self.end_export()
                self.check_filesystem(out)
                self.check_image(path)

    def test_nbdcopy(self):
        """nbdcopy over one connection, in both directions."""
        self.copy_and_read(lambda: tools.run("nbdcopy", "--connections=1", "--flush", self.source, self.uri("disk")),
                           lambda out: tools.run("nbdcopy", "--connections=1", self.uri("disk"), out))

    def test_nbdcopy_with_four_connections(self):
        """nbdcopy over four connections with small requests, which allocate the same clusters at the same time."""
        copy = ["nbdcopy", "--connections=4", "--threads=4", "--request-size=32768"]
        self.copy_and_read(lambda: tools.run(*copy, "--flush", self.source, self.uri("disk")),
                           lambda out: tools.run(*copy, self.uri("disk"), out))

    def test_qemu_img_convert(self):
        """qemu-img convert into the export, in order, and out of it."""
        convert = ["qemu-img", "convert", "-f", "raw", "-O", "raw"]
        self.copy_and_read(lambda: tools.run(*convert, "-n", self.source, self.uri("disk")),
                           lambda out: tools.run(*convert, self.uri("disk"), out))

    def test_qemu_img_convert_out_of_order(self):
        """qemu-img convert with sixteen requests in any order."""
        convert = ["qemu-img", "convert", "-W", "-m", "16", "-f", "raw", "-O", "raw"]
        self.copy_and_read(lambda: tools.run(*convert, "-n", self.source, self.uri("disk")),
                           lambda out: tools.run(*convert, self.uri("disk"), out))

    def test_over_a_backing_file(self):
        """What the base has is overwritten, with zeroes too."""
        base = images.make_random(self.path("base.img"), SIZE)
        self.copy_and_read(lambda: tools.run("nbdcopy", "--connections=4", self.source, self.uri("disk")),
                           lambda out: tools.run("nbdcopy", self.uri("disk"), out),
                           ("default", "subclusters"), base)
        self.assertEqual(images.sha256(base), images.sha256(images.make_random(self.path("same.img"), SIZE)))


class TlsFilesystemTest(CopyCase, DaemonTest):
    """The same over TLS."""

    nbd_server = "tls-creds=tls0"

    @classmethod
    def objects(cls):
        certificates.make(cls.path("pki"))
        return [f"tls-creds-x509,id=tls0,endpoint=server,dir={cls.path('pki')}"]

    @classmethod
    def prepare(cls):
        cls.source = make_filesystem(cls.path("source.img"), cls.workdir)
        return []

    @classmethod
    def uri(cls, export=""):
        return (f"nbds+unix:///{export}?socket={cls.daemon.nbd_path}&tls-certificates={cls.path('pki')}"
                "&tls-hostname=localhost")

    def test_nbdcopy(self):
        """nbdcopy over four connections with TLS, in both directions."""
        path = make_image(self.workdir, "image")
        self.export_image(path)
        copy = ["nbdcopy", "--connections=4", "--threads=4"]
        tools.run(*copy, "--flush", self.source, self.uri("disk"))
        tools.run(*copy, self.uri("disk"), self.path("out"))
        self.end_export()
        self.check_filesystem(self.path("out"))
        self.check_image(path)


def node_of(path, **options):
    """Options of a node of an image."""
    share = {"force-share": True} if options.get("force-share") else {}
    return {"driver": "qcow2", "node-name": "disk", "read-only": True, **options,
            "file": {"driver": "file", "filename": path, "read-only": options.get("read-only", True), **share}}


class BesideQemuTest(DaemonTest):
    """The reference has the same image open."""

    @classmethod
    def prepare(cls):
        if not os.access(settings.REFERENCE, os.X_OK):
            raise unittest.SkipTest("qemu-storage-daemon is not installed")
        os.makedirs(cls.path("beside"))
        cls.other = daemon.Daemon(cls.path("beside"), program=settings.REFERENCE)
        cls.addClassCleanup(cls.other.kill)
        cls.other.start()
        cls.base = images.make_sparse(cls.path("base.img"), SIZE // 2, [(0, MIB), (9 * MIB, 100 * KIB)])
        return []

    def image(self, kind, backing=None):
        """An image with data, zeroes and compressed clusters."""
        path = make_image(self.workdir, f"{self.id().rsplit('.', 1)[-1]}-{kind}", KINDS[kind], backing)
        commands = ["write -P 1 100k 300k", "write -P 2 5M 1M", "write -z 5500k 100k", "write -P 3 20M 4k",
                    "write -z 1M 64k" if kind != "version2" else "write -P 4 1M 64k"]
        if kind != "data":
            commands.append("write -c -P 5 8M 64k")
        tools.run("qemu-io", "-f", "qcow2", *[word for one in commands for word in ("-c", one)], path)
        return path

    def servers(self):
        """Both, as QMP clients."""
        return {"ours": self.qmp, "theirs": self.other.qmp}

    def open(self, qmp, path, writable=False, **options):
        """The error of opening and exporting an image, or None."""
        reply = qmp.command("blockdev-add", node_of(path, **{"read-only": not writable, **options}))
        if "error" not in reply:
            self.addCleanup(self.close, qmp)
            reply = qmp.command("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk",
                                                     "writable": writable})
        return reply["error"]["desc"] if "error" in reply else None

    def close(self, qmp):
        """Closes it, whatever was opened."""
        if "error" not in qmp.command("block-export-del", {"id": "disk", "mode": "hard"}):
            qmp.wait_event("BLOCK_EXPORT_DELETED")
        qmp.command("blockdev-del", {"node-name": "disk"})

    def content(self, socket):
        """All bytes of an export, and its block status with neighbours joined."""
        connection = nbd_raw.Connection(socket)
        self.addCleanup(connection.close)
        connection.negotiate("disk", "structured", ("base:allocation",))
        data = b"".join(connection.read(at, MIB) for at in range(0, SIZE, MIB))
        status, offset = [], 0
        while offset < SIZE:
            for length, flags in connection.block_status(offset, SIZE - offset):
                if status and status[-1][1] == flags:
                    status[-1] = (status[-1][0] + length, flags)
                else:
                    status.append((length, flags))
                offset += length
        connection.disconnect()
        return data, status

    def test_both_export_one_image_read_only(self):
        """Both give the same bytes and the same block status, with and without force-share."""
        for kind in KINDS:
            for backing in (None, self.base) if kind != "data" else (None,):
                path = self.image(kind, backing)
                for ours, theirs in ((False, False), (True, False), (False, True), (True, True)):
                    with self.subTest(kind=kind, backing=bool(backing), ours=ours, theirs=theirs):
                        self.assertIsNone(self.open(self.qmp, path, **({"force-share": True} if ours else {})))
                        self.assertIsNone(self.open(self.other.qmp, path, **({"force-share": True} if theirs else {})))
                        own = self.content(self.daemon.connect_nbd())
                        self.assertEqual(own[1], self.content(self.other.connect_nbd())[1])
                        self.assertTrue(own[0] == self.content(self.other.connect_nbd())[0], "the bytes differ")
                        self.assertIn(b"\1" * 1000, own[0])
                        self.close(self.qmp)
                        self.close(self.other.qmp)

    def test_a_second_writer_is_refused(self):
        """Whoever comes second cannot write, in both directions, and reads only with force-share."""
        for first, second in (("ours", "theirs"), ("theirs", "ours")):
            with self.subTest(first=first):
                path = self.image("default")
                first, second = self.servers()[first], self.servers()[second]
                self.assertIsNone(self.open(first, path, writable=True))
                self.assertRegex(self.open(second, path, writable=True), 'Failed to get "write" lock')
                self.close(second)
                self.assertRegex(self.open(second, path), 'Failed to get shared "write" lock')
                self.close(second)
                self.assertIsNone(self.open(second, path, **{"force-share": True}))
                self.close(second)
                self.close(first)
                self.assertIsNone(self.open(second, path, writable=True))
                self.close(second)

    def test_a_reader_keeps_writers_out(self):
        """While one reads, the other cannot open the image for writing, unless the reader shares it."""
        for first, second in (("ours", "theirs"), ("theirs", "ours")):
            with self.subTest(first=first):
                path = self.image("default")
                first, second = self.servers()[first], self.servers()[second]
                self.assertIsNone(self.open(first, path))
                self.assertRegex(self.open(second, path, writable=True), 'Failed to get "write" lock')
                self.close(second)
                self.close(first)
                self.assertIsNone(self.open(first, path, **{"force-share": True}))
                self.assertIsNone(self.open(second, path, writable=True))
                self.close(second)
                self.close(first)


if __name__ == "__main__":
    unittest.main()

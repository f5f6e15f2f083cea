"""qcow2 images that this server and QEMU's tools change in turn: contents, maps and refcounts stay right.

BLOCKEXPORT_SEQUENCES sets the number of courses of turns for each kind of image, BLOCKEXPORT_FIRST_SEQUENCE the seed of
the first of them.
"""

import fcntl
import json
import os
import random
import struct

from lib import images, settings, tools
from lib.client_tool import program
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest

BACKING_BYTE = 0xbb
SEQUENCES = int(os.environ.get("BLOCKEXPORT_SEQUENCES", "1"))
FIRST_SEQUENCE = int(os.environ.get("BLOCKEXPORT_FIRST_SEQUENCE", "0"))


def places(extents):
    """The runs of a map: end, depth, offset of the end in the file, flags. The file's own holes do not count.

    qemu-img 7.2 does not tell which clusters are compressed.
    """
    runs = []
    for each in extents:
        end = each["start"] + each["length"]
        offset = each["offset"] + each["length"] if "offset" in each else None
        kind = (each["depth"], each["present"], each["data"], each["zero"] and not each["data"])
        follows = runs and runs[-1][1] == kind and (
            offset is None and runs[-1][2] is None or
            offset is not None and runs[-1][2] is not None and offset - runs[-1][2] == each["length"])
        if follows:
            runs.pop()
        runs.append((end, kind, offset))
    return runs


class Image:
    """An image and the model of its contents."""

    def __init__(self, test, name, size, options=(), backing=None, data_file=None, direct=False):
        self.test = test
        self.path = test.path(name)
        self.size = size
        self.backing = backing
        self.data_file = data_file
        self.direct = direct
        base = ["-b", backing, "-F", "raw"] if backing else []
        extra = [item for option in options for item in ("-o", option)]
        if data_file:
            extra += ["-o", f"data_file={data_file}"]
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", *base, *extra, self.path, str(size))
        information = json.loads(tools.run("qemu-img", "info", "--output=json", self.path))
        self.cluster = information["cluster-size"]
        self.model = bytearray(size)
        if backing:
            with open(backing, "rb") as file:
                content = file.read()[:size]
            self.model[:len(content)] = content
        self.snapshots = {}

    def node(self):
        """The options of its node."""
        node = {"driver": "qcow2", "discard": "unmap", "file": {"driver": "file", "filename": self.path}}
        if self.direct:
            node["file"]["cache"] = {"direct": True}
        if self.backing:
            node["backing"] = {"driver": "raw", "file": {"driver": "file", "filename": self.backing}}
        if self.data_file:
            node["data-file"] = {"driver": "file", "filename": self.data_file}
        return node

    def check(self, where):
        """QEMU finds no error and no leak."""
        result = tools.run("qemu-img", "check", "-f", "qcow2", "--output=json", self.path, expected=None)
        report = json.loads(result)
        for field in ("corruptions", "leaks", "check-errors"):
            self.test.assertEqual(report.get(field, 0), 0, f"{where}: {result}")

    def snapshot(self, name):
        """An internal snapshot by QEMU."""
        tools.run("qemu-img", "snapshot", "-c", name, self.path)
        self.snapshots[name] = bytes(self.model)

    def compare_snapshots(self):
        """Each snapshot has the contents of its moment."""
        for name, content in self.snapshots.items():
            raw = self.path + "." + name
            tools.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-l", f"snapshot.name={name}", self.path, raw)
            with open(raw, "rb") as file:
                self.test.assertEqual(file.read(), content, f"snapshot {name}")
            os.unlink(raw)

    def compare_maps(self, where):
        """The tool of this project and QEMU's find all bytes in the same places."""
        theirs = json.loads(tools.run("qemu-img", "map", "--output=json", "-f", "qcow2", self.path))
        ours = json.loads(tools.run(program(), "image", "map", "--json", "-f", "qcow2", self.path))
        self.test.assertEqual(places(ours), places(theirs), where)

    def compare_by_qemu(self, where):
        """QEMU reads the contents of the model."""
        raw = self.path + ".raw"
        tools.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", self.path, raw)
        with open(raw, "rb") as file:
            self.test.assertEqual(file.read() == self.model, True, where)
        os.unlink(raw)


class TurnTest(DaemonTest):
    """Turns of this server at an image."""

    def tearDown(self):
        for name in ("packed", "disk"):
            self.qmp.command("block-export-del", {"id": name, "mode": "hard"})
            self.qmp.command("blockdev-del", {"node-name": name})
        super().tearDown()

    def begin_turn(self, image):
        """Connections to the disk, and to a filter that compresses what is written to it."""
        self.qmp.execute("blockdev-add", {"node-name": "disk", **image.node()})
        self.qmp.execute("blockdev-add", {"node-name": "packed", "driver": "compress", "file": "disk"})
        for name in ("disk", "packed"):
            self.qmp.execute("block-export-add", {"type": "nbd", "id": name, "node-name": name, "writable": True})
        return self.session("disk", "structured"), self.session("packed", "structured")

    def end_turn(self, *connections):
        """Takes both away."""
        for connection in connections:
            connection.disconnect()
        for name in ("packed", "disk"):
            self.qmp.execute("block-export-del", {"id": name})
            self.qmp.wait_event("BLOCK_EXPORT_DELETED")
            self.qmp.execute("blockdev-del", {"node-name": name})


class InTurnTest(TurnTest):
    """Random operations by this server and by qemu-io in turn on one image."""

    TURNS = 4

    def length(self, generator, size):
        """A length of a request."""
        return min(size, generator.choice((512, 512, 4096, 4096, 8192, 65536, 65536 * 3, 200 * KIB)))

    def place(self, generator, image):
        """A range of whole sectors; often near others."""
        length = self.length(generator, image.size)
        return generator.randrange(0, image.size - length + 1, 512), length

    def our_turn(self, image, generator, where, count=25):
        """Random requests over NBD; everything that is read equals the model."""
        connection, packed = self.begin_turn(image)
        actions = ["write", "write", "fua", "zero", "keep", "trim", "read", "flush"]
        # The reference writes whole clusters, once.
        if not image.data_file and not settings.is_qemu():
            actions += ["compress", "compress", "compress", "compress fua", "read packed"]
        for step in range(count):
            offset, length = self.place(generator, image)
            action = generator.choice(actions)
            at = f"{where}, step {step}: {action} {offset}+{length}"
            if action in ("write", "fua"):
                data = generator.randbytes(8) * (length // 8)
                self.assertEqual(connection.write(offset, data, FLAG_FUA if action == "fua" else 0), 0, at)
                image.model[offset:offset + length] = data
            elif action in ("compress", "compress fua"):
                # A tenth does not become smaller.
                data = generator.randbytes(length if generator.random() < 0.1 else 8)
                data *= length // len(data)
                self.assertEqual(packed.write(offset, data, FLAG_FUA if action == "compress fua" else 0), 0, at)
                image.model[offset:offset + length] = data
            elif action == "read packed":
                self.assertEqual(packed.read(offset, length) == image.model[offset:offset + length], True, at)
            elif action in ("zero", "keep"):
                flags = FLAG_NO_HOLE if action == "keep" else 0
                self.assertEqual(connection.call(CMD_WRITE_ZEROES, offset, length, flags).error, 0, at)
                image.model[offset:offset + length] = bytes(length)
            elif action == "trim":
                connection.call(CMD_TRIM, offset, length)
                self.note_discarded(image, connection.read(offset, length), offset, at)
            elif action == "flush":
                self.assertEqual(connection.call(CMD_FLUSH).error, 0, at)
            else:
                self.assertEqual(connection.read(offset, length) == image.model[offset:offset + length], True, at)
        self.assertEqual(connection.read(0, image.size) == image.model, True, where)
        self.end_turn(connection, packed)

    def note_discarded(self, image, content, offset, where):
        """Discarded sectors are unchanged or zeros."""
        for at in range(0, len(content), 512):
            sector = content[at:at + 512]
            before = image.model[offset + at:offset + at + 512]
            self.assertTrue(sector == before or sector == bytes(512), f"{where}: foreign bytes at {offset + at}")
        image.model[offset:offset + len(content)] = content

    def qemu_turn(self, image, generator, compresses, count=12):
        """Random requests by qemu-io."""
        for _ in range(compresses):
            self.compress(image, generator)
        commands = []
        for _ in range(count):
            offset, length = self.place(generator, image)
            action = generator.choice(["write", "write", "zero", "unmap"])
            value = generator.randrange(1, 256)
            if action == "write":
                commands += ["-c", f"write -P {value} {offset} {length}"]
                image.model[offset:offset + length] = bytes([value]) * length
            else:
                commands += ["-c", f"write -z {'-u ' if action == 'unmap' else ''}{offset} {length}"]
                image.model[offset:offset + length] = bytes(length)
        output = tools.run("qemu-io", "-f", "qcow2", "-d", "unmap", *commands, image.path)
        self.assertNotIn("failed", output)

    def compress(self, image, generator):
        """A compressed cluster, which QEMU writes only where nothing is allocated."""
        offset = generator.randrange(0, image.size, image.cluster)
        length = min(image.cluster, image.size - offset)
        value = generator.randrange(1, 256)
        result = tools.finish("qemu-io", "-f", "qcow2", "-c", f"write -c -P {value} {offset} {length}", image.path)
        if result.returncode == 0:
            image.model[offset:offset + length] = bytes([value]) * length

    def resize(self, image, generator, by_qemu):
        """A new size, by one of the two."""
        # One read has to show the whole disk.
        size = min(32 * MIB, generator.randrange(image.size // 1024, image.size // 256) * 512)
        if not by_qemu and generator.randrange(2):
            size = max(image.cluster, size - size % image.cluster)
        # When QEMU makes a disk longer whose last cluster was cut, the bytes behind the cut show again.
        if by_qemu and image.size % image.cluster:
            size = min(size, image.size)
        if by_qemu:
            tools.run("qemu-img", "resize", "-q", "--shrink", "-f", "qcow2", image.path, str(size))
        else:
            self.qmp.execute("blockdev-add", {"node-name": "disk", **image.node()})
            self.qmp.execute("block_resize", {"node-name": "disk", "size": size})
            self.qmp.execute("blockdev-del", {"node-name": "disk"})
        image.model = image.model[:size] + bytearray(max(0, size - len(image.model)))
        image.size = size

    def run_course(self, name, size, options=(), backing=False, data_file=False, compresses=0, snapshots=False,
                   resizes=False, direct=False):
        """Courses of turns, each with a seed of its own."""
        for seed in range(FIRST_SEQUENCE, FIRST_SEQUENCE + SEQUENCES):
            generator = random.Random(f"{name} {seed}")
            base = None
            if backing:
                base = self.path(f"{name}.base")
                images.write_file(base, bytes([BACKING_BYTE]) * (size * 3 // 4))
            data = self.path(f"{name}.data") if data_file else None
            image = Image(self, f"{name}.qcow2", size, options, base, data, direct)
            for turn in range(self.TURNS):
                where = f"{name}, seed {seed}, turn {turn}"
                if snapshots:
                    image.snapshot(f"s{turn}")
                if resizes:
                    self.resize(image, generator, by_qemu=turn % 2 == 1)
                    image.check(where + ", resized")
                self.our_turn(image, generator, where)
                image.check(where)
                image.compare_maps(where)
                image.compare_by_qemu(where)
                self.qemu_turn(image, generator, compresses)
                image.check(where + ", by QEMU")
                image.compare_maps(where + ", by QEMU")
                image.compare_by_qemu(where + ", by QEMU")
            image.compare_snapshots()
            os.unlink(image.path)

    def test_defaults(self):
        """Version 3, clusters of 64 KiB."""
        self.run_course("defaults", 4 * MIB)

    def test_version_2(self):
        """Without zero flags."""
        self.run_course("version2", 2 * MIB, ["compat=0.10"])

    def test_smallest_clusters(self):
        """Clusters of 512 bytes."""
        self.run_course("smallest", MIB, ["cluster_size=512"])

    def test_largest_clusters(self):
        """Clusters of 2 MiB."""
        self.run_course("largest", 16 * MIB, ["cluster_size=2M"])

    def test_one_bit_refcounts(self):
        """Refcounts of one bit."""
        self.run_course("bits1", 2 * MIB, ["refcount_bits=1", "cluster_size=4k"])

    def test_wide_refcounts(self):
        """Refcounts of 64 bits, and compressed clusters by QEMU."""
        self.run_course("bits64", 2 * MIB, ["refcount_bits=64"], compresses=4)

    def test_compressed(self):
        """Compressed clusters by QEMU, with zstd."""
        self.run_course("zstd", 4 * MIB, ["compression_type=zstd"], compresses=6)

    def test_compressed_small_clusters(self):
        """Compressed clusters by both, of which many share a host cluster."""
        self.run_course("packed", 2 * MIB, ["cluster_size=4k"], compresses=6)

    def test_compressed_beside_the_page_cache(self):
        """Compressed clusters that share the blocks of a file which is written in whole blocks."""
        self.run_course("direct", 2 * MIB, ["cluster_size=8k"], compresses=4, direct=True)

    def test_compressed_snapshots(self):
        """Snapshots that share compressed clusters."""
        self.run_course("packedsnapshots", 2 * MIB, ["cluster_size=4k"], snapshots=True, compresses=4)

    def test_backing(self):
        """A backing file that is shorter than the image."""
        self.run_course("backing", 4 * MIB, backing=True, compresses=2)

    def test_subclusters(self):
        """Extended L2 entries, with a backing file."""
        self.run_course("subclusters", 4 * MIB, ["extended_l2=on"], backing=True, compresses=2)

    def test_subclusters_of_small_clusters(self):
        """The smallest subclusters."""
        self.run_course("subsmall", 2 * MIB, ["extended_l2=on", "cluster_size=16k"])

    def test_data_file(self):
        """Guest data in another file."""
        self.run_course("data", 4 * MIB, data_file=True)

    def test_zeroes_at_the_begin_of_a_data_file(self):
        """The first cluster is reserved and zero: both maps tell the same."""
        for options in ((), ("extended_l2=on",)):
            with self.subTest(options=options):
                image = Image(self, f"zeroes{len(options)}.qcow2", MIB, options, None,
                              self.path(f"zeroes{len(options)}.data"))
                connection, packed = self.begin_turn(image)
                self.assertEqual(connection.write(0, b"x" * 128 * KIB), 0)
                self.assertEqual(connection.call(CMD_WRITE_ZEROES, 0, 128 * KIB, FLAG_NO_HOLE).error, 0)
                self.end_turn(connection, packed)
                image.compare_maps(f"zeroes, {options}")

    def test_raw_data_file(self):
        """Guest data in a raw file."""
        self.run_course("rawdata", 4 * MIB, ["data_file_raw=on"], data_file=True)

    def test_lazy_refcounts(self):
        """Lazy refcounts."""
        self.run_course("lazy", 4 * MIB, ["lazy_refcounts=on"])

    def test_snapshots(self):
        """Internal snapshots that share clusters."""
        self.run_course("snapshots", 4 * MIB, ["cluster_size=16k"], snapshots=True, compresses=2)

    def test_snapshots_of_subclusters(self):
        """Internal snapshots with extended L2 entries."""
        self.run_course("subsnapshots", 4 * MIB, ["extended_l2=on"], snapshots=True)

    def test_resizes(self):
        """New sizes in both directions."""
        self.run_course("resizes", 3 * MIB, ["cluster_size=4k"], resizes=True)

    def test_resizes_with_backing(self):
        """The backing file does not show where the image grows."""
        self.run_course("resizebacking", 3 * MIB, backing=True, resizes=True)


class OpeningTest(DaemonTest):
    """Images that need something before they are written."""

    def make(self, name, *options):
        """An image of 4 MiB."""
        path = self.path(name)
        extra = [item for option in options for item in ("-o", option)]
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", *extra, path, str(4 * MIB))
        return path

    def add(self, path, **options):
        """The reply to the command that adds a node on it."""
        node = {"driver": "qcow2", "node-name": "disk", "file": {"driver": "file", "filename": path}, **options}
        return self.qmp.command("blockdev-add", node)

    def write(self, path, offset, data, expected=0):
        """Writes through an export of a new node."""
        self.assertEqual(self.add(path), {"return": {}})
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk", "writable": True})
        connection = self.session("disk", "structured")
        self.assertEqual(connection.write(offset, data), expected)
        connection.disconnect()
        self.qmp.execute("block-export-del", {"id": "disk"})
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.qmp.execute("blockdev-del", {"node-name": "disk"})

    def features(self, path, offset):
        """A field of features of the header."""
        return int.from_bytes(images.read_range(path, offset, 8), "big")

    def crash(self, path):
        """Lets QEMU write it with lazy refcounts, and crash."""
        tools.run("qemu-io", "-f", "qcow2", "-c", "write -P 9 1M 64k", "-c", "flush", "-c", "abort", path,
                  expected=None)
        self.assertEqual(self.features(path, 72) & 1, 1)

    def test_dirty(self):
        """The refcounts of an image that was not closed cleanly are repaired first."""
        path = self.make("dirty.qcow2", "lazy_refcounts=on")
        self.crash(path)
        self.write(path, 0, bytes([7]) * 4096)
        self.assertEqual(self.features(path, 72) & 1, 0)
        tools.run("qemu-img", "check", "-q", path)
        tools.run("qemu-io", "-r", "-f", "qcow2", "-c", "read -P 7 0 4k", "-c", "read -P 9 1M 64k", path)

    def test_dirty_and_in_use(self):
        """The repair keeps away from an image that another process writes."""
        path = self.make("used.qcow2", "lazy_refcounts=on")
        self.crash(path)
        before = images.sha256(path)
        with open(path, "rb+") as file:
            # The lock of a writer, as QEMU and this server take it.
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 101, 1, 0))
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0))
            self.assertIn("lock", self.add(path)["error"]["desc"])
            self.assertEqual(images.sha256(path), before)
        self.write(path, 0, bytes(512))

    def test_unknown_autoclear_features(self):
        """Features that the server does not know are cleared by the first write, and not by the opening."""
        path = self.make("features.qcow2")
        with open(path, "rb+") as file:
            file.seek(88)
            file.write((1 << 40).to_bytes(8, "big"))
        self.assertEqual(self.add(path), {"return": {}})
        self.qmp.execute("blockdev-del", {"node-name": "disk"})
        self.assertEqual(self.features(path, 88), 1 << 40)
        self.write(path, 0, bytes([1]) * 512)
        self.assertEqual(self.features(path, 88), 0)

    def test_recording_bitmap(self):
        """A bitmap of the image that is enabled records writes, and a disabled one stays as it is."""
        path = self.make("bitmap.qcow2")
        tools.run("qemu-img", "bitmap", "--add", path, "b0")
        tools.run("qemu-img", "bitmap", "--add", "--disable", path, "b1")
        self.write(path, 0, bytes([1]) * 512)
        tools.run("qemu-img", "check", "-q", path)
        self.assertEqual(self.add(path), {"return": {}})
        (disk,) = [node for node in self.qmp.execute("query-named-block-nodes") if node["node-name"] == "disk"]
        found = {each["name"]: (each["recording"], each["count"]) for each in disk["dirty-bitmaps"]}
        self.assertEqual(found, {"b0": (True, 65536), "b1": (False, 0)})
        self.qmp.execute("blockdev-del", {"node-name": "disk"})

    def test_write_over_metadata(self):
        """A wrong entry cannot send a write over metadata: the image is marked as corrupt, with an event."""
        path = self.make("hostile.qcow2")
        tools.run("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k", path)
        l1 = int.from_bytes(images.read_range(path, 40, 8), "big")
        l2 = int.from_bytes(images.read_range(path, l1, 8), "big") & 0x00FFFFFFFFFFFE00
        with open(path, "rb+") as file:
            file.seek(l2)
            file.write((1 << 63 | l1).to_bytes(8, "big"))
        table = images.read_range(path, l1, 512)
        self.write(path, 0, bytes([0xff]) * 4096, expected=EIO)
        event = self.qmp.wait_event("BLOCK_IMAGE_CORRUPTED")["data"]
        self.assertEqual((event["node-name"], event["fatal"], event["offset"]), ("disk", True, l1))
        self.assertEqual(images.read_range(path, l1, 512), table)
        self.assertEqual(self.features(path, 72) & 2, 2)
        self.assertIn("corrupt", self.add(path)["error"]["desc"])

    def test_growth_and_writes(self):
        """The clusters of tables that moved when the image grew serve data afterwards, while the node stays."""
        path = self.make("grown.qcow2", "cluster_size=512")
        self.assertEqual(self.add(path), {"return": {}})
        self.qmp.execute("block_resize", {"node-name": "disk", "size": 32 * MIB})
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk", "writable": True})
        connection = self.session("disk", "structured")
        for offset in range(0, 12 * MIB, MIB):
            for _ in range(2):
                self.assertEqual(connection.write(offset, bytes([offset // MIB + 1]) * MIB), 0)
            self.assertEqual(connection.call(CMD_FLUSH).error, 0)
        for offset in range(0, 12 * MIB, MIB):
            self.assertEqual(connection.read(offset, MIB) == bytes([offset // MIB + 1]) * MIB, True)
        connection.disconnect()
        self.qmp.execute("block-export-del", {"id": "disk"})
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.qmp.execute("blockdev-del", {"node-name": "disk"})
        tools.run("qemu-img", "check", "-q", path)


class CompressedWritesTest(TurnTest):
    """Writes through a compress filter."""

    def test_become_compressed_clusters(self):
        """QEMU reads them, and finds them compressed and packed."""
        for options in ([], ["compression_type=zstd"], ["extended_l2=on"], ["compat=0.10"], ["cluster_size=2M"]):
            image = Image(self, "compressed.qcow2", 16 * MIB, options)
            connection, packed = self.begin_turn(image)
            for offset in range(0, 8 * MIB, MIB):
                data = random.Random(offset).randbytes(256) * (MIB // 256)
                self.assertEqual(packed.write(offset, data), 0)
                image.model[offset:offset + MIB] = data
            self.assertEqual(connection.read(0, image.size) == image.model, True)
            self.end_turn(connection, packed)
            image.check(options)
            image.compare_by_qemu(options)
            parts = json.loads(tools.run("qemu-img", "map", "--output=json", image.path))
            self.assertEqual(sum(part["length"] for part in parts if part["data"]), 8 * MIB)
            if "compressed" in parts[0]:
                self.assertEqual(sum(part["length"] for part in parts if part["compressed"]), 8 * MIB)
            self.assertLess(images.allocated(image.path), 2 * MIB + 4 * image.cluster)
            os.unlink(image.path)

    @settings.unlike_qemu("it writes compressed clusters once")
    def test_a_plain_cluster_stays_plain(self):
        """What is allocated is overwritten in place."""
        image = Image(self, "plain.qcow2", MIB)
        connection, packed = self.begin_turn(image)
        self.assertEqual(connection.write(0, bytes([1]) * 65536), 0)
        self.assertEqual(packed.write(4096, bytes([2]) * 4096), 0)
        self.assertEqual(packed.read(0, 12288), bytes([1]) * 4096 + bytes([2]) * 4096 + bytes([1]) * 4096)
        self.end_turn(connection, packed)
        image.check("plain")
        parts = json.loads(tools.run("qemu-img", "map", "--output=json", image.path))
        self.assertTrue(parts[0]["data"] and not parts[0].get("compressed"))

    def test_a_data_file_has_no_compressed_clusters(self):
        """As in the reference such a write fails, and everything else works."""
        image = Image(self, "data.qcow2", MIB, data_file=self.path("data.raw"))
        connection, packed = self.begin_turn(image)
        self.assertNotEqual(packed.write(0, bytes([1]) * 65536), 0)
        self.assertEqual(packed.call(CMD_WRITE_ZEROES, 0, 65536).error, 0)
        self.assertEqual(connection.write(0, bytes([3]) * 512), 0)
        self.assertEqual(packed.read(0, 1024), bytes([3]) * 512 + bytes(512))
        self.end_turn(connection, packed)
        image.check("data file")

    @settings.unlike_qemu("it writes whole clusters")
    def test_many_clients(self):
        """Clients that write small parts of shared clusters at the same time, on all reactors."""
        image = Image(self, "many.qcow2", 4 * MIB, ["cluster_size=16k"])
        self.qmp.execute("blockdev-add", {"node-name": "disk", **image.node()})
        self.qmp.execute("blockdev-add", {"node-name": "packed", "driver": "compress", "file": "disk"})
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "packed", "node-name": "packed", "writable": True})
        connections = [self.session("packed", "structured") for _ in range(6)]
        generator = random.Random(5)
        for round_number in range(12):
            sent = []
            for number, connection in enumerate(connections):
                # Each has the sectors of its own number.
                for place in generator.sample(range(image.size // (512 * 6)), 4):
                    offset = (place * 6 + number) * 512
                    data = bytes([generator.randrange(1, 256)]) * 512
                    image.model[offset:offset + 512] = data
                    sent.append((connection, connection.send_request(CMD_WRITE, offset, 512, payload=data)))
            for connection in connections:
                pending = {request.cookie: request for at, request in sent if at is connection}
                for reply in connection.read_replies(pending):
                    self.assertEqual(reply.error, 0)
            if round_number % 4 == 3:
                self.assertEqual(connections[0].call(CMD_FLUSH).error, 0)
        self.assertEqual(connections[0].read(0, image.size) == image.model, True)
        for connection in connections:
            connection.disconnect()
        for command, name in (("block-export-del", "id"), ("blockdev-del", "node-name")):
            self.qmp.execute(command, {name: "packed"})
            if command == "block-export-del":
                self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.qmp.execute("blockdev-del", {"node-name": "disk"})
        image.check("many clients")
        image.compare_by_qemu("many clients")

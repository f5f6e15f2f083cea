"""qcow2 images that qemu-img and qemu-io made, read through an export: their bytes, their map, and their layers."""

import json
import os
import random
import struct

from lib import daemon, images, settings, tools
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest

SIZE = 3 * MIB + 512


def file_options(path):
    """The options of a file node."""
    return {"driver": "file", "filename": path}


class Qcow2Test(DaemonTest):
    """Images in the private directory, each with the bytes of a random course of writes."""

    def make(self, name, size=SIZE, base=None, seed=1, compressed=True, snapshots=0, bitmaps=(), **options):
        """An image of these options of `qemu-img create`, written to by qemu-io. Its path."""
        path = self.path(name)
        wanted = ",".join(f"{key}={value}" for key, value in options.items())
        command = ["qemu-img", "create", "-q", "-f", "qcow2", *(["-o", wanted] if wanted else [])]
        if base is not None:
            command += ["-b", base[0], "-F", base[1]]
        tools.run(*command, path, str(size))
        self.write(path, size, seed, compressed)
        for i in range(snapshots):
            tools.run("qemu-img", "snapshot", "-c", f"snapshot {i}", path)
            self.write(path, size, seed + 100 + i, compressed)
        for bitmap in bitmaps:
            tools.run("qemu-img", "bitmap", "--add", path, bitmap)
        return path

    @staticmethod
    def write(path, size, seed, compressed):
        """Writes, writes of zeroes and discards, chosen by the seed."""
        chosen = random.Random(seed)
        arguments = []
        for _ in range(24):
            offset = chosen.randrange(0, size - 64 * KIB) & ~511
            length = chosen.choice([512, 4 * KIB, 20 * KIB, 64 * KIB])
            arguments += ["-c", chosen.choice([f"write -P {chosen.randrange(1, 256)} {offset} {length}",
                                               f"write -P {chosen.randrange(1, 256)} {offset} {length}",
                                               f"write -z {offset} {length}", f"write -z -u {offset} {length}",
                                               f"discard {offset} {length}"])]
        if compressed:
            for _ in range(4):
                offset = chosen.randrange(0, size - 64 * KIB) & ~(64 * KIB - 1)
                arguments += ["-c", f"write -c -P {chosen.randrange(1, 256)} {offset} 64k"]
        # A compressed write fails where there are data already.
        tools.run("qemu-io", "-f", "qcow2", *arguments, path, expected=None, timeout=60)

    @staticmethod
    def node(path, backing=None, **options):
        """The options of a read-only node over an image; `backing`: the options of the node below, or None."""
        return {"driver": "qcow2", "read-only": True, "file": file_options(path), "backing": backing, **options}

    def expose(self, options):
        """Adds a node of these options and exports it as `image`."""
        self.add_node("image", **options)
        self.add_export("image", **{"allocation-depth": True})

    def check(self, path, options):
        """The export of that node has the bytes and map that qemu-img reads, and the layers of the reference."""
        self.expose(options)
        tools.run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", path, self.uri("image"))
        self.assertEqual(self.data_map(self.uri("image")), self.expected_map(path))
        self.assertEqual(self.layers(self.uri("image")), self.layers_of_the_reference(options))
        return self.info()

    def info(self):
        """The answer of query-named-block-nodes about the node."""
        nodes = self.qmp.execute("query-named-block-nodes")
        return next(node for node in nodes if node["node-name"] == "image")

    @staticmethod
    def joined(runs):
        """A list of [offset, length, kind] in which neighbours differ."""
        result = []
        for offset, length, kind in runs:
            if result and result[-1][2] == kind:
                result[-1][1] += length
            else:
                result.append([offset, length, kind])
        return result

    def data_map(self, uri):
        """The runs of data and of zeroes without data, as base:allocation tells them. Other kinds fail."""
        kinds = {0: "data", 2: "data", 3: "zero"}
        runs = json.loads(tools.run("nbdinfo", "--map", "--json", uri))
        return self.joined((run["offset"], run["length"], kinds[run["type"]]) for run in runs)

    def expected_map(self, path):
        """The same from qemu-img. It may tell zeroes of data that are a hole of the image's file."""
        runs = json.loads(tools.run("qemu-img", "map", "-f", "qcow2", "--output=json", path))
        for run in runs:
            self.assertTrue(run["data"] or run["zero"], run)
        return self.joined((run["start"], run["length"], "data" if run["data"] else "zero") for run in runs)

    def layers(self, uri):
        """The runs of qemu:allocation-depth."""
        runs = json.loads(tools.run("nbdinfo", "--map=qemu:allocation-depth", "--json", uri))
        return self.joined((run["offset"], run["length"], run["type"]) for run in runs)

    def layers_of_the_reference(self, options):
        """The same, from the reference with the same nodes."""
        workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, workdir)
        reference = daemon.Daemon(workdir, ["--blockdev", json.dumps({"node-name": "image", **options}),
                                            "--export", "nbd,id=e,node-name=image,allocation-depth=on"],
                                  program=settings.REFERENCE)
        self.addCleanup(reference.kill)
        reference.start()
        runs = self.layers(f"nbd+unix:///image?socket={reference.nbd_path}")
        reference.stop()
        return runs


class ImagesTest(Qcow2Test):
    """One image, in all its shapes."""

    def test_cluster_sizes(self):
        """Clusters from 512 bytes to 2 MiB."""
        for size in ("512", "1k", "4k", "32k", "64k", "256k", "2M"):
            with self.subTest(size):
                path = self.make(f"clusters-{size}", cluster_size=size, compressed=size == "64k")
                self.assertEqual(self.check(path, self.node(path))["image"]["format-specific"]["data"]["compat"], "1.1")
                self.doCleanups()

    def test_version_2(self):
        """The older version of the format."""
        path = self.make("old", compat="0.10")
        info = self.check(path, self.node(path))
        self.assertEqual(info["image"]["format-specific"]["data"],
                         {"compat": "0.10", "compression-type": "zlib", "refcount-bits": 16})

    def test_refcount_widths(self):
        """Refcounts from 1 to 64 bits."""
        for bits in (1, 2, 4, 8, 32, 64):
            with self.subTest(bits):
                path = self.make(f"refcounts-{bits}", refcount_bits=bits, compressed=bits >= 8)
                data = self.check(path, self.node(path))["image"]["format-specific"]["data"]
                self.assertEqual(data["refcount-bits"], bits)
                self.doCleanups()

    def test_compression(self):
        """Compressed images of both types, and of small and large clusters, as qemu-img convert makes them."""
        text = self.path("text.raw")
        chosen = random.Random(3)
        words = [bytes([chosen.randrange(256)]) * chosen.randrange(1, 400) for _ in range(300)]
        images.write_file(text, b"".join(chosen.choice(words) for _ in range(30000))[:SIZE])
        for kind in ("zlib", "zstd"):
            for clusters in ("4k", "64k", "2M"):
                with self.subTest(kind=kind, clusters=clusters):
                    path = self.path(f"compressed-{kind}-{clusters}")
                    tools.run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o",
                              f"cluster_size={clusters},compression_type={kind}", text, path)
                    info = self.check(path, self.node(path))
                    self.assertEqual(info["image"]["format-specific"]["data"]["compression-type"], kind)
                    self.doCleanups()

    def test_subclusters(self):
        """Extended L2 entries."""
        for clusters in ("16k", "64k", "1M"):
            with self.subTest(clusters):
                path = self.make(f"extended-{clusters}", extended_l2="on", cluster_size=clusters,
                                 compressed=clusters == "64k")
                self.assertTrue(self.check(path, self.node(path))["image"]["format-specific"]["data"]["extended-l2"])
                self.doCleanups()

    def test_data_file(self):
        """Data in a file of their own, which may be an image by itself."""
        for raw in ("off", "on"):
            with self.subTest(raw):
                external = self.path(f"external-{raw}.data")
                path = self.make(f"external-{raw}", data_file=external, data_file_raw=raw, compressed=False)
                info = self.check(path, self.node(path, **{"data-file": file_options(external)}))
                self.assertEqual(info["image"]["format-specific"]["data"]["data-file"], external)
                self.assertEqual(info["image"]["format-specific"]["data"]["data-file-raw"], raw == "on")
                if "children" in info:  # QEMU before 10.1 does not tell them
                    self.assertEqual([child["child"] for child in info["children"]], ["data-file", "file"])
                if raw == "on":
                    tools.run("qemu-img", "compare", "-f", "raw", "-F", "raw", external, self.uri("image"))
                self.doCleanups()

    def test_snapshots_and_bitmaps(self):
        """Internal snapshots and bitmaps do not show in the bytes, and are listed."""
        path = self.make("snapshots", snapshots=3, bitmaps=("first", "second"))
        before = images.sha256(path)
        image = self.check(path, self.node(path))["image"]
        self.assertEqual([one["name"] for one in image["snapshots"]], [f"snapshot {i}" for i in range(3)])
        reported = json.loads(tools.run("qemu-img", "info", "--output=json", "-U", path))
        self.assertEqual(image["snapshots"], reported["snapshots"])
        self.assertEqual(image["format-specific"]["data"]["bitmaps"], reported["format-specific"]["data"]["bitmaps"])
        self.assertEqual(images.sha256(path), before)

    def test_preallocated(self):
        """An image whose clusters are all there and empty."""
        path = self.path("preallocated")
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", path, str(SIZE))
        self.check(path, self.node(path))

    def test_empty_and_odd_sizes(self):
        """Sizes that are no multiple of a cluster, and none at all."""
        for size in (0, 512, 65536 + 512):
            with self.subTest(size):
                path = self.path(f"size-{size}")
                tools.run("qemu-img", "create", "-q", "-f", "qcow2", path, str(size))
                self.expose(self.node(path))
                self.assertEqual(int(tools.run("nbdinfo", "--size", self.uri("image"))), size)
                self.doCleanups()


class ChainsTest(Qcow2Test):
    """Images on other images."""

    def test_chain(self):
        """Three layers of different sizes and shapes."""
        base = images.make_random(self.path("base.raw"), MIB + 1536)
        middle = self.make("middle", base=(base, "raw"), seed=5, size=2 * MIB)
        top = self.make("top", base=(middle, "qcow2"), seed=6, cluster_size="4k", compressed=False)
        below = {"driver": "raw", "file": file_options(base)}
        info = self.check(top, self.node(top, self.node(middle, below)))
        self.assertEqual(info["backing_file_depth"], 2)
        self.assertEqual(info["image"]["backing-filename"], middle)
        self.assertEqual(info["image"]["backing-filename-format"], "qcow2")
        self.assertEqual(info["image"]["backing-image"]["backing-image"]["filename"], base)

    def test_subclusters_on_a_base(self):
        """Parts of clusters that the image does not contain come from below."""
        base = images.make_random(self.path("sub-base.raw"), SIZE)
        top = self.make("sub-top", base=(base, "raw"), extended_l2="on", cluster_size="128k", compressed=False)
        self.check(top, self.node(top, {"driver": "raw", "file": file_options(base)}))

    def test_base_by_name_of_node(self):
        """A node that exists is the backing node; it stays in use by others that read."""
        base = images.make_random(self.path("named-base.raw"), SIZE)
        top = self.make("named-top", base=(base, "raw"), seed=9)
        self.add_node("base", **{"read-only": True}, **file_options(base))
        self.check_bytes_on("base", top)

    def check_bytes_on(self, base, top):
        """The export of `top` on that node has the image's bytes."""
        self.add_node("image", **self.node(top, base))
        self.add_export("image")
        tools.run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", top, self.uri("image"))

    def test_names_in_images(self):
        """A child that the options leave out is opened by its name, which is relative to the image."""
        images.make_random(self.path("by-name.raw"), SIZE)
        external = self.path("by-name.data")
        middle = self.path("by-name-middle")
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "by-name.raw", "-F", "raw", "-o",
                  f"data_file={external}", middle)
        self.write(middle, SIZE, 3, False)
        top = self.path("by-name-top")
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "by-name-middle", "-F", "qcow2", top)
        self.write(top, SIZE, 4, True)
        options = self.node(top)
        del options["backing"]
        info = self.check(top, options)
        self.assertEqual(info["backing_file_depth"], 2)
        self.assertEqual(info["file"], top)

    def test_without_a_base(self):
        """null leaves out the image that the header names: its bytes are zeroes."""
        base = images.make_random(self.path("lost-base.raw"), SIZE)
        top = self.make("lost-top", base=(base, "raw"))
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", self.path("bare"))
        self.expose(self.node(self.path("bare")))
        self.assertEqual(self.data_map(self.uri("image")), [[0, SIZE // 512 * 512, "zero"]])
        self.assertIn('"backing": null', self.info()["file"])
        self.assertTrue(os.path.exists(top))

    def test_reopen(self):
        """blockdev-reopen gives the node another base, and takes it away."""
        low = images.make_random(self.path("low.raw"), SIZE, 1)
        high = images.make_random(self.path("high.raw"), SIZE, 2)
        top = self.path("reopened")
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", low, "-F", "raw", top)
        for name, path in (("low", low), ("high", high)):
            self.add_node(name, **{"read-only": True}, **file_options(path))
        self.add_node("image", **self.node(top, "low"))
        self.add_export("image")

        def reopen(**options):
            self.qmp.execute("blockdev-reopen", {"options": [{"node-name": "image", **self.node(top), **options}]})

        tools.run("qemu-img", "compare", "-f", "raw", "-F", "raw", low, self.uri("image"))
        reopen(backing="high")
        tools.run("qemu-img", "compare", "-f", "raw", "-F", "raw", high, self.uri("image"))
        reopen(backing=None, **{"l2-cache-size": 65536})
        self.assertEqual(self.data_map(self.uri("image")), [[0, SIZE, "zero"]])
        reopen(backing="low")
        tools.run("qemu-img", "compare", "-f", "raw", "-F", "raw", low, self.uri("image"))
        options = self.node(top)
        del options["backing"]
        self.assertEqual(self.qmp.failure("blockdev-reopen", {"options": [{"node-name": "image", **options}]}),
                         ("GenericError", "backing is missing for 'image'"))


class RefusedTest(Qcow2Test):
    """Images and options that are refused with the texts of the reference."""

    CHANGES = {
        (0, ">I", 0): "Image is not in qcow2 format",
        (4, ">I", 7): "Unsupported qcow2 version 7",
        (20, ">I", 22): "Unsupported cluster size: 2^22",
        (24, ">Q", 1 << 50): "L1 table is too small",
        (36, ">I", 1 << 30): "Active L1 table too large",
        (40, ">Q", 513): "Active L1 table offset invalid",
        (48, ">Q", 513): "Reference count table offset invalid",
        (56, ">I", 0): "Image does not contain a reference count table",
        (60, ">I", 70000): "Snapshot table too large",
        (72, ">Q", 1 << 40): "Unsupported qcow2 feature(s): Unknown incompatible feature: 10000000000",
        (96, ">I", 7): "Reference count entry width too large; may not exceed 64 bits",
        (100, ">I", 96): "qcow2 header too short",
        (104, ">B", 1): "qcow2: Compression type incompatible feature bit must be set",
        (104, ">B", 9): "qcow2: unknown compression type: 9",
        (116, ">I", 1 << 30): "Header extension too large",
    }

    def test_headers(self):
        """Each wrong field of the header, as the reference words it."""
        path = self.make("wrong")
        sound = images.read_range(path, 0, 4096)
        for (offset, kind, value), message in self.CHANGES.items():
            with self.subTest(message):
                changed = bytearray(sound)
                struct.pack_into(kind, changed, offset, value)
                with open(path, "r+b") as file:
                    file.write(changed)
                self.assertEqual(self.qmp.failure("blockdev-add", {"node-name": "image", **self.node(path)}),
                                 ("GenericError", message))

    def test_cache_sizes(self):
        """Sizes of caches that contradict each other."""
        path = self.make("caches")
        for options, message in (
                ({"cache-size": 65536, "l2-cache-size": 65536, "refcount-cache-size": 0},
                 "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time"),
                ({"cache-size": 65536, "l2-cache-size": 131072}, "l2-cache-size may not exceed cache-size"),
                ({"cache-size": 65536, "refcount-cache-size": 131072}, "refcount-cache-size may not exceed cache-size"),
                ({"l2-cache-entry-size": 1000},
                 "L2 cache entry size must be a power of two between 512 and the cluster size (65536)"),
                ({"cache-clean-interval": -1}, "Cache clean interval too big")):
            with self.subTest(message):
                self.assertEqual(self.qmp.failure("blockdev-add", {"node-name": "image", **self.node(path), **options}),
                                 ("GenericError", message))


class HostileTest(Qcow2Test):
    """Images that were damaged at random: they fail, and nothing else does."""

    ROUNDS = 400

    def test_flipped_bits(self):
        """Whatever bits are flipped, the server lives, answers, and keeps its memory small."""
        path = self.make("damaged", size=MIB, cluster_size="4k", snapshots=1, bitmaps=("b",))
        sound = images.read_range(path, 0, os.path.getsize(path))
        chosen = random.Random(17)
        opened = 0
        for _ in range(self.ROUNDS):
            images.write_file(path, self.damaged(sound, chosen))
            reply = self.qmp.command("blockdev-add", {"node-name": "image", **self.node(path)})
            if "error" in reply:
                continue
            opened += 1
            self.read_all()
            self.qmp.execute("blockdev-del", {"node-name": "image"})
        self.assertGreater(opened, self.ROUNDS // 10)
        if not settings.sanitized():
            self.assertLess(self.daemon.rss(), 300 * MIB)

    @staticmethod
    def damaged(sound, chosen):
        """The image with flipped bits, half of them in the metadata, or with a wrong number in the header."""
        changed = bytearray(sound)
        for _ in range(chosen.randrange(1, 12)):
            offset = chosen.choice([chosen.randrange(24, 112), chosen.randrange(len(changed)),
                                    chosen.randrange(min(len(changed), 64 * KIB))])
            changed[offset] ^= 1 << chosen.randrange(8)
        if chosen.randrange(4) == 0:
            offset = chosen.choice([8, 24, 40, 48, 64])
            struct.pack_into(">Q", changed, offset, chosen.choice([0, 4096, 1 << 32, 1 << 55, 1 << 62, 1 << 63]))
        return bytes(changed[:chosen.randrange(len(changed))]) if chosen.randrange(10) == 0 else bytes(changed)

    def read_all(self):
        """Reads the begin of the export and asks for its map; errors do not matter."""
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "image", "node-name": "image"})
        client = self.session("image", "structured", ["base:allocation"])
        size = min(client.info.size, MIB)
        if size > 0:
            client.call(CMD_READ, 0, size, judge=False)
            client.call(CMD_BLOCK_STATUS, 0, size, judge=False)
        client.close()
        self.drop_export("image")

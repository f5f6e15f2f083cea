"""Persistent bitmaps in qcow2 images: this server, the reference and qemu-img work on one image in turn."""

import contextlib
import json
import os
import random
import unittest

from lib import daemon, nbd_raw, settings, tools
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.qmp import QmpError
from lib.qcow2 import Metadata

SIZE = 16 * MIB
GRANULARITY = 64 * KIB
TURNS = int(os.environ.get("BLOCKEXPORT_SEQUENCES", "1"))


class BitmapsTest(unittest.TestCase):
    """A directory with an image, and servers on it, one after the other."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        self.image = os.path.join(self.workdir, "disk.qcow2")
        self.server = None
        self.node = {"driver": "qcow2", "node-name": "disk", "file": {"driver": "file", "filename": "disk.qcow2"}}

    def create(self, *options, size=SIZE):
        """An empty image."""
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", *options, self.image, str(size), cwd=self.workdir)

    def start(self, program=None, **options):
        """A server with the image as the node `disk`."""
        self.server = daemon.Daemon(self.workdir, [], program=program) if program else daemon.Daemon(self.workdir, [])
        self.addCleanup(self.server.kill)
        self.server.start()
        self.execute("blockdev-add", **self.node, **options)
        return self.server

    def execute(self, command, **arguments):
        """A command of the present server."""
        return self.server.qmp.execute(command, {name.replace("_", "-"): value for name, value in arguments.items()})

    def error_of(self, command, **arguments):
        """The text of the error with which it fails."""
        with self.assertRaises(QmpError) as caught:
            self.execute(command, **arguments)
        return caught.exception.text

    def add(self, name="b", **options):
        """A persistent bitmap."""
        self.execute("block-dirty-bitmap-add", node="disk", name=name, persistent=True,
                     **{"granularity": GRANULARITY, **options})

    def listed(self):
        """The dirty bitmaps of the node, by name: those members that are of interest."""
        (info,) = [each for each in self.execute("query-named-block-nodes") if each["node-name"] == "disk"]
        names = ("recording", "persistent", "granularity", "count", "inconsistent")
        return {each["name"]: {name: each[name] for name in names if name in each}
                for each in info.get("dirty-bitmaps", [])}

    def flags(self):
        """The bitmaps of the image, as qemu-img sees it: flags by name."""
        information = json.loads(tools.run("qemu-img", "info", "-U", "--output=json", self.image, cwd=self.workdir))
        bitmaps = information["format-specific"]["data"].get("bitmaps", [])
        return {each["name"]: sorted(each["flags"]) for each in bitmaps}

    def bitmap(self, *arguments):
        """qemu-img bitmap."""
        options, names = arguments[:-1], arguments[-1:]
        tools.run("qemu-img", "bitmap", *options, self.image, *names)

    def export(self, *bitmaps, writable=True):
        """Exports the node with these bitmaps."""
        self.execute("block-export-add", id="e", type="nbd", node_name="disk", name="disk", writable=writable,
                     bitmaps=list(bitmaps))

    def end_export(self):
        """Ends it."""
        self.execute("block-export-del", id="e", mode="hard")
        self.server.qmp.wait_event("BLOCK_EXPORT_DELETED")

    @contextlib.contextmanager
    def connection(self, *bitmaps, writable=True):
        """A connection to such an export."""
        self.export(*bitmaps, writable=writable)
        connection = nbd_raw.Connection(self.server.connect_nbd())
        try:
            contexts = [f"qemu:dirty-bitmap:{name}" for name in bitmaps]
            connection.negotiate("disk", "structured", contexts)
            yield connection
        finally:
            connection.close()
            self.end_export()

    def write(self, *ranges):
        """Writes ranges of the disk."""
        with self.connection() as connection:
            for offset, length in ranges:
                self.assertEqual(connection.write(offset, b"x" * length), 0)

    def dirty(self, name="b", writable=True):
        """The dirty ranges of a bitmap, as a client of an export sees them."""
        ranges = []
        with self.connection(name, writable=writable) as connection:
            offset = 0
            for length, is_dirty in connection.block_status(0, SIZE):
                if is_dirty:
                    ranges.append((offset, length))
                offset += length
        return ranges

    def digest(self, name="b"):
        """Of the bits."""
        return self.execute("x-debug-block-dirty-bitmap-sha256", node="disk", name=name)["sha256"]

    def end(self):
        """A clean end, by a command."""
        self.execute("quit")
        self.assertEqual(self.server.wait_exit(), 0)
        self.server.kill()

    def stop(self):
        """A clean end by a signal, after which the image is sound."""
        self.server.stop()
        self.check()

    def check(self):
        """QEMU finds neither errors nor leaks."""
        tools.run("qemu-img", "check", "-q", "-f", "qcow2", self.image, cwd=self.workdir)


class LifeTest(BitmapsTest):
    """From the creation of a bitmap to its end."""

    def test_stored_and_loaded(self):
        """A persistent bitmap has its bits, its granularity and its state after a restart."""
        self.create()
        self.start()
        self.add("b")
        self.add("off", granularity=512, disabled=True)
        self.execute("block-dirty-bitmap-add", node="disk", name="memory")
        self.write((0, 512), (5 * MIB, 200 * KIB), (SIZE - 512, 512))
        before = self.listed()
        self.assertEqual(before["b"], {"recording": True, "persistent": True, "granularity": GRANULARITY,
                                       "count": 6 * GRANULARITY})
        digest = self.digest()
        self.stop()
        self.assertEqual(self.flags(), {"b": ["auto"], "off": []})
        self.start()
        del before["memory"]
        self.assertEqual(self.listed(), before)
        self.assertEqual(self.digest(), digest)
        self.assertEqual(self.dirty(), [(0, GRANULARITY), (5 * MIB, 4 * GRANULARITY),
                                        (SIZE - GRANULARITY, GRANULARITY)])
        self.stop()

    def test_made_by_qemu_img(self):
        """Bitmaps of qemu-img record the writes of this server, and qemu-img changes them afterwards."""
        self.create()
        self.bitmap("--add", "-g", "64k", "a")
        self.bitmap("--add", "--disable", "-g", "4k", "b")
        self.start()
        self.assertEqual(self.listed()["a"], {"recording": True, "persistent": True, "granularity": GRANULARITY,
                                              "count": 0})
        self.assertFalse(self.listed()["b"]["recording"])
        self.write((3 * MIB, 4096))
        self.stop()
        self.bitmap("--merge", "a", "b")
        self.bitmap("--clear", "a")
        self.bitmap("--enable", "b")
        self.start(**{"read-only": True})
        self.assertEqual(self.listed()["a"]["count"], 0)
        self.assertEqual(self.listed()["b"], {"recording": True, "persistent": True, "granularity": 4096,
                                              "count": GRANULARITY})
        self.assertEqual(self.dirty("b", writable=False), [(3 * MIB, GRANULARITY)])
        self.stop()
        self.bitmap("--remove", "a")
        self.check()

    def test_commands_are_stored(self):
        """Clear, merge, enable and disable have their effect after a restart."""
        self.create()
        self.start()
        for name in ("a", "b", "c"):
            self.add(name)
        self.write((0, 512))
        self.execute("block-dirty-bitmap-clear", node="disk", name="a")
        self.execute("block-dirty-bitmap-disable", node="disk", name="b")
        self.write((MIB, 512))
        self.execute("block-dirty-bitmap-add", node="disk", name="d", persistent=True, granularity=512)
        self.execute("block-dirty-bitmap-merge", node="disk", target="d", bitmaps=["b"])
        self.stop()
        self.start()
        self.assertEqual({name: (each["count"] // KIB, each["recording"]) for name, each in self.listed().items()},
                         {"a": (64, True), "b": (64, False), "c": (128, True), "d": (64, True)})
        self.stop()

    def test_in_use_after_a_kill(self):
        """After kill -9 the bitmaps are inconsistent for this server, the reference and qemu-img, and removable."""
        self.create()
        self.bitmap("--add", "b")
        self.start()
        self.assertEqual(self.flags(), {"b": ["auto", "in-use"]})
        self.add("new")
        self.write((0, 512))
        self.server.kill()
        self.assertEqual(self.flags(), {"b": ["auto", "in-use"]})
        for program in (None, settings.REFERENCE):
            self.start(program)
            self.assertEqual(self.listed()["b"], {"recording": False, "persistent": True, "granularity": GRANULARITY,
                                                  "count": 0, "inconsistent": True})
            for command in ("clear", "enable", "disable"):
                self.assertEqual(self.error_of(f"block-dirty-bitmap-{command}", node="disk", name="b"),
                                 "Bitmap 'b' is inconsistent and cannot be used")
            self.assertEqual(self.error_of("block_resize", node_name="disk", size=2 * SIZE),
                             "Bitmap 'b' is inconsistent and cannot be used")
            self.end()
        self.start()
        self.write((MIB, 512))
        self.execute("block-dirty-bitmap-remove", node="disk", name="b")
        self.assertEqual(self.flags(), {})
        self.stop()
        self.start()
        self.assertEqual(self.listed(), {})
        self.stop()

    def test_removed_for_good(self):
        """A removed bitmap does not come back after a crash, and another one is inconsistent."""
        self.create()
        for name in ("a", "b"):
            self.bitmap("--add", name)
        self.start()
        self.execute("block-dirty-bitmap-remove", node="disk", name="a")
        self.assertEqual(self.flags(), {"b": ["auto", "in-use"]})
        self.server.kill()
        self.assertEqual(self.flags(), {"b": ["auto", "in-use"]})
        self.check()

    def test_read_only(self):
        """Bitmaps of a read-only node are listed and exported, and can neither be modified nor removed."""
        self.create()
        self.bitmap("--add", "b")
        tools.run("qemu-io", "-f", "qcow2", "-c", "write 1M 64k", self.image)
        self.start(**{"read-only": True})
        self.assertEqual(self.flags(), {"b": ["auto"]})
        self.assertEqual(self.listed()["b"]["count"], GRANULARITY)
        self.assertEqual(self.dirty(writable=False), [(MIB, GRANULARITY)])
        self.assertEqual(self.error_of("block-dirty-bitmap-clear", node="disk", name="b"),
                         "Bitmap 'b' is readonly and cannot be modified")
        self.assertEqual(self.error_of("block-dirty-bitmap-remove", node="disk", name="b"),
                         "Cannot remove persistent bitmap 'b': no write access to node 'disk'")
        self.assertEqual(self.error_of("block-dirty-bitmap-add", node="disk", name="c", persistent=True),
                         "Cannot add a persistent bitmap to read-only or inactive node 'disk'")
        self.stop()
        self.assertEqual(self.flags(), {"b": ["auto"]})

    def test_reopen(self):
        """A reopen that makes the node read-only stores the bitmaps, and one that makes it writable uses them again."""
        self.create()
        self.start()
        self.add()
        self.write((0, 512))
        self.execute("blockdev-reopen", options=[{**self.node, "read-only": True}])
        self.assertEqual(self.flags(), {"b": ["auto"]})
        self.assertIn("readonly", self.error_of("block-dirty-bitmap-clear", node="disk", name="b"))
        self.assertEqual(self.dirty(writable=False), [(0, GRANULARITY)])
        self.execute("blockdev-reopen", options=[self.node])
        self.assertEqual(self.flags(), {"b": ["auto", "in-use"]})
        self.write((MIB, 512))
        self.execute("blockdev-reopen", options=[{**self.node, "l2-cache-size": MIB, "cache-size": 2 * MIB}])
        self.write((2 * MIB, 512))
        self.stop()
        self.start()
        self.assertEqual(self.listed()["b"]["count"], 3 * GRANULARITY)
        self.stop()

    def test_blockdev_del(self):
        """The removal of the node stores them."""
        self.create()
        self.start()
        self.add()
        self.write((0, 512))
        self.execute("blockdev-del", node_name="disk")
        self.assertEqual(self.flags(), {"b": ["auto"]})
        self.execute("blockdev-add", **self.node)
        self.assertEqual(self.listed()["b"]["count"], GRANULARITY)
        self.stop()

    def test_transaction(self):
        """A failed transaction leaves bitmap and image as they were, and a successful one changes both."""
        self.create()
        self.bitmap("--add", "b")
        self.start()
        remove = {"type": "block-dirty-bitmap-remove", "data": {"node": "disk", "name": "b"}}
        add = {"type": "block-dirty-bitmap-add", "data": {"node": "disk", "name": "c", "persistent": True}}
        abort = {"type": "abort", "data": {}}
        self.assertIn("abort", self.error_of("transaction", actions=[add, remove, abort]).lower())
        self.assertEqual(set(self.listed()), {"b"})
        self.assertEqual(self.flags(), {"b": ["auto", "in-use"]})
        self.execute("transaction", actions=[remove, add])
        self.assertEqual(set(self.listed()), {"c"})
        self.stop()
        self.assertEqual(self.flags(), {"c": ["auto"]})

    def test_resize(self):
        """Bitmaps get a new size with the disk, and are stored with it."""
        self.create()
        self.start()
        self.add()
        self.write((SIZE - 512, 512))
        self.execute("block_resize", node_name="disk", size=3 * SIZE)
        self.write((3 * SIZE - 512, 512))
        self.stop()
        self.start()
        self.assertEqual(self.listed()["b"]["count"], 2 * GRANULARITY)
        self.execute("block_resize", node_name="disk", size=SIZE)
        self.assertEqual(self.listed()["b"]["count"], GRANULARITY)
        self.stop()
        self.start(settings.REFERENCE)
        self.assertEqual(self.listed()["b"]["count"], GRANULARITY)
        self.end()

    def test_resize_to_bitmaps_that_could_not_be_loaded(self):
        """A disk does not grow so far that its image could not be opened again."""
        self.create()
        self.start()
        self.add(granularity=512)
        if settings.is_qemu():
            self.skipTest("the reference has no limit for all bitmaps together")
        self.assertEqual(self.error_of("block_resize", node_name="disk", size=5 << 40),
                         "The image has more than 4096 bitmaps, or more than 1073741824 bytes of bitmaps")
        self.execute("block_resize", node_name="disk", size=2 * SIZE)
        self.stop()
        self.start()
        self.assertEqual(self.listed()["b"]["granularity"], 512)
        self.stop()

    def test_stale_bitmaps(self):
        """Bitmaps that another program made invalid are ignored, and new ones take their place."""
        self.create()
        self.bitmap("--add", "b")
        Metadata(self.image).set_number(88, 8, 0)
        self.start()
        self.assertEqual(self.listed(), {})
        self.add("b")
        self.end()
        self.assertEqual(self.flags(), {"b": ["auto"]})
        self.start()
        self.assertEqual(self.listed()["b"]["count"], 0)
        self.end()

    def test_backing_file(self):
        """An image whose backing file's name follows its header gets space for bitmaps, and keeps the name."""
        base = os.path.join(self.workdir, "base.img")
        tools.run("qemu-img", "create", "-q", "-f", "raw", base, str(SIZE))
        self.create("-b", base, "-F", "raw")
        self.start()
        self.add()
        self.write((0, 512))
        self.stop()
        information = json.loads(tools.run("qemu-img", "info", "--output=json", self.image))
        self.assertEqual((information["backing-filename"], information["backing-filename-format"]), (base, "raw"))
        self.assertEqual(self.flags(), {"b": ["auto"]})
        self.start()
        self.execute("block-dirty-bitmap-remove", node="disk", name="b")
        self.stop()
        self.assertEqual(self.flags(), {})

    def test_no_space(self):
        """If bitmaps cannot be stored, the server ends, says so, and leaves a sound image with inconsistent bitmaps."""
        self.create()
        self.bitmap("--add", "b")
        self.node["file"] = {"driver": "blkdebug", "image": {"driver": "file", "filename": "disk.qcow2"},
                             "inject-error": [{"event": "refblock_update_part", "errno": 28, "once": False}]}
        self.start()
        self.add("new")
        self.assertIn("No space left on device",
                      self.error_of("blockdev-reopen", options=[{**self.node, "read-only": True}]))
        self.end()
        self.assertIn(b"Lost persistent bitmaps", self.server.stderr())
        self.check()
        self.assertEqual(self.flags(), {"b": ["auto", "in-use"]})


class BackupTest(BitmapsTest):
    """The checkpoints of backups."""

    @settings.unlike_qemu("backups are an extension")
    def test_checkpoint(self):
        """A persistent checkpoint is a bitmap in the image: after a restart the next backup has the changes since."""
        self.create()
        disk = {"checkpoint": "nightly", "persistent": True, "scratch_directory": self.workdir,
                "disks": [{"node-name": "disk"}]}
        self.start()
        self.execute("backup-begin", id="full", **disk)
        self.execute("backup-end", id="full", outcome="success")
        self.write((MIB, 512))
        self.assertEqual(self.listed()["nightly"]["count"], GRANULARITY)
        self.stop()
        self.assertEqual(self.flags(), {"nightly": ["auto"]})
        self.start()
        self.write((5 * MIB, 512))
        (begun,) = self.execute("backup-begin", id="next", **disk)["disks"]
        self.assertEqual(begun["bitmap"], "nightly")
        connection = nbd_raw.Connection(self.server.connect_nbd())
        connection.negotiate(begun["export"], "structured", ["qemu:dirty-bitmap:nightly"])
        dirty = [length for length, is_dirty in connection.block_status(0, SIZE) if is_dirty]
        connection.close()
        self.assertEqual(dirty, [GRANULARITY, GRANULARITY])
        self.execute("backup-end", id="next", outcome="success")
        self.stop()
        self.assertEqual(self.flags(), {"nightly": ["auto"]})


class InTurnTest(BitmapsTest):
    """This server and the reference work on one image in turn."""

    KINDS = {"default": (), "small": ("-o", "cluster_size=512"), "4k": ("-o", "cluster_size=4k"),
             "extended": ("-o", "extended_l2=on,cluster_size=64k"), "data-file": ("-o", "data_file=disk.data"),
             "refcounts-1": ("-o", "refcount_bits=1"), "large": ("-o", "cluster_size=2M")}

    def turn(self, program, generator, model, count=12):
        """Random commands and writes by one of the two; `model` has name to (granularity, recording, granules)."""
        self.start(program)
        found = {name: (each["granularity"], each["recording"], each["count"]) for name, each in self.listed().items()}
        self.assertEqual(found, {name: (granularity, recording, len(granules) * granularity)
                                 for name, (granularity, recording, granules) in model.items()})
        for _ in range(count):
            action = generator.choice(["add", "write", "write", "write", "remove", "clear", "switch", "merge"])
            name = generator.choice(sorted(model)) if model else None
            if action == "add" and len(model) < 5:
                name, granularity = f"b{generator.randrange(1000)}", 512 << generator.randrange(10)
                if name not in model:
                    self.add(name, granularity=granularity)
                    model[name] = (granularity, True, set())
            elif action == "write":
                length = 512 * generator.randrange(1, 400)
                offset = generator.randrange(0, SIZE - length, 512)
                self.write((offset, length))
                for granularity, recording, granules in model.values():
                    if recording:
                        granules.update(range(offset // granularity, (offset + length - 1) // granularity + 1))
            elif name is not None:
                self.command(action, name, generator, model)
        digests = {name: self.digest(name) for name in model}
        self.end()
        self.check()
        return digests

    def command(self, action, name, generator, model):
        """One command for a bitmap."""
        granularity, recording, granules = model[name]
        if action == "remove" and generator.randrange(3) == 0:
            self.execute("block-dirty-bitmap-remove", node="disk", name=name)
            del model[name]
        elif action == "clear":
            self.execute("block-dirty-bitmap-clear", node="disk", name=name)
            granules.clear()
        elif action == "switch":
            self.execute("block-dirty-bitmap-" + ("disable" if recording else "enable"), node="disk", name=name)
            model[name] = (granularity, not recording, granules)
        elif action == "merge":
            other = generator.choice(sorted(model))
            self.execute("block-dirty-bitmap-merge", node="disk", target=name, bitmaps=[other])
            for granule in set(model[other][2]):
                begin = granule * model[other][0]
                granules.update(range(begin // granularity, (begin + model[other][0] - 1) // granularity + 1))

    def test_in_turn(self):
        """Both find what the other one stored, bit for bit, and qemu-img check finds nothing."""
        for kind, options in self.KINDS.items():
            for course in range(TURNS):
                with self.subTest(kind=kind, course=course):
                    generator = random.Random(f"{kind} {course}")
                    self.create(*options)
                    model, digests = {}, {}
                    for program in (None, settings.REFERENCE, None, settings.REFERENCE):
                        before = digests
                        digests = self.turn(program, generator, model)
                        self.start(settings.REFERENCE if program is None else None, **{"read-only": True})
                        self.assertEqual({name: self.digest(name) for name in model}, digests, before)
                        self.end()


class DamagedTest(BitmapsTest):
    """Images with wrong bitmaps."""

    def damage(self, place, word):
        """Makes an image with one bitmap, and overwrites a word of it. Returns the errors of both."""
        self.create()
        self.bitmap("--add", "-g", "64k", "b")
        tools.run("qemu-io", "-f", "qcow2", "-c", "write 1M 64k", self.image)
        metadata = Metadata(self.image)
        directory, _ = metadata.bitmap_directory()
        table = metadata.number(directory, 8)
        offset, length = {"entry": (table, 8), "entries": (directory + 8, 4), "table": (directory, 8),
                          "flags": (directory + 12, 4), "granularity": (directory + 17, 1)}[place]
        metadata.set_number(offset, length, word)
        errors = []
        for program in (None, settings.REFERENCE):
            try:
                self.start(program, **{"read-only": True})
                errors.append(self.listed()["b"]["count"])
            except QmpError as error:
                errors.append(error.text)
            self.end()
        return errors

    def test_damage(self):
        """Both open or refuse it alike, with the same text."""
        for place, word in (("entry", 2), ("entry", 1), ("entry", 1 << 40), ("entry", 513), ("entry", 1 << 60),
                            ("entries", 2), ("entries", 0), ("table", 1 << 40), ("table", 8), ("flags", 6),
                            ("flags", 3), ("granularity", 8), ("granularity", 9), ("granularity", 32)):
            with self.subTest(place=place, word=word):
                ours, theirs = self.damage(place, word)
                self.assertEqual(ours, theirs)


class AdditionTest(BitmapsTest):
    """What can be added."""

    def refusals(self, program):
        """The errors of a list of additions."""
        self.start(program)
        found = []
        for arguments in ({"name": "g", "granularity": 512}, {"name": "ok", "granularity": 1024},
                          {"name": "n" * 1023}, {"name": "n" * 1024}, {"name": "ok"}, {"name": "", "granularity": 3},
                          {"name": "h", "granularity": 3}, {"name": "twice", "persistent": False}, {"name": "twice"}):
            reply = self.server.qmp.command("block-dirty-bitmap-add", {"node": "disk", "persistent": True, **arguments})
            found.append(reply.get("error", {}).get("desc"))
        granularities = {name: each["granularity"] for name, each in self.listed().items()}
        self.end()
        return found, granularities

    def test_refusals(self):
        """Both refuse the same ones, with the same texts, and choose the same granularity."""
        for options, size in (((), 4 << 40), (("-o", "compat=0.10"), SIZE), (("-o", "cluster_size=4k"), SIZE)):
            with self.subTest(options=options):
                answers = []
                for program in (None, settings.REFERENCE):
                    self.create(*options, size=size)
                    answers.append(self.refusals(program))
                self.assertEqual(*answers)


if __name__ == "__main__":
    unittest.main()

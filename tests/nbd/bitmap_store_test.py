"""Persistent dirty bitmaps in a bitmap store survive restarts and kills, and a store that does not fit is refused.

BLOCKEXPORT_KILLS sets the number of kills of KillTest.
"""

import contextlib
import os
import random
import shutil
import subprocess
import threading
import time
import unittest

from lib import daemon, images, nbd_raw, settings, small_disk, tools, wait
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.qmp import QmpError

SIZE = 64 * MIB
GRANULARITY = 64 * KIB
KILLS = int(os.environ.get("BLOCKEXPORT_KILLS", "15"))


class StoreTest(unittest.TestCase):
    """A directory with an image and its store, and servers on it, one after the other."""

    @settings.unlike_qemu("bitmap stores are an extension")
    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        self.image = os.path.join(self.workdir, "disk.img")
        self.store = os.path.join(self.workdir, "disk.bitmaps")
        images.make_empty(self.image, SIZE)
        self.server = None

    def options(self, image="disk.img", store="disk.bitmaps", extra=""):
        """The command line for the node `disk` and its export."""
        return ["--blockdev", f"driver=file,node-name=disk,filename={image},discard=unmap,"
                              f"bitmap-store.filename={store}{extra}",
                "--export", "type=nbd,id=e,node-name=disk,name=disk,writable=on"]

    def start(self, arguments=None):
        """A server with these arguments."""
        self.server = daemon.Daemon(self.workdir, self.options() if arguments is None else arguments)
        self.addCleanup(self.server.kill)
        return self.server.start()

    def execute(self, command, **arguments):
        """A command of the present server."""
        return self.server.qmp.execute(command, {name.replace("_", "-"): value for name, value in arguments.items()})

    def add(self, name="b", node="disk", **options):
        """A persistent bitmap."""
        self.execute("block-dirty-bitmap-add", node=node, name=name, persistent=True, granularity=GRANULARITY,
                     **options)

    def connect(self, export="disk"):
        """A connection to the export."""
        connection = nbd_raw.Connection(self.server.connect_nbd())
        self.addCleanup(connection.close)
        connection.negotiate(export)
        return connection

    def write(self, offset, data, export="disk"):
        """One write, which succeeds."""
        self.assertEqual(self.connect(export).write(offset, data), 0)

    def bitmaps(self, node="disk"):
        """The bitmaps of a node as they are listed, and their digests, by name."""
        (info,) = [each for each in self.execute("query-named-block-nodes") if each["node-name"] == node]
        listed = {each["name"]: each for each in info.get("dirty-bitmaps", [])}
        for name, each in listed.items():
            if not each.get("inconsistent"):
                each["sha256"] = self.execute("x-debug-block-dirty-bitmap-sha256", node=node, name=name)["sha256"]
        return listed

    def refusal(self, arguments=None):
        """The error with which a server refuses to start."""
        program = [settings.program(), *settings.extra_arguments(), *(arguments or self.options())]
        ended = subprocess.run(program, cwd=self.workdir, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                               timeout=settings.seconds(20), check=False)
        self.assertEqual(ended.returncode, 1, ended.stderr)
        return ended.stderr

    def error_of(self, command, **arguments):
        """The error of a command that fails."""
        with self.assertRaises(QmpError) as caught:
            self.execute(command, **arguments)
        return str(caught.exception)


class RestartTest(StoreTest):
    """Clean restarts."""

    def test_bitmaps_survive(self):
        """Names, granularities, states and contents are the same after a restart, and further writes are recorded."""
        self.start()
        self.add("a")
        self.add("off", disabled=True)
        self.execute("block-dirty-bitmap-add", node="disk", name="t")
        self.write(5 * MIB, b"x" * 100_000)
        self.connect().call(CMD_TRIM, 20 * MIB, MIB)
        before = self.bitmaps()
        self.assertEqual(before.pop("t")["persistent"], False)
        self.assertEqual([each["persistent"] for each in before.values()], [True, True])
        self.server.stop()
        self.start()
        self.assertEqual(self.bitmaps(), before)
        self.write(40 * MIB, b"x")
        self.assertEqual(self.bitmaps()["a"]["count"], before["a"]["count"] + GRANULARITY)
        self.server.stop()

    def test_changes_of_bitmaps_survive(self):
        """Removal, clear, enabling, disabling and merge are the same after a restart and after a kill."""
        for end in ("stop", "kill"):
            with self.subTest(end):
                self.start()
                for name in ("kept", "gone", "cleared", "merged", "disabled"):
                    self.add(name)
                self.add("enabled", disabled=True)
                self.write(MIB, b"x")
                self.execute("block-dirty-bitmap-add", node="disk", name="source")
                self.write(33 * MIB, b"x" * MIB)
                self.execute("transaction", actions=[
                    {"type": "block-dirty-bitmap-remove", "data": {"node": "disk", "name": "gone"}},
                    {"type": "block-dirty-bitmap-clear", "data": {"node": "disk", "name": "cleared"}},
                    {"type": "block-dirty-bitmap-clear", "data": {"node": "disk", "name": "merged"}},
                    {"type": "block-dirty-bitmap-merge",
                     "data": {"node": "disk", "target": "merged", "bitmaps": ["source"]}},
                    {"type": "block-dirty-bitmap-disable", "data": {"node": "disk", "name": "disabled"}},
                    {"type": "block-dirty-bitmap-enable", "data": {"node": "disk", "name": "enabled"}}])
                before = self.bitmaps()
                self.assertEqual((before["cleared"]["count"], before["merged"]["count"]), (0, MIB))
                self.execute("block-dirty-bitmap-remove", node="disk", name="source")
                del before["source"]
                if end == "stop":
                    self.server.stop()
                    self.start()
                    self.assertEqual(self.bitmaps(), before)
                else:
                    self.server.kill()
                    self.start()
                    after = self.bitmaps()
                    self.assertEqual(set(after), set(before))
                    for name, each in before.items():
                        self.assertEqual(after[name]["recording"], each["recording"], name)
                        self.assertGreaterEqual(after[name]["count"], each["count"], name)
                for name in before:
                    self.execute("block-dirty-bitmap-remove", node="disk", name=name)
                self.server.stop()

    def test_a_failed_transaction_changes_no_store(self):
        """After a transaction that fails, and a kill, every bitmap has at least what it had."""
        self.start()
        self.add("a")
        self.add("b", disabled=True)
        self.write(0, b"x" * MIB)
        before = self.bitmaps()
        actions = [{"type": "block-dirty-bitmap-add", "data": {"node": "disk", "name": "new", "persistent": True}},
                   {"type": "block-dirty-bitmap-clear", "data": {"node": "disk", "name": "a"}},
                   {"type": "block-dirty-bitmap-enable", "data": {"node": "disk", "name": "b"}},
                   {"type": "block-dirty-bitmap-remove", "data": {"node": "disk", "name": "b"}},
                   {"type": "abort", "data": {}}]
        self.error_of("transaction", actions=actions)
        self.assertEqual(self.bitmaps(), before)
        self.server.kill()
        self.start()
        after = self.bitmaps()
        self.assertEqual(set(after), {"a", "b"})
        self.assertGreaterEqual(after["a"]["count"], MIB)
        self.assertFalse(after["b"]["recording"])
        self.server.stop()

    def test_removal_of_the_node_closes_the_store(self):
        """A node that is removed and added again has its bitmaps; options in JSON and relative paths work."""
        self.start(["--blockdev", '{"driver": "file", "node-name": "disk", "filename": "disk.img", "bitmap-store": '
                                  '{"filename": "disk.bitmaps", "checkpoint-interval-seconds": 1}}'])
        self.add()
        self.execute("block-export-add", type="nbd", id="e", node_name="disk", writable=True)
        self.write(0, b"x")
        before = self.bitmaps()
        self.connect().close()
        self.execute("block-export-del", id="e", mode="hard")
        self.execute("blockdev-del", node_name="disk")
        node = {"driver": "file", "node-name": "disk", "filename": self.image}
        self.execute("blockdev-add", **node)
        self.assertEqual(self.bitmaps(), {})
        self.assertIn("Can't store persistent bitmaps to disk",
                      self.error_of("block-dirty-bitmap-add", node="disk", name="c", persistent=True))
        self.execute("blockdev-reopen", options=[{**node, "bitmap-store": {"filename": self.store}}])
        self.assertEqual(self.bitmaps(), before)
        self.execute("blockdev-reopen", options=[node])
        self.assertEqual(self.bitmaps(), {})
        self.execute("blockdev-reopen", options=[{**node, "bitmap-store": {"filename": self.store}}])
        self.assertEqual(self.bitmaps(), before)
        self.server.stop()

    def test_a_read_only_node(self):
        """Its bitmaps can be read and not changed, until it is reopened for writing."""
        self.start()
        self.add()
        self.write(0, b"x")
        before = self.bitmaps()
        self.server.stop()
        node = {"driver": "file", "node-name": "disk", "filename": self.image,
                "bitmap-store": {"filename": self.store}}
        self.start([])
        self.execute("blockdev-add", **node, read_only=True)
        self.assertEqual(self.bitmaps(), before)
        self.assertIn("Bitmap 'b' is readonly and cannot be modified",
                      self.error_of("block-dirty-bitmap-clear", node="disk", name="b"))
        self.execute("blockdev-reopen", options=[node])
        self.execute("block-dirty-bitmap-clear", node="disk", name="b")
        self.assertEqual(self.bitmaps()["b"]["count"], 0)
        self.server.stop()

    def test_a_checkpoint_bounds_the_dirt_after_a_kill(self):
        """Regions that were changed long ago are not dirty as a whole after a kill."""
        self.start(self.options(extra=",bitmap-store.checkpoint-interval-seconds=1"))
        self.add()
        self.write(10 * MIB, b"x")
        digest = images.sha256(self.store)

        def has_two_checkpoints():
            nonlocal digest, changes
            now = images.sha256(self.store)
            changes += now != digest
            digest = now
            return changes >= 2

        changes = 0
        wait.until(has_two_checkpoints, 20, "checkpoints")
        self.server.kill()
        self.start()
        self.assertEqual(self.bitmaps()["b"]["count"], GRANULARITY)
        self.server.stop()

    def test_resizes_survive(self):
        """The bitmaps have the new size after a restart, and after a kill."""
        self.start()
        self.add()
        self.write(SIZE - 1, b"x")
        for number, end in enumerate(("stop", "kill"), 1):
            self.execute("block_resize", node_name="disk", size=SIZE + number * MIB)
            self.write(SIZE + number * MIB - 1, b"x")
            before = self.bitmaps()["b"]
            if end == "stop":
                self.server.stop()
            else:
                self.server.kill()
            self.start()
            self.assertGreaterEqual(self.bitmaps()["b"]["count"], before["count"])
            self.assertEqual(self.bitmaps()["b"]["count"] == before["count"], end == "stop")
        self.server.stop()

    def test_a_raw_node_with_an_offset(self):
        """A store above a part of a file knows the part."""
        def arguments(offset):
            return ["--blockdev", f"driver=raw,node-name=disk,offset={offset},size={8 * MIB},file.driver=file,"
                                  "file.filename=disk.img,bitmap-store.filename=disk.bitmaps",
                    "--export", "type=nbd,id=e,node-name=disk,name=disk,writable=on"]

        self.start(arguments(MIB))
        self.add()
        self.write(MIB, b"x")
        before = self.bitmaps()
        self.server.stop()
        self.assertIn("it belongs to another image", self.refusal(arguments(2 * MIB)))
        self.start(arguments(MIB))
        self.assertEqual(self.bitmaps(), before)
        self.server.stop()


class RefusalTest(StoreTest):
    """Stores that do not fit."""

    def leave_store(self):
        """A clean store with a bitmap, and the image of that moment."""
        self.start()
        self.add()
        self.write(0, b"x")
        self.server.stop()

    def test_a_foreign_write(self):
        """An image that another program has written since."""
        self.leave_store()
        with open(self.image, "r+b") as file:
            file.seek(MIB)
            file.write(b"y")
        refusal = self.refusal()
        self.assertIn("the image was changed without its bitmaps", refusal)
        self.assertIn("Remove the file to begin with new bitmaps", refusal)

    def test_another_image(self):
        """A copy of the image, and an image of another size."""
        self.leave_store()
        shutil.copy2(self.image, os.path.join(self.workdir, "copy.img"))
        self.assertIn("it belongs to another image", self.refusal(self.options("copy.img")))
        os.truncate(self.image, SIZE + MIB)
        self.assertIn(f"the image has {SIZE + MIB} bytes, and had {SIZE}", self.refusal())

    def test_a_store_in_use(self):
        """Two servers on one store."""
        self.start()
        self.add()
        images.make_empty(os.path.join(self.workdir, "other.img"), SIZE)
        self.assertIn("another process uses it", self.refusal(self.options("other.img")))
        self.server.stop()

    def test_a_damaged_store(self):
        """Truncated, empty, and no store."""
        self.leave_store()
        os.truncate(self.store, 5000)
        self.assertIn("it is truncated", self.refusal())
        os.truncate(self.store, 0)
        self.assertIn("it is empty", self.refusal())
        with open(self.store, "wb") as file:
            file.write(b"x" * 20_000)
        self.assertIn("it is no bitmap store", self.refusal())

    def test_no_store_where_none_may_be_made(self):
        """A missing file with create=off, a missing directory, and nodes without an image."""
        self.assertIn("No such file or directory", self.refusal(self.options(extra=",bitmap-store.create=off")))
        self.assertIn("No such file or directory", self.refusal(self.options(store="nowhere/x")))
        refusal = self.refusal(["--blockdev", "driver=null-co,node-name=n,bitmap-store.filename=x"])
        self.assertIn("Block driver 'null-co' cannot recognise its image later", refusal)
        self.assertFalse(os.path.exists(os.path.join(self.workdir, "x")))
        refusal = self.refusal(self.options(extra=",bitmap-store.checkpoint-interval-seconds=0"))
        self.assertIn("checkpoint-interval-seconds must be from 1 to 86400", refusal)

    def test_writers_beside_the_node(self):
        """Nobody writes the image past the bitmaps: no other process, and no user of a node below."""
        self.start(["--blockdev", "driver=file,node-name=f,filename=disk.img",
                    "--blockdev", "driver=raw,node-name=disk,file=f,bitmap-store.filename=disk.bitmaps"])
        self.assertIn("Permission conflict on node 'f'",
                      self.error_of("block-export-add", type="nbd", id="f", node_name="f", writable=True))
        self.execute("block-export-add", type="nbd", id="r", node_name="f", writable=False)
        self.execute("block-export-add", type="nbd", id="e", node_name="disk", writable=True)
        self.server.stop()


class DeviceTest(StoreTest):
    """Block devices."""

    def attach_loop(self):
        """A loop device above the image."""
        if os.geteuid() != 0 or not shutil.which("losetup", path=tools.PATH):
            raise unittest.SkipTest("a loop device needs root and losetup")
        made = tools.finish("losetup", "--find", "--show", self.image)
        if made.returncode:
            raise unittest.SkipTest("there is no loop device here")
        self.addCleanup(tools.finish, "losetup", "-d", made.stdout.strip())
        return made.stdout.strip()

    def test_a_block_device(self):
        """The bitmaps of a device survive, and a write of another program is noticed."""
        device = self.attach_loop()
        options = ["--blockdev", f"driver=host_device,node-name=disk,filename={device},"
                                 "bitmap-store.filename=disk.bitmaps",
                   "--export", "type=nbd,id=e,node-name=disk,name=disk,writable=on"]
        self.start(options)
        self.add()
        self.write(MIB, b"x" * 512)
        before = self.bitmaps()
        self.server.stop()
        with open(device, "rb") as reader:
            reader.read(MIB)
        self.start(options)
        self.assertEqual(self.bitmaps(), before)
        self.server.stop()
        with open(device, "r+b", buffering=0) as writer:
            writer.write(b"y" * 4096)
            os.fsync(writer.fileno())
        self.assertIn("the image was changed without its bitmaps", self.refusal(options))


class LostStoreTest(StoreTest):
    """A store that cannot record changes."""

    def test_a_full_disk(self):
        """The writer goes on; later the bitmaps can be listed and removed, not used; then new ones can be added."""
        small = small_disk.mount(self)
        self.store = os.path.join(small, "disk.bitmaps")
        options = self.options(store=self.store)
        self.start(options)
        self.add("b")
        self.add("c")
        small_disk.fill(small, self.store)
        self.write(8 * MIB, b"x" * 512)
        self.write(9 * MIB, b"x" * 512)
        self.assertEqual(self.bitmaps()["b"]["count"], 2 * GRANULARITY)
        self.server.stop()
        self.start(options)
        listed = self.bitmaps()
        self.assertEqual([listed[name]["inconsistent"] for name in "bc"], [True, True])
        self.assertIn("Bitmap 'b' is inconsistent and cannot be used",
                      self.error_of("block-dirty-bitmap-clear", node="disk", name="b"))
        os.remove(os.path.join(small, "filler"))
        self.execute("block-dirty-bitmap-remove", node="disk", name="b")
        self.assertIn("Could not change bitmap store",
                      self.error_of("block-dirty-bitmap-add", node="disk", name="d", persistent=True))
        self.execute("block-dirty-bitmap-remove", node="disk", name="c")
        self.add("d")
        self.write(10 * MIB, b"x" * 512)
        before = self.bitmaps()
        self.server.stop()
        self.start(options)
        self.assertEqual(self.bitmaps(), before)
        self.server.stop()


class KillTest(StoreTest):
    """Kills at random moments."""

    def test_no_dirty_block_is_called_clean(self):
        """After every kill each block that differs from the last backup is dirty in the bitmap."""
        generator = random.Random(KILLS)
        base = os.path.join(self.workdir, "base.img")
        self.start(self.options(extra=",bitmap-store.checkpoint-interval-seconds=1"))
        self.add()
        shutil.copyfile(self.image, base)
        for number in range(KILLS):
            with self.subTest(kill=number):
                self.load_and_kill(generator)
                self.start(self.options(extra=",bitmap-store.checkpoint-interval-seconds=1"))
                self.check(base)
                if number % 5 == 4:
                    # A full backup.
                    self.execute("block-dirty-bitmap-clear", node="disk", name="b")
                    shutil.copyfile(self.image, base)
        self.server.stop()

    def load_and_kill(self, generator):
        """Writers on several connections, and a kill after a random time, in which there are checkpoints sometimes."""
        # Each load changes a few regions, so that others stay clean.
        places = [generator.randrange(SIZE // MIB) * MIB for _ in range(4)]
        writers = [threading.Thread(target=self.write_until_killed, args=(self.connect(), places, generator.random()))
                   for _ in range(3)]
        for writer in writers:
            writer.start()
        # The moment is random, so nothing is waited for.
        time.sleep(generator.random() * generator.choice((0.2, 0.2, 0.2, 2.5)))
        self.server.kill()
        for writer in writers:
            writer.join(20)

    @staticmethod
    def write_until_killed(connection, places, seed):
        """Random writes, zeroes and trims in the megabytes that begin at `places`."""
        generator = random.Random(seed)
        with contextlib.suppress(OSError, AssertionError):
            while True:
                length = generator.choice((512, 4096, 65536))
                offset = generator.choice(places) + generator.randrange((MIB - length) // 512 + 1) * 512
                if generator.random() < 0.8:
                    connection.write(offset, generator.randbytes(length))
                else:
                    connection.call(generator.choice((CMD_TRIM, CMD_WRITE_ZEROES)), offset, length)
        connection.close()

    def check(self, base):
        """Compares image and base, block by block, with the bitmap."""
        self.execute("block-export-add", type="nbd", id="map", node_name="disk", name="map", writable=True,
                     bitmaps=["b"])
        dirty = self.dirty_blocks()
        self.execute("block-export-del", id="map", mode="hard")
        self.assertLess(len(dirty), SIZE // GRANULARITY)
        with open(base, "rb") as old, open(self.image, "rb") as new:
            for block in range(SIZE // GRANULARITY):
                if old.read(GRANULARITY) != new.read(GRANULARITY):
                    self.assertIn(block, dirty, "a block that was changed is clean")

    def dirty_blocks(self):
        """The dirty granules of the bitmap."""
        connection = nbd_raw.Connection(self.server.connect_nbd())
        connection.negotiate("map", "structured", ["qemu:dirty-bitmap:b"])
        dirty = set()
        offset = 0
        while offset < SIZE:
            for length, status in connection.block_status(offset, SIZE - offset):
                if status:
                    dirty.update(range(offset // GRANULARITY, -(-(offset + length) // GRANULARITY)))
                offset += length
        connection.close()
        return dirty


if __name__ == "__main__":
    unittest.main()

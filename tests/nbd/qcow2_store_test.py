"""Bitmaps in qcow2 images survive kill -9 with a bitmap store beside the image, and the image stays QEMU's.

BLOCKEXPORT_KILLS sets the number of kills of KillTest.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import threading
import time
import unittest

import qcow2_bitmaps_test as bitmaps
from lib import images, nbd_raw, settings, small_disk, tools, wait
from lib.images import MIB
from lib.nbd_wire import *

SIZE = bitmaps.SIZE
GRANULARITY = bitmaps.GRANULARITY
KILLS = int(os.environ.get("BLOCKEXPORT_KILLS", "8"))
FEATURES_OFFSET = 88


class StoreTest(bitmaps.BitmapsTest):
    """An image with a store, and servers on it, one after the other."""

    @settings.unlike_qemu("bitmap stores are an extension")
    def setUp(self):
        super().setUp()
        self.store = os.path.join(self.workdir, "disk.bitmaps")
        self.plain = self.node
        self.node = {**self.plain, "bitmap-store": {"filename": self.store, "checkpoint-interval-seconds": 1}}

    def start_without(self, program=None, **options):
        """A server with the image without its store."""
        self.node, with_store = self.plain, self.node
        self.start(program, **options)
        self.node = with_store

    def refusal(self, node=None):
        """The error with which a server refuses the node."""
        program = [settings.program(), *settings.extra_arguments(), "--blockdev", json.dumps(node or self.node)]
        ended = subprocess.run(program, cwd=self.workdir, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                               timeout=settings.seconds(20), check=False)
        self.assertEqual(ended.returncode, 1, ended.stderr)
        return ended.stderr

    def log(self):
        """What the present server has logged."""
        return self.server.stderr().decode()

    def session(self):
        """The number in the header."""
        with open(self.image, "rb") as file:
            file.seek(FEATURES_OFFSET)
            return int.from_bytes(file.read(8), "big") >> 32

    def kill(self):
        """kill -9; the image is sound for QEMU, which sees inconsistent bitmaps."""
        self.server.kill()

        def checked():
            result = tools.finish("qemu-img", "check", "--output=json", "-f", "qcow2", self.image)
            # The kernel keeps the locks of a killed process for a little longer than the process.
            return None if "Failed to get" in result.stderr else result

        result = wait.until(checked, what="the end of the locks")
        self.assertIn(result.returncode, (0, 3), result.stderr)
        report = json.loads(result.stdout)
        self.assertEqual((report.get("corruptions", 0), report["check-errors"]), (0, 0), report)
        for name, flags in self.flags().items():
            self.assertIn("in-use", flags, name)

    def begin(self):
        """An image with the bitmap `b` that qemu-img made, a server with the store, and a write."""
        self.create()
        self.bitmap("--add", "b")
        self.start()
        self.write((MIB, 512))

    def inconsistent(self):
        """The names of inconsistent bitmaps."""
        return sorted(name for name, each in self.listed().items() if each.get("inconsistent"))

    def assert_dirty(self, name, *offsets):
        """The granules at these offsets are dirty."""
        ranges = self.dirty(name)
        for offset in offsets:
            self.assertTrue(any(begin <= offset < begin + length for begin, length in ranges), (name, offset, ranges))


class LifeTest(StoreTest):
    """Ends of all kinds."""

    def test_clean_end(self):
        """QEMU has the bitmaps after a clean end, and nothing of the store is left in the image."""
        self.begin()
        self.assertNotEqual(self.session(), 0)
        self.assertEqual(self.flags(), {"b": ["auto", "in-use"]})
        self.add("new")
        self.write((5 * MIB, 512))
        self.stop()
        self.assertEqual(self.session(), 0)
        self.assertEqual(self.flags(), {"b": ["auto"], "new": ["auto"]})
        self.start_without(settings.REFERENCE)
        self.assertEqual(self.dirty("b"), [(MIB, GRANULARITY), (5 * MIB, GRANULARITY)])
        self.assertEqual(self.dirty("new"), [(5 * MIB, GRANULARITY)])
        self.write((7 * MIB, 512))
        self.end()
        self.start()
        self.assert_dirty("b", MIB, 5 * MIB, 7 * MIB)
        self.assert_dirty("new", 5 * MIB, 7 * MIB)
        self.stop()

    def test_kill(self):
        """After kill -9 every bitmap is there with every change, for this server alone."""
        self.begin()
        self.add("new")
        self.write((5 * MIB, 512))
        self.kill()
        self.start_without(settings.REFERENCE, **{"read-only": True})
        self.assertEqual(self.inconsistent(), ["b"])
        self.end()
        self.start(**{"read-only": True})
        self.assertEqual(self.inconsistent(), [])
        self.assertIn((MIB, MIB), self.dirty("b", writable=False))
        self.end()
        self.start()
        self.assertEqual(self.inconsistent(), [])
        self.assert_dirty("b", MIB, 5 * MIB)
        self.assert_dirty("new", 5 * MIB)
        self.assertLess(self.listed()["b"]["count"], 4 * MIB)
        self.write((9 * MIB, 512))
        self.kill()
        self.start()
        self.assert_dirty("b", MIB, 5 * MIB, 9 * MIB)
        digests = [self.digest(name) for name in ("b", "new")]
        self.stop()
        self.assertEqual(self.flags(), {"b": ["auto"], "new": ["auto"]})
        self.start_without(settings.REFERENCE)
        self.assertEqual([self.digest(name) for name in ("b", "new")], digests)
        self.end()

    def test_commands(self):
        """Removal, clear, merge, enabling and disabling survive a kill; what a failed transaction did does not."""
        self.create()
        self.start()
        for name in ("kept", "gone", "cleared", "merged", "disabled"):
            self.add(name)
        self.add("enabled", disabled=True)
        self.write((MIB, 512))
        self.execute("block-dirty-bitmap-add", node="disk", name="source", granularity=GRANULARITY)
        self.write((8 * MIB, MIB))
        actions = [{"type": "block-dirty-bitmap-remove", "data": {"node": "disk", "name": "gone"}},
                   {"type": "block-dirty-bitmap-clear", "data": {"node": "disk", "name": "cleared"}},
                   {"type": "block-dirty-bitmap-clear", "data": {"node": "disk", "name": "merged"}},
                   {"type": "block-dirty-bitmap-merge",
                    "data": {"node": "disk", "target": "merged", "bitmaps": ["source"]}},
                   {"type": "block-dirty-bitmap-disable", "data": {"node": "disk", "name": "disabled"}},
                   {"type": "block-dirty-bitmap-enable", "data": {"node": "disk", "name": "enabled"}}]
        before = self.listed()
        self.error_of("transaction", actions=[*actions, {"type": "abort", "data": {}}])
        self.assertEqual(self.listed(), before)
        self.execute("transaction", actions=actions)
        before = self.listed()
        del before["source"]
        self.assertEqual((before["cleared"]["count"], before["merged"]["count"]), (0, MIB))
        self.kill()
        self.start()
        after = self.listed()
        self.assertEqual(set(after), set(before))
        for name, each in before.items():
            self.assertEqual(after[name]["recording"], each["recording"], name)
            self.assertGreaterEqual(after[name]["count"], each["count"], name)
        self.assert_dirty("merged", 8 * MIB)
        self.stop()

    def test_checkpoint(self):
        """Regions that were changed long ago are not dirty as a whole after a kill."""
        self.begin()
        digest = images.sha256(self.store)

        def has_two_checkpoints():
            nonlocal digest, changes
            now = images.sha256(self.store)
            changes += now != digest
            digest = now
            return changes >= 2

        changes = 0
        wait.until(has_two_checkpoints, 20, "checkpoints")
        self.kill()
        self.start()
        self.assertEqual(self.dirty("b"), [(MIB, GRANULARITY)])
        self.stop()

    def test_resize(self):
        """A new size survives with the bitmaps."""
        self.begin()
        self.execute("block_resize", node_name="disk", size=2 * SIZE)
        self.write((SIZE + MIB, 512))
        self.kill()
        self.start()
        self.assertEqual(self.inconsistent(), [])
        self.assert_dirty("b", MIB)
        count = self.listed()["b"]["count"]
        self.assertGreaterEqual(count, 2 * GRANULARITY)
        self.execute("block_resize", node_name="disk", size=4 * MIB)
        self.kill()
        self.start()
        self.assertEqual(self.inconsistent(), [])
        self.assertGreaterEqual(self.listed()["b"]["count"], GRANULARITY)
        self.stop()

    def test_reopen(self):
        """A reopen ends the use of the store, and begins it; without a store a kill leaves inconsistent bitmaps."""
        self.begin()
        self.execute("blockdev-reopen", options=[{**self.node, "read-only": True}])
        self.assertEqual((self.flags(), self.session()), ({"b": ["auto"]}, 0))
        self.execute("blockdev-reopen", options=[self.node])
        self.assertNotEqual(self.session(), 0)
        self.write((3 * MIB, 512))
        self.execute("blockdev-reopen", options=[self.plain])
        self.assertEqual((self.flags(), self.session()), ({"b": ["auto", "in-use"]}, 0))
        self.write((5 * MIB, 512))
        self.execute("blockdev-reopen", options=[self.node])
        self.write((7 * MIB, 512))
        self.kill()
        self.start_without(**{"read-only": True})
        self.assertEqual(self.inconsistent(), ["b"])
        self.assertIn("has the bitmaps of an image that was not closed",
                      self.error_of("blockdev-reopen", options=[self.node]))
        self.end()
        self.start()
        self.assert_dirty("b", MIB, 3 * MIB, 5 * MIB, 7 * MIB)
        self.execute("blockdev-reopen", options=[self.plain])
        self.kill()
        self.start()
        self.assertEqual(self.inconsistent(), ["b"])
        self.stop()

    def test_blockdev_del(self):
        """The removal of the node ends the use of the store."""
        self.begin()
        self.execute("blockdev-del", node_name="disk")
        self.assertEqual((self.flags(), self.session()), ({"b": ["auto"]}, 0))
        self.execute("blockdev-add", **self.node)
        self.write((3 * MIB, 512))
        self.kill()
        self.start()
        self.assert_dirty("b", MIB, 3 * MIB)
        self.stop()

    def test_data_file(self):
        """An image whose data are in another file."""
        self.create("-o", f"data_file={os.path.join(self.workdir, 'data')}")
        self.start()
        self.add()
        self.write((MIB, 512))
        self.kill()
        self.start()
        self.assert_dirty("b", MIB)
        self.kill()
        shutil.copyfile(os.path.join(self.workdir, "data"), os.path.join(self.workdir, "copy"))
        other = {**self.node, "data-file": {"driver": "file", "filename": "copy"}}
        self.assertIn("it belongs to another image", self.refusal(other))


class BindingTest(StoreTest):
    """No store restores bitmaps that miss changes."""

    def assert_lost(self, text="it did not record the last changes of the image"):
        """The bitmap is inconsistent, and the log says why; a new one is recorded."""
        self.start()
        self.assertEqual(self.inconsistent(), ["b"])
        wait.until(lambda: f"cannot restore the bitmaps of its image that were in use: {text}" in self.log() or None,
                   what="the warning")
        self.execute("block-dirty-bitmap-remove", node="disk", name="b")
        self.add("c")
        self.write((3 * MIB, 512))
        self.kill()
        self.start()
        self.assertEqual(self.inconsistent(), [])
        self.assert_dirty("c", 3 * MIB)
        self.stop()

    def test_written_by_qemu(self):
        """QEMU has changed the image since the crash."""
        self.begin()
        self.kill()
        tools.run("qemu-io", "-f", "qcow2", "-c", "write 9M 64k", self.image)
        self.assert_lost()

    def test_opened_by_qemu(self):
        """It has opened the image for writing: qemu-img check for a repair."""
        self.begin()
        self.kill()
        tools.run("qemu-img", "check", "-q", "-r", "leaks", self.image)
        self.assert_lost()

    def test_read_by_qemu(self):
        """What only reads the image does no harm."""
        self.begin()
        self.kill()
        tools.run("qemu-io", "-r", "-f", "qcow2", "-c", "read 0 1M", self.image)
        tools.run("qemu-img", "convert", "-O", "raw", self.image, os.path.join(self.workdir, "out"))
        self.start()
        self.assert_dirty("b", MIB)
        self.stop()

    def test_written_without_the_store(self):
        """This server has changed the image without the store, and was killed too."""
        self.begin()
        self.kill()
        self.start_without()
        self.write((9 * MIB, 512))
        self.kill()
        self.assert_lost()

    def test_a_new_store(self):
        """The store is missing."""
        self.begin()
        self.kill()
        os.remove(self.store)
        self.assert_lost()

    def test_a_copy_of_the_store(self):
        """A store that was kept during the session, and brought back."""
        self.begin()
        shutil.copyfile(self.store, self.store + ".old")
        self.write((9 * MIB, 512))
        self.kill()
        os.replace(self.store + ".old", self.store)
        self.assert_lost()

    def test_an_older_store(self):
        """The content of a store of an earlier session, in the same file."""
        self.begin()
        self.kill()
        with open(self.store, "rb") as file:
            old = file.read()
        self.start()
        self.stop()
        self.start()
        self.write((9 * MIB, 512))
        self.kill()
        with open(self.store, "r+b") as file:
            file.write(old)
        self.assert_lost()

    def test_a_store_of_another_image(self):
        """Another image, a copy of the image, and a store that a raw node has."""
        self.begin()
        self.kill()
        shutil.copyfile(self.image, os.path.join(self.workdir, "copy.qcow2"))
        copy = {**self.node, "file": {"driver": "file", "filename": "copy.qcow2"}}
        self.assertIn("it belongs to another image", self.refusal(copy))
        raw = {"driver": "file", "node-name": "disk", "filename": "disk.qcow2",
               "bitmap-store": {"filename": self.store}}
        self.assertIn("it belongs to another image", self.refusal(raw))
        self.start()
        self.assert_dirty("b", MIB)
        copy["node-name"] = "other"
        self.assertIn("another process uses it", self.error_of("blockdev-add", **copy))
        self.stop()

    def test_an_older_image(self):
        """An image of before the session, in the same file."""
        self.create()
        self.bitmap("--add", "b")
        with open(self.image, "rb") as file:
            old = file.read()
        self.start()
        self.write((MIB, 512))
        self.kill()
        with open(self.image, "r+b") as file:
            file.truncate()
            file.write(old)
        self.start()
        self.assertEqual(self.listed()["b"]["count"], 0)
        self.stop()

    def test_version_2(self):
        """Such an image has no bitmaps."""
        self.create("-o", "compat=0.10")
        self.assertIn("Cannot store dirty bitmaps in qcow2 v2 files", self.refusal())


class LostStoreTest(StoreTest):
    """A store that cannot record changes."""

    def test_a_full_disk(self):
        """The writer goes on. A clean end stores the bitmaps; a kill leaves inconsistent ones."""
        small = small_disk.mount(self)
        self.store = self.node["bitmap-store"]["filename"] = os.path.join(small, "disk.bitmaps")
        self.begin()
        small_disk.fill(small, self.store)
        self.write((8 * MIB, 512))
        wait.until(lambda: "cannot record changes" in self.log() or None, what="the warning")
        self.stop()
        self.assertEqual(self.flags(), {"b": ["auto"]})
        os.remove(os.path.join(small, "filler"))
        self.start()
        self.assertEqual(self.dirty("b"), [(MIB, GRANULARITY), (8 * MIB, GRANULARITY)])
        small_disk.fill(small, self.store)
        self.write((12 * MIB, 512))
        self.kill()
        os.remove(os.path.join(small, "filler"))
        self.start()
        self.assertEqual(self.inconsistent(), ["b"])
        wait.until(lambda: "it could not record changes: No space left on device" in self.log() or None,
                   what="the warning")
        self.stop()


class KillTest(StoreTest):
    """Kills under load at random moments."""

    def content(self):
        """The disk, as QEMU reads it."""
        path = os.path.join(self.workdir, "content")
        tools.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", self.image, path, cwd=self.workdir)
        with open(path, "rb") as file:
            return file.read()

    def test_no_dirty_block_is_called_clean(self):
        """After every kill each block that differs from the last backup is dirty."""
        generator = random.Random(KILLS)
        self.create("-o", "cluster_size=16k")
        self.start()
        self.add()
        self.execute("block-dirty-bitmap-add", node="disk", name="never", persistent=True, disabled=True)
        base = bytes(SIZE)
        for number in range(KILLS):
            with self.subTest(kill=number):
                self.load_and_kill(generator)
                content = self.content()
                self.start()
                self.assertEqual(self.inconsistent(), [])
                ranges = self.dirty("b")
                self.assertLess(sum(length for _, length in ranges), SIZE)
                dirty = {block for offset, length in ranges
                         for block in range(offset // GRANULARITY, -(-(offset + length) // GRANULARITY))}
                for block in range(SIZE // GRANULARITY):
                    piece = slice(block * GRANULARITY, (block + 1) * GRANULARITY)
                    if base[piece] != content[piece]:
                        self.assertIn(block, dirty, "a block that was changed is clean")
                if number % 3 == 2:
                    # A full backup.
                    self.execute("block-dirty-bitmap-clear", node="disk", name="b")
                    base = content
        self.server.stop()
        self.assertEqual(self.session(), 0)
        # The kills have left clusters that nothing uses, and nothing worse.
        tools.run("qemu-img", "check", "-q", "-r", "leaks", "-f", "qcow2", self.image)
        self.check()

    def load_and_kill(self, generator):
        """Writers on several connections, and a kill after a random time, in which there are checkpoints sometimes."""
        self.export()
        # Each load changes a few regions, so that others stay clean.
        places = [generator.randrange(SIZE // MIB) * MIB for _ in range(3)]
        connections = [nbd_raw.Connection(self.server.connect_nbd()) for _ in range(3)]
        writers = [threading.Thread(target=self.write_until_killed, args=(each, places, generator.random()))
                   for each in connections]
        for writer in writers:
            writer.start()
        # The moment is random, so nothing is waited for.
        time.sleep(generator.random() * generator.choice((0.2, 0.2, 0.2, 2.5)))
        self.kill()
        for writer in writers:
            writer.join(20)

    @staticmethod
    def write_until_killed(connection, places, seed):
        """Random writes, zeroes, trims and flushes in the megabytes that begin at `places`."""
        generator = random.Random(seed)
        with contextlib.suppress(OSError, EOFError, AssertionError, nbd_raw.Closed):
            connection.negotiate("disk")
            while True:
                length = generator.choice((512, 4096, 65536))
                offset = generator.choice(places) + generator.randrange((MIB - length) // 512 + 1) * 512
                action = generator.random()
                if action < 0.8:
                    connection.write(offset, generator.randbytes(length))
                elif action < 0.9:
                    connection.call(generator.choice((CMD_TRIM, CMD_WRITE_ZEROES)), offset, length)
                else:
                    connection.call(CMD_FLUSH)
        connection.close()


if __name__ == "__main__":
    unittest.main()

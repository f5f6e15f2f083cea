"""Points in time of a disk in use: copy-before-write and snapshot-access below and beside a live export."""

import contextlib
import hashlib
import json
import os
import random
import re
import threading
import time

from lib import images, settings, tools
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, nbd_export

SIZE = 16 * MIB
CLUSTER = 64 * KIB
BLOCK = 4 * KIB


class FrozenDiskTest(DaemonTest):
    """A disk behind a raw node, which the export `disk` shows, and scratch space for two points in time.

    Each test freezes the disk by itself. The raw node is the one below which filters come and go.
    """

    @classmethod
    def prepare(cls):
        cls.disk = images.make_random(cls.path("disk.img"), SIZE)
        cls.scratch = [images.make_empty(cls.path(f"scratch{i}.img"), SIZE) for i in range(2)]
        return [*file_node("file", cls.disk, discard="unmap"),
                "--blockdev", "driver=raw,node-name=disk,file=file,discard=unmap",
                *nbd_export("disk", writable="on")]

    def setUp(self):
        for i in range(2):
            self.add_node(f"scratch{i}", driver="file", filename=self.scratch[i], discard="unmap")

    def put_below_disk(self, node):
        """Makes the raw node stand on that node."""
        self.qmp.execute("blockdev-reopen", {"options": [
            {"driver": "raw", "node-name": "disk", "file": node, "discard": "unmap"}]})

    def insert(self, name, target="scratch0", file="file", **options):
        """Puts a copy-before-write node in, above `file`."""
        self.qmp.execute("blockdev-add", {"driver": "copy-before-write", "node-name": name, "file": file,
                                          "target": target, "discard": "unmap", **options})
        self.put_below_disk(name)

    def expose(self, name):
        """Exports the point in time of that filter under its name."""
        self.qmp.execute("blockdev-add", {"driver": "snapshot-access", "node-name": f"{name}-access", "file": name,
                                          "discard": "unmap"})
        self.qmp.execute("block-export-add", {"type": "nbd", "id": name, "node-name": f"{name}-access", "name": name,
                                              "writable": True})

    def withdraw(self, name, file="file"):
        """Takes export, access and filter away again."""
        self.drop_export(name)
        self.qmp.execute("blockdev-del", {"node-name": f"{name}-access"})
        self.put_below_disk(file)
        self.qmp.execute("blockdev-del", {"node-name": name})

    @contextlib.contextmanager
    def frozen(self, name="frozen", target="scratch0", **options):
        """A point in time, while the block runs."""
        self.insert(name, target, **options)
        try:
            self.expose(name)
            yield
        finally:
            self.withdraw(name)

    def reads(self, export, offset, length=512):
        """The error of a read; 0 when it succeeds."""
        reply = self.session(export, "structured").call(CMD_READ, offset, length, judge=False)
        return reply.error


class Writers:
    """Clients that write blocks of the disk at random until they are stopped."""

    def __init__(self, test, count=3, may_fail=False):
        self.lock = threading.RLock()
        self.written = 0
        self.errors = []
        self.may_fail = may_fail
        self.stopping = False
        self.threads = [threading.Thread(target=self._run, args=(test.session("disk"), seed)) for seed in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for thread in self.threads:
            thread.join()

    def _run(self, client, seed):
        generator = random.Random(seed)
        while not self.stopping:
            offset = generator.randrange(SIZE // BLOCK) * BLOCK
            kind = generator.randrange(8)
            if kind == 0:
                error = client.call(CMD_WRITE_ZEROES, offset, BLOCK).error
            elif kind == 1:
                error = client.call(CMD_TRIM, offset, BLOCK).error
            else:
                error = client.write(offset, generator.randbytes(BLOCK))
            if error:
                self.errors.append(error)
            self.written += 1
            with self.lock:
                pass

    @contextlib.contextmanager
    def paused(self):
        """Nobody writes while the block runs: what is under way has ended when it begins."""
        with self.lock:
            # A write that began before takes no longer than this; each writer stops behind its next one.
            before = -1
            while before != self.written:
                before = self.written
                time.sleep(0.2)
            yield

    def wait_for(self, count):
        """Waits until so many more writes are done."""
        goal = self.written + count
        deadline = time.monotonic() + settings.seconds(30)
        while self.written < goal:
            if time.monotonic() > deadline:
                raise AssertionError("the writers do not get on")
            time.sleep(0.01)


class PointInTimeTest(FrozenDiskTest):
    """What readers of a point in time get."""

    def test_foreign_clients_copy_the_frozen_disk_while_others_write(self):
        """nbdcopy and qemu-img get the bytes of the moment at which the filter came in."""
        with Writers(self) as writers:
            with writers.paused():
                frozen = images.sha256(self.disk)
                self.insert("frozen")
            try:
                self.expose("frozen")
                writers.wait_for(100)
                copy = self.path("copy.img")
                tools.run("nbdcopy", "--connections=2", self.uri("frozen"), copy)
                self.assertEqual(images.sha256(copy), frozen)
                writers.wait_for(100)
                converted = self.path("converted.img")
                tools.run("qemu-img", "convert", "-f", "raw", "-O", "raw",
                          self.uri("frozen"), converted)
                self.assertEqual(images.sha256(converted), frozen)
            finally:
                self.withdraw("frozen")
        self.assertEqual(writers.errors, [])
        self.assertNotEqual(images.sha256(self.disk), frozen)

    def test_two_points_in_time_are_kept_at_once(self):
        """A later filter above an earlier one: each reader has its own moment, and the newest bytes are the disk's."""
        with Writers(self) as writers:
            expected = {}
            for number, name in enumerate(("first", "second")):
                with writers.paused():
                    expected[name] = images.sha256(self.disk)
                    self.insert(name, f"scratch{number}", "file" if number == 0 else "first")
                self.expose(name)
                writers.wait_for(100)
            for name, checksum in expected.items():
                content = hashlib.sha256(b"".join(self.session(name).read(at, MIB) for at in range(0, SIZE, MIB)))
                self.assertEqual(content.hexdigest(), checksum, name)
        self.assertEqual(writers.errors, [])
        self.assertNotEqual(expected["first"], expected["second"])
        self.assertEqual(self.session("disk").read(0, MIB), images.read_range(self.disk, 0, MIB))
        self.withdraw("second", "first")
        self.withdraw("first")

    def test_insertion_and_removal_a_hundred_times(self):
        """Clients that write meanwhile see no error and lose no write, and no reader of a moment sees it move."""
        with Writers(self) as writers:
            for cycle in range(settings.repetitions(100, 1000)):
                with self.frozen():
                    reader = self.session("frozen")
                    offset = random.Random(cycle).randrange(SIZE // CLUSTER) * CLUSTER
                    first = reader.read(offset, CLUSTER)
                    writers.wait_for(5)
                    self.assertEqual(reader.read(offset, CLUSTER), first)
        self.assertEqual(writers.errors, [])
        self.assertEqual(self.session("disk").read(0, MIB), images.read_range(self.disk, 0, MIB))

    def test_a_cluster_is_copied_once(self):
        """Only clusters that change take scratch space."""
        if not images.makes_holes(self.workdir):
            self.skipTest("the file system has no holes")
        images.make_empty(self.scratch[1], SIZE)
        before = images.allocated(self.scratch[1])
        with self.frozen(target="scratch1"):
            writer = self.session("disk")
            for _ in range(20):
                self.assertEqual(writer.write(5 * CLUSTER + 100, b"x" * 1000), 0)
            self.assertEqual(images.allocated(self.scratch[1]) - before, CLUSTER)

    def test_block_status_is_that_of_the_moment(self):
        """Holes that were written since are still holes there, and data that were discarded since still data."""
        self.assertEqual(self.session("disk").call(CMD_WRITE_ZEROES, 0, 4 * CLUSTER).error, 0)
        self.assertEqual(self.session("disk").write(4 * CLUSTER, b"x" * CLUSTER), 0)
        with self.frozen():
            reader = self.session("frozen", "structured", ["base:allocation"])
            before = reader.block_status(0, 8 * CLUSTER)
            self.assertEqual(self.session("disk").write(CLUSTER, b"y" * CLUSTER), 0)
            self.assertEqual(self.session("disk").call(CMD_TRIM, 4 * CLUSTER, CLUSTER).error, 0)
            after = self.session("frozen", "structured", ["base:allocation"]).block_status(0, 8 * CLUSTER)
            self.assertEqual(zeroes(after), zeroes(before))
            self.assertEqual(zeroes(after)[0], (0, 4 * CLUSTER))

    def test_what_was_read_can_be_dropped(self):
        """A discard gives scratch space back, and those bytes cannot be read any more."""
        with self.frozen():
            self.assertEqual(self.session("disk").write(2 * CLUSTER, b"x"), 0)
            before = images.allocated(self.scratch[0])
            backup = self.session("frozen")
            # Only whole clusters go.
            self.assertEqual(backup.call(CMD_TRIM, 2 * CLUSTER - 1000, CLUSTER + 2000).error, 0)
            self.assertEqual(self.reads("frozen", 2 * CLUSTER), EINVAL)
            self.assertEqual(self.reads("frozen", 2 * CLUSTER - 512), 0)
            self.assertEqual(self.reads("frozen", 3 * CLUSTER), 0)
            if images.makes_holes(self.workdir):
                self.assertLess(images.allocated(self.scratch[0]), before)

    def test_only_the_clusters_of_a_bitmap_are_kept(self):
        """Others are not copied, and cannot be read by way of the point in time."""
        self.qmp.execute("block-dirty-bitmap-add", {"node": "file", "name": "changes"})
        self.addCleanup(self.qmp.command, "block-dirty-bitmap-remove", {"node": "file", "name": "changes"})
        writer = self.session("disk")
        self.assertEqual(writer.write(3 * CLUSTER, b"x" * 512), 0)
        with self.frozen(bitmap={"node": "file", "name": "changes"}):
            before = images.allocated(self.scratch[0])
            self.assertEqual(writer.write(CLUSTER, b"y" * 512), 0)
            self.assertEqual(images.allocated(self.scratch[0]), before)
            self.assertEqual(writer.write(3 * CLUSTER, b"y" * 512), 0)
            self.assertEqual(self.session("frozen").read(3 * CLUSTER, 512), b"x" * 512)
            self.assertEqual(self.reads("frozen", CLUSTER), EINVAL)
            self.assertEqual(self.reads("frozen", 4 * CLUSTER - 512, 1024), EINVAL)

    def test_the_point_in_time_cannot_be_written(self):
        """Its export can be writable, for discards; writes fail."""
        with self.frozen():
            for command in (CMD_WRITE, CMD_WRITE_ZEROES):
                payload = b"x" * 512 if command == CMD_WRITE else b""
                reply = self.session("frozen").call(command, 0, 512, payload=payload, judge=False)
                self.assertNotEqual(reply.error, 0)
            self.assertEqual(self.session("frozen").call(CMD_FLUSH).error, 0)

    def test_permissions(self):
        """The filter keeps writers away from its file, and the access takes nothing."""
        with self.frozen():
            graph = self.qmp.execute("x-debug-query-block-graph")
            names = {node["id"]: node["name"] for node in graph["nodes"]}
            found = {(names[edge["parent"]], edge["name"], names[edge["child"]]):
                     (sorted(edge["perm"]), sorted(edge["shared-perm"])) for edge in graph["edges"]}
        everything = ["consistent-read", "resize", "write", "write-unchanged"]
        self.assertEqual(found["frozen", "file", "file"],
                         (["consistent-read", "write"], ["consistent-read", "write-unchanged"]))
        self.assertEqual(found["frozen", "target", "scratch0"],
                         (["write"], ["consistent-read", "write", "write-unchanged"]))
        self.assertEqual(found["frozen-access", "file", "frozen"], ([], everything))

    def test_a_pull_backup_in_the_style_of_libvirt(self):
        """The transcript of a full and an incremental backup: bitmaps by transaction, filter, export, and the end."""
        writer = self.session("disk")
        execute = self.qmp.execute
        execute("transaction", {"actions": [
            {"type": "block-dirty-bitmap-add", "data": {"node": "file", "name": "checkpoint0"}}]})
        self.insert("backup")
        self.expose("backup")
        self.assertEqual(writer.write(7 * CLUSTER, b"n" * CLUSTER), 0)
        full = bytearray(self.session("backup").read(0, SIZE))
        self.withdraw("backup")
        # The next checkpoint ends the one before, of which the backup takes a copy.
        execute("transaction", {"actions": [
            {"type": "block-dirty-bitmap-add", "data": {"node": "file", "name": "checkpoint1"}},
            {"type": "block-dirty-bitmap-disable", "data": {"node": "file", "name": "checkpoint0"}},
            {"type": "block-dirty-bitmap-add", "data": {"node": "file", "name": "delta", "disabled": True}},
            {"type": "block-dirty-bitmap-merge", "data": {"node": "file", "target": "delta",
                                                          "bitmaps": ["checkpoint0"]}}]})
        frozen = images.read_range(self.disk, 0, SIZE)
        self.insert("backup", bitmap={"node": "file", "name": "delta"})
        self.expose("backup")
        self.assertEqual(writer.write(7 * CLUSTER, b"m" * CLUSTER), 0)
        full[7 * CLUSTER:8 * CLUSTER] = self.session("backup").read(7 * CLUSTER, CLUSTER)
        self.withdraw("backup")
        self.assertEqual(bytes(full), frozen)
        execute("transaction", {"actions": [
            {"type": "block-dirty-bitmap-remove", "data": {"node": "file", "name": name}}
            for name in ("delta", "checkpoint0", "checkpoint1")]})


class FailedCopyTest(FrozenDiskTest):
    """Scratch space that cannot take a copy, or takes too long."""

    def setUp(self):
        super().setUp()
        self.add_node("slow", driver="null-co", size=SIZE, **{"latency-ns": 3_000_000_000})
        if settings.qemu_version() is None:
            self.add_node("full", driver="null-co", size=SIZE // 2)

    @settings.unlike_qemu("it aborts")
    def test_full_scratch_space_fails_the_write_by_default(self):
        """The writer gets ENOSPC, and the point in time stays whole."""
        with self.frozen(target="full"):
            before = images.read_range(self.disk, SIZE // 2, CLUSTER)
            self.assertEqual(self.session("disk").write(SIZE // 2, b"x" * 512), ENOSPC)
            self.assertEqual(images.read_range(self.disk, SIZE // 2, CLUSTER), before)
            self.assertEqual(self.session("frozen").read(SIZE // 2, CLUSTER), before)

    @settings.unlike_qemu("it aborts")
    def test_full_scratch_space_fails_the_backup_when_asked_to(self):
        """The writer goes on, and every read of the point in time fails from then on."""
        with self.frozen(target="full", **{"on-cbw-error": "break-snapshot"}):
            self.assertEqual(self.reads("frozen", 0), 0)
            self.assertEqual(self.session("disk").write(SIZE // 2, b"x" * 512), 0)
            self.assertEqual(images.read_range(self.disk, SIZE // 2, 512), b"x" * 512)
            self.assertEqual(self.reads("frozen", 0), EINVAL)
            self.assertEqual(self.session("disk").write(SIZE - 512, b"x" * 512), 0)

    def test_a_slow_copy_fails_the_write_in_time(self):
        """After cbw-timeout seconds the write fails; the copy goes on, and then writes succeed."""
        with self.frozen(target="slow", **{"cbw-timeout": 1}):
            begin = time.monotonic()
            reply = self.session("disk").call(CMD_WRITE, 0, 512, payload=b"x" * 512, judge=False)
            self.assertEqual(reply.error, EINVAL)
            self.assertLess(time.monotonic() - begin, 2.9)
            self.assertEqual(self.reads("frozen", 0), 0)
            time.sleep(2.5)
            self.assertEqual(self.session("disk").write(0, b"x" * 512), 0)

    def test_a_slow_copy_fails_the_backup_when_asked_to(self):
        """After cbw-timeout seconds the write is done, later ones at once, and the point in time is lost."""
        with self.frozen(target="slow", **{"cbw-timeout": 1, "on-cbw-error": "break-snapshot"}):
            self.assertEqual(self.session("disk").write(0, b"x" * 512), 0)
            begin = time.monotonic()
            self.assertEqual(self.session("disk").write(CLUSTER, b"x" * 512), 0)
            self.assertLess(time.monotonic() - begin, 2)
            self.assertEqual(self.reads("frozen", 8 * CLUSTER), EINVAL)


class GuideTest(DaemonTest):
    """docs/guides/fleecing.md: its commands, in their order."""

    @classmethod
    def prepare(cls):
        cls.disk = images.make_random(cls.path("disk.img"), SIZE)
        images.make_empty(cls.path("scratch.img"), SIZE)
        return [*file_node("image", cls.disk, discard="unmap"),
                "--blockdev", "driver=raw,node-name=disk,file=image,discard=unmap",
                *nbd_export("disk", writable="on")]

    def commands(self):
        """What stands behind the arrows of the page, with the files of this test."""
        page = os.path.join(settings.ROOT, "docs", "guides", "fleecing.md")
        with open(page, encoding="utf-8") as file:
            lines = re.sub(r"\n {8}(?=[\"{])", " ", file.read()).splitlines()
        texts = [line.removeprefix("    -> ") for line in lines if line.startswith("    -> ")]
        return [json.loads(text.replace("/srv/", self.workdir + "/")) for text in texts]

    def test_the_commands_make_a_backup_possible_and_end_it(self):
        """Between beginning and end the export `backup` has the bytes of the beginning."""
        before = images.read_range(self.disk, 0, SIZE)
        for command in self.commands():
            if command["execute"] == "block-export-del":
                self.assertEqual(self.session("disk").write(0, b"x" * CLUSTER), 0)
                backup = self.session("backup")
                content = b"".join(backup.read(at, MIB) for at in range(0, SIZE, MIB))
                backup.disconnect()
                self.assertEqual(content, before)
            self.qmp.execute(command["execute"], command["arguments"])
            if command["execute"] == "block-export-del":
                self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        nodes = {node["node-name"] for node in self.qmp.execute("query-named-block-nodes")}
        self.assertEqual(nodes, {"image", "disk"})
        self.assertEqual(self.session("disk").read(0, CLUSTER), b"x" * CLUSTER)


def zeroes(extents):
    """The ranges of block status (length, flags) that read as zeroes, neighbours joined: (offset, length)."""
    found, offset = [], 0
    for length, flags in extents:
        if flags & 2 and found and found[-1][0] + found[-1][1] == offset:
            found[-1] = (found[-1][0], found[-1][1] + length)
        elif flags & 2:
            found.append((offset, length))
        offset += length
    return found

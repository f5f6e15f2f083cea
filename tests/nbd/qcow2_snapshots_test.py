"""Snapshots inside qcow2 images by this server, its tool and QEMU's in turn: lists, contents and refcounts stay right.

BLOCKEXPORT_SEQUENCES sets the number of courses of turns for each kind of image, BLOCKEXPORT_FIRST_SEQUENCE the seed of
the first of them.
"""

import json
import os
import random
import threading
import time
import unittest

import qcow2_write_test as writes
from lib import qcow2, tools
from lib.client_tool import program
from lib.images import MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest

TAKE, DELETE = "blockdev-snapshot-internal-sync", "blockdev-snapshot-delete-internal-sync"


def listed(path):
    """IDs and names, by QEMU."""
    information = json.loads(tools.run("qemu-img", "info", "--output=json", path))
    return [(one["id"], one["name"]) for one in information.get("snapshots", [])]


class CourseTest(writes.InTurnTest):
    """The courses of writes, whose turns take, delete and apply snapshots too."""

    TURNS = 2

    def change_by_server(self, image, generator, number):
        """A snapshot by the server while requests are under way, and perhaps the end of one."""
        connection, packed = self.begin_turn(image)
        self.qmp.execute(TAKE, {"device": "packed", "name": f"ours{number}"})
        image.snapshots[f"ours{number}"] = bytes(image.model)
        for _ in range(10):
            offset, length = self.place(generator, image)
            data = generator.randbytes(8) * (length // 8)
            self.assertEqual(connection.write(offset, data), 0)
            image.model[offset:offset + length] = data
        if len(image.snapshots) > 1 and generator.randrange(2):
            name = generator.choice(sorted(image.snapshots))
            self.qmp.execute(DELETE, {"device": "packed", "name": name})
            del image.snapshots[name]
        self.assertEqual(connection.read(0, image.size) == image.model, True)
        self.end_turn(connection, packed)

    def change_by_tool(self, image, generator, tool):
        """The end of a snapshot, or its application, by a program with the options of qemu-img."""
        name = generator.choice(sorted(image.snapshots))
        if generator.randrange(2):
            tools.run(*tool, "snapshot", "-a", name, image.path)
            image.model[:] = image.snapshots[name]
        else:
            tools.run(*tool, "snapshot", "-d", name, image.path)
            del image.snapshots[name]

    def check_all(self, image, where):
        """No leaks; the contents of disk and snapshots; both tools list the same."""
        image.check(where)
        image.compare_by_qemu(where)
        image.compare_snapshots()
        ours = json.loads(tools.run(program(), "image", "snapshot", "--json", image.path))
        self.assertEqual([(one["id"], one["name"]) for one in ours], listed(image.path), where)
        self.assertEqual(sorted(name for _, name in listed(image.path)), sorted(image.snapshots), where)

    def run_course(self, name, size, options=(), backing=False, data_file=False, compresses=0, snapshots=False,
                   resizes=False, direct=False):
        """Courses of turns, each with a seed of its own."""
        if data_file or backing or resizes or snapshots or "refcount_bits=1" in options:
            self.skipTest("without snapshots, or as the other kinds")
        for seed in range(writes.FIRST_SEQUENCE, writes.FIRST_SEQUENCE + writes.SEQUENCES):
            generator = random.Random(f"snapshots {name} {seed}")
            image = writes.Image(self, f"{name}.qcow2", size, options, direct=direct)
            for turn in range(self.TURNS):
                where = f"{name}, seed {seed}, turn {turn}"
                self.our_turn(image, generator, where)
                self.change_by_server(image, generator, turn)
                self.check_all(image, where)
                self.qemu_turn(image, generator, compresses)
                image.snapshot(f"theirs{turn}")
                self.check_all(image, where + ", by QEMU")
                self.change_by_tool(image, generator, ["qemu-img"])
                self.check_all(image, where + ", a change by qemu-img")
                if image.snapshots:
                    self.change_by_tool(image, generator, [program(), "image"])
                self.check_all(image, where + ", a change by the tool")
            os.unlink(image.path)


class TransactionTest(DaemonTest):
    """One moment of two disks."""

    def test_one_moment_of_two_disks_under_load(self):
        """A writer numbers its writes to both disks in turn: in their order, the numbers of a snapshot fall once."""
        for name in ("a", "b"):
            tools.run("qemu-img", "create", "-q", "-f", "qcow2", self.path(name), "4M")
            self.qmp.execute("blockdev-add", {"node-name": name, "driver": "qcow2",
                                              "file": {"driver": "file", "filename": self.path(name)}})
            self.qmp.execute("block-export-add", {"type": "nbd", "id": name, "node-name": name, "writable": True})
        disks = [self.session(name, "structured") for name in ("a", "b")]
        ends = threading.Event()

        def write():
            number = 0
            while not ends.is_set():
                number += 1
                for disk in disks:
                    for place in range(4):
                        disk.write(place * MIB, number.to_bytes(8, "big") * 64)
        writer = threading.Thread(target=write)
        writer.start()
        names = [f"s{i}" for i in range(8)]
        try:
            for name in names:
                time.sleep(0.05)
                self.qmp.execute("transaction", {"actions": [
                    {"type": TAKE, "data": {"device": disk, "name": name}} for disk in ("a", "b")]})
        finally:
            ends.set()
            writer.join()
        for name, disk in zip(("a", "b"), disks):
            disk.disconnect()
            self.qmp.execute("block-export-del", {"id": name})
            self.qmp.wait_event("BLOCK_EXPORT_DELETED")
            self.qmp.execute("blockdev-del", {"node-name": name})
        for name in names:
            numbers = []
            for disk in ("a", "b"):
                raw = self.path("raw")
                tools.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-l", f"snapshot.name={name}",
                          self.path(disk), raw)
                with open(raw, "rb") as file:
                    content = file.read()
                numbers += [int.from_bytes(content[place * MIB:place * MIB + 8], "big") for place in range(4)]
            # In the order of the writes they fall by one at most, and once.
            self.assertLessEqual(numbers[0] - numbers[-1], 1, f"{name}: {numbers}")
            self.assertEqual(numbers, sorted(numbers, reverse=True), f"{name}: {numbers}")
        for disk in ("a", "b"):
            tools.run("qemu-img", "check", "-q", "-f", "qcow2", self.path(disk))


@unittest.skipUnless(os.environ.get("BLOCKEXPORT_THOROUGH"), "it needs a quiet machine")
class LatencyTest(DaemonTest):
    """A reader while a snapshot of a full image of 1 TiB is taken and deleted."""

    CLUSTERS = 1 << 24

    def latencies(self, connection, until):
        """Seconds of reads of 4 KiB at random places until the event is set."""
        generator = random.Random(1)
        seen = []
        while not until.is_set():
            begin = time.monotonic()
            connection.read(generator.randrange(self.CLUSTERS) << 16, 4096)
            seen.append(time.monotonic() - begin)
        return seen

    def beside(self, connection, work):
        """The 99th percentile, the longest and the number of reads beside the work, and its seconds."""
        ends = threading.Event()
        seen = []
        reader = threading.Thread(target=lambda: seen.extend(self.latencies(connection, ends)))
        reader.start()
        begin = time.monotonic()
        work()
        taken = time.monotonic() - begin
        ends.set()
        reader.join()
        seen.sort()
        return seen[len(seen) * 99 // 100], seen[-1], len(seen), taken

    def test_reader(self):
        """The 99th percentile is at most twice that without a snapshot."""
        path = self.path("full.qcow2")
        qcow2.make_full(path, self.CLUSTERS, 16)
        self.qmp.execute("blockdev-add", {"node-name": "disk", "driver": "qcow2", "l2-cache-size": 256 * MIB,
                                          "file": {"driver": "file", "filename": path}})
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk", "writable": True})
        connection = self.session("disk", "structured")
        self.qmp.socket.settimeout(600)
        quiet = self.beside(connection, lambda: time.sleep(8))
        taken = self.beside(connection, lambda: self.qmp.execute(TAKE, {"device": "disk", "name": "s"}))
        deleted = self.beside(connection, lambda: self.qmp.execute(DELETE, {"device": "disk", "name": "s"}))
        for what, (percentile, longest, count, seconds) in (("quiet", quiet), ("taken", taken), ("deleted", deleted)):
            print(f"{what}: p99 {percentile * 1e6:.0f} us, longest {longest * 1e3:.1f} ms, {count} reads, "
                  f"{seconds:.1f} s")
        self.assertLessEqual(taken[0], 2 * quiet[0])
        self.assertLessEqual(deleted[0], 2 * quiet[0])

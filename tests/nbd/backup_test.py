"""backup-begin, backup-end and query-backups, with real clients and writers that go on."""

import contextlib
import json
import os
import random
import struct
import threading
import urllib.parse

from lib import images, nbd_raw, settings, tools, wait
from lib.daemon import Daemon
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, nbd_export

SIZE = 8 * MIB
CLUSTER = 64 * KIB
DISKS = ("left", "right")
COUNTER = struct.Struct("<Q")


class BackupTest(DaemonTest):
    """Two disks with writable exports, directly above the file nodes, and a directory for scratch files."""

    @classmethod
    def prepare(cls):
        arguments = []
        for seed, name in enumerate(DISKS):
            images.make_random(cls.path(f"{name}.img"), SIZE, seed)
            arguments += [*file_node(name, cls.path(f"{name}.img"), discard="unmap"), *nbd_export(name, writable="on")]
        os.mkdir(cls.path("scratch"))
        return arguments

    def tearDown(self):
        for backup in self.qmp.execute("query-backups"):
            self.qmp.execute("backup-end", {"id": backup["id"], "outcome": "abort"})
        for node in self.qmp.execute("query-named-block-nodes"):
            for bitmap in node.get("dirty-bitmaps", []):
                self.qmp.execute("block-dirty-bitmap-remove", {"node": node["node-name"], "name": bitmap["name"]})
        self.qmp.events.clear()
        super().tearDown()

    def disk(self, name):
        """The file of a disk."""
        return self.path(f"{name}.img")

    def begin(self, identity, names=DISKS, **options):
        """Begins a backup, with scratch files; returns the information about its disks by their nodes."""
        disks = [name if isinstance(name, dict) else {"node-name": name} for name in names]
        arguments = {"id": identity, "disks": disks, "scratch-directory": self.path("scratch"), **options}
        info = self.qmp.execute("backup-begin", arguments)
        self.assertEqual(info["id"], identity)
        return {disk["node-name"]: disk for disk in info["disks"]}

    def end(self, identity, outcome="success", **options):
        """Ends a backup."""
        self.qmp.execute("backup-end", {"id": identity, "outcome": outcome, **options})

    def write(self, name, cluster, byte=b"w"):
        """Fills a cluster of a disk."""
        session = self.session(name)
        self.assertEqual(session.write(cluster * CLUSTER, byte * CLUSTER), 0)
        session.disconnect()

    def copy(self, disk, path="copy.img"):
        """A copy of an export, made by nbdcopy."""
        target = self.path(path)
        tools.run("nbdcopy", "--connections=2", disk["uris"][0], target)
        return target

    def dirty_clusters(self, disk):
        """The clusters that nbdinfo reports as dirty in the bitmap of an export."""
        context = f"qemu:dirty-bitmap:{disk['bitmap']}"
        extents = json.loads(tools.run("nbdinfo", "--json", f"--map={context}", disk["uris"][0]))
        return {cluster for extent in extents if extent["type"] for cluster in
                range(extent["offset"] // CLUSTER, -(-(extent["offset"] + extent["length"]) // CLUSTER))}


class OrderedWriters:
    """Writers of two disks in a fixed order: each number is written to the left disk first, and when that is done to
    the right one. At every moment the left disk has the number of the right one, or the next one."""

    def __init__(self, test, lanes=3):
        self.errors = []
        self.stopping = False
        self.numbers = [0] * lanes
        for lane in range(lanes):
            for name in DISKS:
                self.errors += filter(None, [test.session(name).write(lane * CLUSTER, bytes(CLUSTER))])
        self.threads = [threading.Thread(target=self._run, args=(lane, [test.session(name) for name in DISKS]))
                        for lane in range(lanes)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for thread in self.threads:
            thread.join()

    def _run(self, lane, sessions):
        while not self.stopping:
            number = self.numbers[lane] + 1
            for session in sessions:
                error = session.write(lane * CLUSTER, COUNTER.pack(number) * (CLUSTER // COUNTER.size))
                if error:
                    self.errors.append(error)
            self.numbers[lane] = number

    def wait_for(self, count):
        """Waits until each writer has written so many more numbers."""
        goals = [number + count for number in self.numbers]
        wait.until(lambda: all(number >= goal for number, goal in zip(self.numbers, goals)), 30, "the writers")

    def numbers_in(self, path):
        """The number of each lane in a copy of a disk. AssertionError if a lane has several."""
        found = []
        for lane in range(len(self.numbers)):
            content = images.read_range(path, lane * CLUSTER, CLUSTER)
            number = content[:COUNTER.size]
            if content != number * (CLUSTER // COUNTER.size):
                raise AssertionError(f"lane {lane} has several numbers")
            found.append(COUNTER.unpack(number)[0])
        return found


class PointInTimeTest(BackupTest):
    """The contents of the exports of a backup."""

    def test_all_disks_have_one_point_in_time_under_writers(self):
        """No copy has a write without those that were done before it on the other disk; no writer sees an error."""
        with OrderedWriters(self) as writers:
            for round_number in range(settings.repetitions(4, 40)):
                writers.wait_for(20)
                before = list(writers.numbers)
                disks = self.begin(f"b{round_number}")
                writers.wait_for(20)
                numbers = {name: writers.numbers_in(self.copy(disks[name], f"{name}.copy")) for name in DISKS}
                self.end(f"b{round_number}")
                for lane, (left, right) in enumerate(zip(numbers["left"], numbers["right"])):
                    self.assertIn(left - right, (0, 1), f"lane {lane}")
                    self.assertGreaterEqual(right, before[lane])
        self.assertEqual(writers.errors, [])

    def test_a_copy_is_the_disk_of_that_moment(self):
        """nbdcopy and qemu-img read the old bytes of whatever has changed since."""
        before = {name: images.sha256(self.disk(name)) for name in DISKS}
        disks = self.begin("b")
        generator = random.Random(7)
        for name in DISKS:
            session = self.session(name)
            for _ in range(40):
                offset = generator.randrange(SIZE // KIB) * KIB
                kind = generator.randrange(3)
                if kind == 0:
                    self.assertEqual(session.call(CMD_TRIM, offset, KIB).error, 0)
                elif kind == 1:
                    self.assertEqual(session.call(CMD_WRITE_ZEROES, offset, KIB).error, 0)
                else:
                    self.assertEqual(session.write(offset, generator.randbytes(KIB)), 0)
        for name in DISKS:
            self.assertEqual(images.sha256(self.copy(disks[name])), before[name])
            converted = self.path("converted.img")
            tools.run("qemu-img", "convert", "-f", "raw", "-O", "raw", disks[name]["uris"][0], converted)
            self.assertEqual(images.sha256(converted), before[name])
            self.assertNotEqual(images.sha256(self.disk(name)), before[name])
        self.end("b")

    def test_the_exports_are_read_only_and_the_disks_are_not(self):
        """A client of the backup cannot write; the disk keeps its own exports."""
        disks = self.begin("b", ["left"])
        listed = json.loads(tools.run("nbdinfo", "--json", disks["left"]["uris"][0]))["exports"][0]
        self.assertTrue(listed["is_read_only"])
        self.write("left", 3)
        self.assertEqual(images.read_range(self.disk("left"), 3 * CLUSTER, CLUSTER), b"w" * CLUSTER)
        self.end("b")

    def test_names_of_exports_are_encoded_in_uris(self):
        """A client finds an export by its URI whatever characters the name has."""
        for number, name in enumerate(("a b", "a/b//c", "100%?x=1&y#z", "ä€", "/", "..", "a+b=c;d:e@f[g]")):
            with self.subTest(name=name):
                disks = self.begin(f"b{number}", [{"node-name": "left", "export": name}])
                uri = disks["left"]["uris"][0]
                self.assertTrue(uri.isascii())
                listed = json.loads(tools.run("nbdinfo", "--json", uri))["exports"][0]
                self.assertEqual(listed["export-name"], name)
                self.assertEqual(listed["export-size"], SIZE)
                self.end(f"b{number}")

    def test_scratch_files_are_private_and_leave_nothing(self):
        """They have no name while the backup runs, and only their owner could open them."""
        disks = self.begin("b")
        self.assertEqual(os.listdir(self.path("scratch")), [])
        files = [os.stat(f"/proc/{self.daemon.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{self.daemon.pid}/fd")
                 if "/scratch/" in os.readlink(f"/proc/{self.daemon.pid}/fd/{fd}")]
        self.assertEqual([(file.st_mode & 0o777, file.st_size) for file in files], [(0o600, SIZE)] * 2)
        self.assertEqual({disk["scratch-bytes"] for disk in disks.values()}, {0})
        self.write("left", 1)
        if images.makes_holes(self.workdir):
            left = self.qmp.execute("query-backups")[0]["disks"][0]
            self.assertEqual(left["scratch-bytes"], CLUSTER)
        self.end("b")
        self.assertFalse(any("/scratch/" in os.readlink(f"/proc/{self.daemon.pid}/fd/{fd}")
                             for fd in os.listdir(f"/proc/{self.daemon.pid}/fd")))


class ChainTest(BackupTest):
    """Chains of full and incremental backups."""

    def test_each_backup_has_the_changes_since_the_last_success(self):
        """Full, incremental, aborted incremental, and one that includes the changes of the aborted one."""
        disks = self.begin("full", checkpoint="c")
        self.assertNotIn("bitmap", disks["left"])
        mirror = bytearray(images.read_range(self.copy(disks["left"]), 0, SIZE))
        self.write("left", 1, b"1")
        self.end("full")
        self.write("left", 2, b"2")

        disks = self.begin("aborted", checkpoint="c")
        self.assertEqual(self.dirty_clusters(disks["left"]), {1, 2})
        self.assertEqual(self.dirty_clusters(disks["right"]), set())
        self.write("left", 3, b"3")
        self.assertEqual(self.dirty_clusters(disks["left"]), {1, 2})
        self.end("aborted", "abort")
        self.write("left", 4, b"4")

        for identity, expected in (("second", {1, 2, 3, 4}), ("third", {5})):
            frozen = images.read_range(self.disk("left"), 0, SIZE)
            disks = self.begin(identity, checkpoint="c")
            dirty = self.dirty_clusters(disks["left"])
            self.assertEqual(dirty, expected)
            self.write("left", 5, b"5")
            reader = self.session(disks["left"]["export"])
            for cluster in dirty:
                mirror[cluster * CLUSTER:(cluster + 1) * CLUSTER] = reader.read(cluster * CLUSTER, CLUSTER)
            reader.disconnect()
            self.assertEqual(bytes(mirror), frozen)
            self.end(identity)

    def test_an_incremental_chain_under_writers_restores_each_point(self):
        """The changes of each backup, applied to the one before, are the disk of that moment."""
        with OrderedWriters(self) as writers:
            mirrors = {name: bytearray(SIZE) for name in DISKS}
            for number in range(settings.repetitions(5, 50)):
                writers.wait_for(10)
                disks = self.begin(f"b{number}", checkpoint="c")
                writers.wait_for(10)
                for name in DISKS:
                    whole = images.read_range(self.copy(disks[name]), 0, SIZE)
                    dirty = self.dirty_clusters(disks[name]) if number else range(SIZE // CLUSTER)
                    for cluster in dirty:
                        place = slice(cluster * CLUSTER, (cluster + 1) * CLUSTER)
                        mirrors[name][place] = whole[place]
                    self.assertEqual(bytes(mirrors[name]), whole, name)
                self.end(f"b{number}", "abort" if number % 3 == 2 else "success")
        self.assertEqual(writers.errors, [])

    def test_two_backups_of_one_disk_at_once(self):
        """Each has its own moment and its own checkpoint, and the first one may end first."""
        for first, second in (("one", "two"), ("two", "one")):
            moments, disks = {}, {}
            for identity in ("one", "two"):
                self.write("left", 9, identity[0].encode())
                moments[identity] = images.sha256(self.disk("left"))
                disks[identity] = self.begin(identity, ["left"], checkpoint=f"of-{identity}")["left"]
            self.write("left", 9, b"x")
            for identity in ("one", "two"):
                self.assertEqual(images.sha256(self.copy(disks[identity])), moments[identity])
            self.end(first)
            self.write("left", 9, b"y")
            self.assertEqual(images.sha256(self.copy(disks[second])), moments[second])
            self.end(second)
            self.assertEqual(self.session("left").read(9 * CLUSTER, CLUSTER), b"y" * CLUSTER)


class EndTest(BackupTest):
    """The end of a backup."""

    def test_success_waits_for_no_client_that_is_connected(self):
        """It is refused, and forced or aborted it disconnects the client."""
        for options in ({"outcome": "success", "force": True}, {"outcome": "abort"}):
            disks = self.begin("b", ["left"])
            reader = self.session(disks["left"]["export"])
            kind, text = self.qmp.failure("backup-end", {"id": "b", "outcome": "success"})
            self.assertEqual((kind, text),
                             ("GenericError", "Backup 'b' has clients that are connected to export 'b-0'"))
            self.assertEqual(len(reader.read(0, 512)), 512)
            self.qmp.execute("backup-end", {"id": "b", **options})
            with self.assertRaises((ConnectionError, AssertionError)):
                reader.read(0, 512)

    def test_scratch_space_that_fails_breaks_the_backup_and_not_the_writer(self):
        """The state, its reason and the log tell so at once; then only abort is possible, and loses no change."""
        self.qmp.execute("block-dirty-bitmap-add", {"node": "left", "name": "c"})
        self.add_node("slow", driver="null-co", size=SIZE, **{"latency-ns": 3_000_000_000})
        disks = self.begin("b", [{"node-name": "left", "scratch": "slow"}, "right"], checkpoint="c",
                           **{"cbw-timeout": 1})
        reader = self.session(disks["left"]["export"])
        self.write("left", 20)
        self.write("left", 21)
        self.assertEqual(images.read_range(self.disk("left"), 20 * CLUSTER, CLUSTER), b"w" * CLUSTER)
        self.assertEqual(reader.call(CMD_READ, 0, 512, judge=False).error, EINVAL)
        info = self.qmp.execute("query-backups")[0]
        self.assertEqual(info["state"], "broken")
        self.assertEqual([disk["state"] for disk in info["disks"]], ["broken", "active"])
        self.assertIn("node 'slow': Connection timed out", info["disks"][0]["reason"])
        self.assertEqual(self.daemon.stderr().count(b"node 'b-0-filter' has given up its point in time"), 1)
        reader.disconnect()
        _, text = self.qmp.failure("backup-end", {"id": "b", "outcome": "success", "force": True})
        self.assertRegex(text, "^Backup 'b' is broken and can only be ended with the outcome abort: disk 'left': ")
        self.end("b", "abort")
        disks = self.begin("next", ["left"], checkpoint="c")
        self.assertEqual(self.dirty_clusters(disks["left"]), {20, 21})
        self.end("next")

    def test_a_server_that_stops_during_a_backup(self):
        """The exports are gone, as query-backups says; abort works."""
        self.begin("b", ["left"], checkpoint="c")
        self.qmp.execute("nbd-server-stop")
        self.addCleanup(self.restart_server)
        info = self.qmp.execute("query-backups")[0]["disks"][0]
        self.assertEqual((info["exported"], info["uris"]), (False, []))
        self.end("b", "abort")

    def restart_server(self):
        """Starts the NBD server again, with the exports of the disks."""
        self.qmp.execute("nbd-server-start", {"addr": {"type": "unix", "data": {"path": self.daemon.nbd_path}}})
        for name in DISKS:
            self.qmp.execute("block-export-add",
                             {"type": "nbd", "id": name, "node-name": name, "name": name, "writable": True})

    def test_the_daemon_ends_while_a_backup_runs(self):
        """It ends in time, with exit code 0, although a writer and a reader are connected; the log names the backup."""
        other = Daemon(self.path("other"), [*file_node("disk", self.path("other.img")),
                                            *nbd_export("disk", writable="on")])
        os.mkdir(other.workdir)
        images.make_empty(self.path("other.img"), SIZE)
        other.start()
        with contextlib.closing(other.qmp):
            other.qmp.execute("backup-begin", {"id": "b", "disks": [{"node-name": "disk"}], "checkpoint": "c",
                                               "scratch-directory": other.workdir})
            for export in ("disk", "b-disk"):
                client = nbd_raw.Connection(other.connect_nbd())
                self.addCleanup(client.close)
                client.negotiate(export, "simple", ())
                self.assertEqual(client.read(0, 512), bytes(512))
            other.stop()
        self.assertIn(b"backup 'b' was aborted, because the daemon ends", other.stderr())

    def test_uris_name_the_bound_addresses(self):
        """The URI has the port that the kernel chose."""
        self.qmp.execute("nbd-server-stop")
        self.addCleanup(self.restart_server)
        self.addCleanup(self.qmp.execute, "nbd-server-stop")
        self.qmp.execute("nbd-server-start", {"addr": {"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}})
        disk = self.begin("b", ["left"])["left"]
        parts = urllib.parse.urlsplit(disk["uris"][0])
        self.assertEqual((parts.scheme, parts.hostname, parts.path), ("nbd", "127.0.0.1", "/b-left"))
        self.assertNotEqual(parts.port, 0)
        self.copy(disk)
        self.end("b")

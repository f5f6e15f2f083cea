"""External snapshots under load: blockdev-snapshot and blockdev-snapshot-sync of two disks at one moment."""

import json
import os
import struct
import threading
import unittest

from lib import daemon, images, nbd_raw, settings, tools, wait
from lib.images import MIB

SIZE = 4 * MIB
WRITERS = 3
SLOTS = 24
# Records of one writer are in different clusters, and some span two.
SPACING = 44 * 1024
RECORD = 1536
DISKS = ("a", "b")


def place(writer, number):
    """Offset of the record with that number."""
    return (writer * SLOTS + number % SLOTS) * SPACING + 32 * 1024


def record(writer, number):
    """Its bytes."""
    return struct.pack(">II", writer + 1, number) * (RECORD // 8)


class Writer(threading.Thread):
    """Writes each number to the first disk, and, when that is answered, to the second one."""

    def __init__(self, server, number):
        super().__init__()
        self.number = number
        self.done = dict.fromkeys(DISKS, 0)  # the last number that was answered
        self.begun = 0
        self.failure = None
        self.is_stopping = False
        self.connections = {}
        for disk in DISKS:
            self.connections[disk] = nbd_raw.Connection(server.connect_nbd())
            self.connections[disk].negotiate(disk)

    def run(self):
        try:
            while not self.is_stopping:
                self.begun += 1
                for disk in DISKS:
                    error = self.connections[disk].write(place(self.number, self.begun),
                                                         record(self.number, self.begun))
                    assert not error, f"WRITE failed with {error}"
                    self.done[disk] = self.begun
        except (OSError, EOFError, nbd_raw.Closed) as failure:
            self.failure = failure
        except AssertionError as failure:
            self.failure = failure
        finally:
            for connection in self.connections.values():
                connection.close()


def last_number(content, writer):
    """The last number of a writer on a disk; every number before it must be there, or a later one in its place."""
    found = {}
    for slot in range(SLOTS):
        offset = place(writer, slot)
        data = content[offset:offset + RECORD]
        names = {data[at:at + 8] for at in range(0, RECORD, 8)}
        assert len(names) == 1, f"a mixture at {offset}: {names}"
        owner, number = struct.unpack(">II", names.pop())
        if number:
            assert (owner, number % SLOTS) == (writer + 1, slot), f"record {owner}/{number} at {offset}"
            found[slot] = number
    last = max(found.values(), default=0)
    for number in range(max(1, last - SLOTS + 1), last + 1):
        assert found.get(number % SLOTS) == number, f"{number} of writer {writer} is missing, {last} is there"
    return last


class SnapshotCase(unittest.TestCase):
    """A server with two disks, and their overlays."""

    iothreads = False
    direct = False

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        self.tops = {}
        self.writers = []
        arguments = []
        for disk in DISKS:
            self.create(disk, 0)
            arguments += ["--blockdev", json.dumps(self.options(disk, 0))]
            self.tops[disk] = 0
        objects = []
        for number, disk in enumerate(DISKS):
            extra = ""
            if self.iothreads:
                objects.append(f"iothread,id=io{number}")
                extra = f",iothread=io{number}"
            arguments += ["--export", f"nbd,id={disk},node-name={disk}0,name={disk},writable=on{extra}"]
        self.server = daemon.Daemon(self.workdir, arguments, objects=objects)
        self.addCleanup(self.server.kill)
        self.server.start()

    def path(self, disk, layer):
        """The image of a layer."""
        return os.path.join(self.workdir, f"{disk}{layer}.qcow2")

    def create(self, disk, layer):
        """Makes it, as an overlay of the one below."""
        below = ["-u", "-b", self.path(disk, layer - 1), "-F", "qcow2"] if layer else []
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", *below, self.path(disk, layer), str(SIZE))

    def options(self, disk, layer):
        """Options of its node."""
        return {"driver": "qcow2", "node-name": f"{disk}{layer}", "backing": None,
                "file": {"driver": "file", "filename": self.path(disk, layer), "cache": {"direct": self.direct}}}

    def load(self, count=WRITERS):
        """Begins to write."""
        self.writers = [Writer(self.server, number) for number in range(count)]
        for writer in self.writers:
            writer.start()

    def progress(self, count=4):
        """Waits until every writer has written some more."""
        goals = [writer.done["b"] + count for writer in self.writers]
        wait.until(lambda: all(writer.done["b"] >= goal or not writer.is_alive()
                               for writer, goal in zip(self.writers, goals)), 30, "progress of the writers")
        for writer in self.writers:
            self.assertIsNone(writer.failure)

    def end(self):
        """The writers end."""
        for writer in self.writers:
            writer.is_stopping = True
        for writer in self.writers:
            writer.join()
            self.assertIsNone(writer.failure)

    def action(self, disk, layer, is_new):
        """The action that makes a layer the top; the image of a new one is created by it."""
        if is_new:
            return {"type": "blockdev-snapshot-sync",
                    "data": {"node-name": f"{disk}{layer - 1}", "snapshot-node-name": f"{disk}{layer}",
                             "snapshot-file": self.path(disk, layer)}}
        self.create(disk, layer)
        self.server.qmp.execute("blockdev-add", self.options(disk, layer))
        return {"type": "blockdev-snapshot", "data": {"node": f"{disk}{layer - 1}", "overlay": f"{disk}{layer}"}}

    def snapshot(self, is_new=False):
        """Takes one of both disks in one transaction. Returns what was answered before."""
        actions = []
        for disk in DISKS:
            self.tops[disk] += 1
            actions.append(self.action(disk, self.tops[disk], is_new))
        answered = [dict(writer.done) for writer in self.writers]
        self.server.qmp.execute("transaction", {"actions": actions})
        return answered

    def content(self, disk, layer):
        """The bytes of the disk as the chain from that layer down has them."""
        raw = os.path.join(self.workdir, "content.raw")
        tools.run("qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", self.path(disk, layer), raw)
        return images.read_range(raw, 0, SIZE)

    def check_layer(self, layer, answered=None, writers=WRITERS):
        """Both disks are as they were at one moment, when all was written that had been answered before."""
        contents = {disk: self.content(disk, layer) for disk in DISKS}
        for number in range(writers):
            last = {disk: last_number(contents[disk], number) for disk in DISKS}
            self.assertIn(last["a"] - last["b"], (0, 1), f"layer {layer}, writer {number}: {last}")
            if answered:
                for disk in DISKS:
                    self.assertGreaterEqual(last[disk], answered[number][disk], f"layer {layer}, writer {number}")

    def check_image(self, disk, layer, codes=(0,)):
        """`qemu-img check` finds nothing."""
        done = tools.finish("qemu-img", "check", "-f", "qcow2", self.path(disk, layer))
        self.assertIn(done.returncode, codes, f"{disk}{layer}: {done.stdout}{done.stderr}")


class LoadTest(SnapshotCase):
    """A chain grows while clients write."""

    layers = 20

    def test_chain_under_load(self):
        """Each layer of both disks is of one moment; nothing is lost or mixed, and the images are whole."""
        self.load()
        moments = []
        for number in range(self.layers):
            self.progress()
            moments.append(self.snapshot(is_new=number % 2 == 1))
        self.progress()
        self.end()
        for node in self.server.qmp.execute("query-block-exports"):
            self.assertEqual(node["node-name"], f"{node['id']}{self.layers}")
        self.server.stop()
        for layer, answered in enumerate(moments):
            self.check_layer(layer, answered)
        self.check_layer(self.layers, [writer.done for writer in self.writers])
        for writer in self.writers:
            for disk in DISKS:
                content = self.content(disk, self.layers)
                self.assertEqual(last_number(content, writer.number), writer.begun)
        for disk in DISKS:
            for layer in range(self.layers + 1):
                self.check_image(disk, layer)


class IothreadTest(LoadTest):
    """The same with exports of iothreads."""

    iothreads = True
    layers = 6


class FailureTest(SnapshotCase):
    """A transaction that fails."""

    def state(self):
        """What queries show."""
        queries = (("query-named-block-nodes", {"flat": True}), ("x-debug-query-block-graph", {}),
                   ("query-block-exports", {}))
        answers = [self.server.qmp.execute(name, arguments) for name, arguments in queries]
        for node in answers[0]:
            node["image"].pop("actual-size", None)
            # The images grow under load.
            node["image"].pop("virtual-size", None)
        return json.dumps(answers)

    def test_failures_under_load(self):
        """Whichever action fails, everything is as before, and the clients go on."""
        for disk in DISKS:
            self.create(disk, 1)
            self.server.qmp.execute("blockdev-add", self.options(disk, 1))
        self.load()
        both = [{"type": "blockdev-snapshot", "data": {"node": f"{disk}0", "overlay": f"{disk}1"}} for disk in DISKS]
        made = {"type": "blockdev-snapshot-sync",
                "data": {"node-name": "b1", "snapshot-node-name": "c", "snapshot-file": self.path("c", 0)}}
        abort = {"type": "abort", "data": {}}
        wrong = {"type": "blockdev-snapshot", "data": {"node": "a0", "overlay": "b1"}}
        for actions in ([*both, abort], [both[0], abort, both[1]], [*both, wrong], [*both, made, abort],
                        [both[0], both[0]]):
            before = self.state()
            self.progress()
            answer = self.server.qmp.command("transaction", {"actions": actions})
            self.assertIn("error", answer, actions)
            self.assertEqual(self.state(), before, actions)
            self.progress()
        self.server.qmp.execute("transaction", {"actions": [*both, made]})
        self.progress()
        self.end()
        self.server.stop()
        self.check_layer(0)
        for disk in DISKS:
            self.check_image(disk, 1)
        self.check_image("c", 0)


class KillTest(SnapshotCase):
    """The server is killed as soon as it has answered."""

    def test_kill_after_the_answer(self):
        """What was answered before the snapshot is in the lower layers, which are of one moment and whole."""
        if settings.is_qemu():
            self.skipTest("for our server")
        self.load()
        moments = []
        for number in range(3):
            self.progress()
            moments.append(self.snapshot(is_new=number == 1))
        self.server.kill()
        for writer in self.writers:
            writer.join()
        for layer, answered in enumerate(moments):
            self.check_layer(layer, answered)
        for disk in DISKS:
            for layer in range(len(moments)):
                self.check_image(disk, layer)
            # Clusters may be lost in the top, which nobody has flushed.
            self.check_image(disk, len(moments), codes=(0, 3))


class HeaderTest(unittest.TestCase):
    """The images that blockdev-snapshot-sync makes, by our server and by the reference."""

    def made(self, program):
        """What qemu-img tells of them."""
        workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, workdir)
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", "base.img", "1M", cwd=workdir)
        images.make_empty(os.path.join(workdir, "raw.img"), MIB)
        server = daemon.Daemon(workdir, [], nbd_server=None, program=program)
        self.addCleanup(server.kill)
        server.start()
        nodes = [{"driver": "qcow2", "node-name": "base", "file": {"driver": "file", "filename": "base.img"}},
                 {"driver": "raw", "node-name": "raw", "file": {"driver": "file", "filename": "raw.img"}},
                 {"driver": "raw", "node-name": "part", "offset": 512, "read-only": True,
                  "file": {"driver": "file", "filename": "raw.img", "read-only": True, "force-share": True}},
                 {"driver": "null-co", "node-name": "null", "size": 1000, "read-zeroes": True}]
        shown = {}
        for node in nodes:
            name = node["node-name"]
            server.qmp.execute("blockdev-add", node)
            server.qmp.execute("blockdev-snapshot-sync", {
                "node-name": name, "snapshot-node-name": f"{name}-top", "snapshot-file": f"{name}-top.img"})
            info = json.loads(tools.finish("qemu-img", "info", "-U", "--output=json", "-f", "qcow2",
                                           os.path.join(workdir, f"{name}-top.img")).stdout)
            backing = info["backing-filename"]
            if backing.startswith("json:"):
                backing = json.loads(backing[5:])
            shown[name] = (backing, info["backing-filename-format"], info["virtual-size"], info["cluster-size"],
                           info["format-specific"]["data"])
        server.stop()
        return shown

    def test_headers(self):
        """They tell the same of the images below them."""
        if not os.access(settings.REFERENCE, os.X_OK):
            self.skipTest("qemu-storage-daemon is not installed")
        self.assertEqual(self.made(settings.program()), self.made(settings.REFERENCE))

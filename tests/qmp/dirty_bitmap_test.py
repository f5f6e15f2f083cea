"""Dirty bitmaps: what marks them, on which nodes, how they are listed; a model and the reference say the same."""

import hashlib
import os
import random
import unittest

from lib import daemon, images, nbd_raw, settings
from lib.images import KIB, MIB
from lib.nbd_wire import *

SIZE = 3 * MIB + 512
GRANULARITIES = (512, 4 * KIB, 64 * KIB)


class Model:
    """The dirty granules of a bitmap."""

    def __init__(self, size, granularity):
        self.size, self.granularity, self.granules = size, granularity, set()

    def mark(self, offset, length):
        """What a change of that range marks."""
        if length:
            self.granules.update(range(offset // self.granularity, (offset + length - 1) // self.granularity + 1))

    def resize(self, size):
        """Granules past the end are gone."""
        self.size = size
        self.granules = {granule for granule in self.granules if granule * self.granularity < size}

    @property
    def count(self):
        """Dirty bytes."""
        return len(self.granules) * self.granularity

    @property
    def sha256(self):
        """The digest of one bit for each granule, in whole words of 64 bits."""
        granules = -(-self.size // self.granularity)
        number = sum(1 << granule for granule in self.granules)
        return hashlib.sha256(number.to_bytes(max(-(-granules // 64), 1) * 8, "little")).hexdigest()


class Server:
    """A server with an NBD socket and the node `disk` on a file; `top` is the node that is exported."""

    def __init__(self, test, program, options="", raw=False):
        workdir = daemon.make_workdir()
        test.addCleanup(daemon.remove_workdir, workdir)
        images.make_empty(os.path.join(workdir, "disk.img"), SIZE)
        arguments = ["--blockdev", f"driver=file,node-name=disk,filename=disk.img{options}"]
        if raw:
            arguments += ["--blockdev", f"driver=raw,node-name=raw,file=disk{options}"]
        self.top = "raw" if raw else "disk"
        self.daemon = daemon.Daemon(workdir, arguments, program=program)
        test.addCleanup(self.daemon.kill)
        self.daemon.start()
        self.execute = self.daemon.qmp.execute
        self.connection = None

    def add(self, node, name, **options):
        """block-dirty-bitmap-add."""
        self.execute("block-dirty-bitmap-add", {"node": node, "name": name, **options})

    def export(self):
        """Exports the top node, and connects."""
        self.execute("block-export-add", {"type": "nbd", "id": "e", "node-name": self.top, "writable": True})
        self.connection = nbd_raw.Connection(self.daemon.connect_nbd())
        self.connection.negotiate(self.top)

    def unexport(self):
        """Ends what export() began."""
        self.connection.close()
        self.execute("block-export-del", {"id": "e", "mode": "hard"})
        self.daemon.qmp.wait_event("BLOCK_EXPORT_DELETED")

    def change(self, action, offset, length):
        """One request, which succeeds."""
        if action in ("write", "zero"):
            data = bytes(length) if action == "zero" else b"x" * length
            error = self.connection.write(offset, data)
        else:
            command = CMD_TRIM if action == "trim" else CMD_WRITE_ZEROES
            error = self.connection.call(command, offset, length).error
        assert error == 0, f"{action} {offset}+{length}: {error}"

    def bitmaps(self, node):
        """(name, granularity, count, recording, digest) of each bitmap of a node, as they are listed."""
        (info,) = [each for each in self.execute("query-named-block-nodes") if each["node-name"] == node]
        return [(each["name"], each["granularity"], each["count"], each["recording"], self.sha256(node, each["name"]))
                for each in info.get("dirty-bitmaps", [])]

    def sha256(self, node, name):
        """The digest of a bitmap."""
        return self.execute("x-debug-block-dirty-bitmap-sha256", {"node": node, "name": name})["sha256"]


def programs():
    """The server under test, and the reference where it is there and another one."""
    reference = [settings.REFERENCE] if os.access(settings.REFERENCE, os.X_OK) else []
    return list(dict.fromkeys([settings.program(), *reference]))


class MarksTest(unittest.TestCase):
    """The same requests leave the same bitmaps: in a model, in the server under test, and in the reference."""

    def compare(self, actions, options=",discard=unmap", raw=False, marking=("write", "zero", "zeroes", "trim")):
        """Random requests. `marking`: those that mark."""
        for program in programs():
            with self.subTest(program=program):
                server = Server(self, program, options, raw)
                nodes = ["disk", "raw"] if raw else ["disk"]
                models = {}
                for node in nodes:
                    for granularity in GRANULARITIES:
                        server.add(node, f"b{granularity}", granularity=granularity)
                    server.add(node, "off", disabled=True)
                    models[node] = [Model(SIZE, granularity) for granularity in GRANULARITIES]
                server.export()
                generator = random.Random(5)
                for _ in range(60):
                    action = generator.choice(actions)
                    length = generator.choice((1, 100, 511, 512, 4096, 4097, 65536))
                    offset = generator.choice((generator.randrange(SIZE - length), SIZE - length))
                    server.change(action, offset, length)
                    if action in marking:
                        for model in sum(models.values(), []):
                            model.mark(offset, length)
                for node in nodes:
                    expected = [(f"b{model.granularity}", model.granularity, model.count, True, model.sha256)
                                for model in models[node]]
                    expected.append(("off", 65536, 0, False, Model(SIZE, 65536).sha256))
                    self.assertEqual(server.bitmaps(node), expected[::-1], node)
                server.unexport()
                server.daemon.stop()

    def test_writes(self):
        """Writes mark what they touch."""
        self.compare(["write"])

    def test_all_requests(self):
        """Writes, zeroes and trims mark, on the file's node and on a node above it."""
        self.compare(["write", "zeroes", "trim"], raw=True)

    def test_zeroes_found_in_data(self):
        """Written zeroes that become holes mark too."""
        self.compare(["write", "zero"], options=",discard=unmap,detect-zeroes=unmap")

    def test_ignored_trims(self):
        """A trim that a node ignores does not mark."""
        self.compare(["trim", "write"], options=",discard=ignore", marking=("write",))

    def test_trims_of_a_null_node(self):
        """A trim does not mark where there is nothing to discard; a node above marks it."""
        for program in programs():
            with self.subTest(program=program):
                server = Server(self, program)
                server.execute("blockdev-add", {"driver": "null-co", "node-name": "null", "size": SIZE,
                                                "discard": "unmap"})
                server.execute("blockdev-add", {"driver": "raw", "node-name": "top", "file": "null",
                                                "discard": "unmap"})
                server.add("null", "b")
                server.add("top", "b")
                server.top = "top"
                server.export()
                server.change("trim", 100, 1000)
                model = Model(SIZE, 64 * KIB)
                self.assertEqual(server.bitmaps("null"), [("b", 64 * KIB, 0, True, model.sha256)])
                model.mark(100, 1000)
                self.assertEqual(server.bitmaps("top"), [("b", 64 * KIB, model.count, True, model.sha256)])
                server.unexport()
                server.daemon.stop()

    def test_resizes(self):
        """Growing does not mark, and shrinking drops what is past the end."""
        for program in programs():
            with self.subTest(program=program):
                server = Server(self, program)
                server.add("disk", "b")
                server.export()
                server.change("write", 0, 1)
                server.change("write", 2 * MIB, 1)
                server.change("write", SIZE - 512, 512)
                server.unexport()
                model = Model(SIZE, 64 * KIB)
                model.mark(0, 1)
                model.mark(2 * MIB, 1)
                model.mark(SIZE - 512, 512)
                for size in (8 * MIB, 2 * MIB + 64 * KIB, 2 * MIB, 64 * MIB):
                    server.execute("block_resize", {"node-name": "disk", "size": size})
                    model.resize(size)
                    self.assertEqual(server.bitmaps("disk"), [("b", 64 * KIB, model.count, True, model.sha256)])
                server.daemon.stop()

    def test_merges(self):
        """A merge marks in each granule of the target what is dirty in any source."""
        for program in programs():
            with self.subTest(program=program):
                server = Server(self, program, raw=True)
                server.add("disk", "fine", granularity=512)
                server.add("raw", "coarse", granularity=1 * MIB)
                server.export()
                server.change("write", 70000, 1000)
                server.execute("block-dirty-bitmap-disable", {"node": "disk", "name": "fine"})
                server.change("write", 2 * MIB + 5, 1)
                for granularity in (512, 4096, 2 * MIB):
                    name = f"t{granularity}"
                    server.add("disk", name, granularity=granularity, disabled=True)
                    server.execute("block-dirty-bitmap-merge", {
                        "node": "disk", "target": name, "bitmaps": ["fine", {"node": "raw", "name": "coarse"}]})
                    model = Model(SIZE, granularity)
                    model.mark(70000 // 512 * 512, 71000 // 512 * 512 + 512 - 70000 // 512 * 512)
                    model.mark(0, 1 * MIB)
                    model.mark(2 * MIB, 1 * MIB)
                    self.assertEqual(server.sha256("disk", name), model.sha256)
                server.unexport()
                server.daemon.stop()


    def test_large_disk(self):
        """The digest of a bitmap of 4 MiB, of which only the first and the last granule are dirty."""
        size = 16 << 30
        for program in programs():
            with self.subTest(program=program):
                server = Server(self, program)
                server.execute("blockdev-add", {"driver": "null-co", "node-name": "large", "size": size})
                server.add("large", "b", granularity=512)
                server.top = "large"
                server.export()
                server.change("write", 0, 1)
                server.change("write", size - 1, 1)
                server.unexport()
                digest = hashlib.sha256(b"\x01" + bytes(size // 512 // 8 - 2) + b"\x80").hexdigest()
                self.assertEqual(server.bitmaps("large"), [("b", 512, 1024, True, digest)])
                server.daemon.stop()


class EmptyMergeTest(unittest.TestCase):
    """A merge of no bitmaps."""

    @settings.unlike_qemu("it crashes")
    def test_empty_list(self):
        """It is an error, and the server goes on."""
        server = Server(self, settings.program())
        server.add("disk", "b")
        reply = server.daemon.qmp.command("block-dirty-bitmap-merge", {"node": "disk", "target": "b", "bitmaps": []})
        self.assertEqual(reply["error"]["desc"], "Parameter 'bitmaps' expects at least one bitmap")
        self.assertEqual([each[0] for each in server.bitmaps("disk")], ["b"])
        server.daemon.stop()


if __name__ == "__main__":
    unittest.main()

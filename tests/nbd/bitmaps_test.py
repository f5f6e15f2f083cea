"""Exported dirty bitmaps: their meta contexts, what BLOCK_STATUS says of them, and clients that read their maps."""

import json
import random
import struct
import threading
import time

from lib import images, nbd_raw, settings, tools
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, null_node

BASE, DEPTH, PREFIX = "base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:"
SIZE = 8 * MIB
GRANULARITY = 4 * KIB


def map_of(ranges, size, granularity=GRANULARITY):
    """The (length, status) pairs of a disk with these dirty ranges."""
    granules = {granule for offset, length in ranges
                for granule in range(offset // granularity, (offset + length - 1) // granularity + 1)}
    extents = []
    for granule in range(-(-size // granularity)):
        length = min(granularity, size - granule * granularity)
        status = int(granule in granules)
        if extents and extents[-1][1] == status:
            extents[-1] = (extents[-1][0] + length, status)
        else:
            extents.append((length, status))
    return extents


def cut(extents, offset, length):
    """The part of a map."""
    result, start = [], 0
    for size, status in extents:
        first, last = max(start, offset), min(start + size, offset + length)
        if first < last:
            result.append((last - first, status))
        start += size
    return result


def joined(extents):
    """A map whose neighbours of one status are one."""
    result = []
    for length, status in extents:
        if result and result[-1][1] == status:
            length += result.pop()[0]
        result.append((length, status))
    return result


class BitmapsTest(DaemonTest):
    """A sparse disk and a null node, to which tests add bitmaps and exports."""

    @classmethod
    def prepare(cls):
        cls.path_of_disk = images.make_sparse(cls.path("disk.img"), SIZE, [(MIB, MIB)])
        return [*file_node("disk", cls.path_of_disk, discard="unmap"), *null_node("other", SIZE)]

    def add_bitmap(self, name, node="disk", granularity=GRANULARITY, **options):
        """A bitmap, which goes when the test ends."""
        self.qmp.execute("block-dirty-bitmap-add",
                         {"node": node, "name": name, "granularity": granularity, **options})
        self.addCleanup(self.qmp.execute, "block-dirty-bitmap-remove", {"node": node, "name": name})

    def dirty(self, ranges, node="disk"):
        """Writes to these ranges."""
        self.add_export("writer", node, name="writer", writable=True)
        connection = self.session("writer")
        for offset, length in ranges:
            self.assertEqual(connection.write(offset, b"w" * length), 0)
        connection.close()
        self.drop_export("writer")

    def disable(self, *names, node="disk"):
        """Freezes bitmaps."""
        for name in names:
            self.qmp.execute("block-dirty-bitmap-disable", {"node": node, "name": name})

    def frozen(self, ranges, name="b", **options):
        """A bitmap that these writes have marked, frozen, and exported as `disk`."""
        self.add_bitmap(name)
        self.dirty(ranges)
        self.disable(name)
        self.add_export("disk", bitmaps=[name], **options)

    def structured(self):
        """A connection that negotiated structured replies and is still haggling."""
        connection = self.client()
        connection.structured_reply()
        return connection


class BitmapContextsTest(BitmapsTest):
    """LIST_META_CONTEXT and SET_META_CONTEXT."""

    def setUp(self):
        super().setUp()
        self.add_bitmap("b", disabled=True)
        self.add_bitmap("a:b c\u00e4", disabled=True)
        self.add_bitmap("b", "other", disabled=True)
        self.names = [PREFIX + "b", PREFIX + "a:b c\u00e4", PREFIX + "b"]
        self.add_export("disk", bitmaps=["b", "a:b c\u00e4", {"node": "other", "name": "b"}],
                        **{"allocation-depth": True})

    def test_list(self):
        """All contexts of bitmaps come in the order of the options, behind the others."""
        connection = self.structured()
        self.assertEqual(connection.list_contexts("disk"), [BASE, DEPTH, *self.names])
        self.assertEqual(connection.list_contexts("disk", ["qemu:"]), [DEPTH, *self.names])
        self.assertEqual(connection.list_contexts("disk", [PREFIX]), self.names)
        self.assertEqual(connection.list_contexts("disk", [PREFIX, BASE]), [BASE, *self.names])

    def test_list_of_one_name(self):
        """An exact name means one bitmap, the first of that name; a part of a name means none."""
        connection = self.structured()
        for name, found in ((self.names[0], [self.names[0]]), (self.names[1], [self.names[1]]), (PREFIX + "a:", []),
                            (PREFIX[:-1], []), (PREFIX + "bb", []), ("dirty-bitmap:b", [])):
            self.assertEqual(connection.list_contexts("disk", [name]), found, name)

    def test_set(self):
        """SET takes exact names alone, and gives the ids by the order of the options."""
        for queries, found in (([self.names[0], DEPTH], {DEPTH: 1, self.names[0]: 2}),
                               ([self.names[1], BASE], {BASE: 0, self.names[1]: 3}),
                               ([PREFIX, "qemu:", PREFIX + "nope"], {}),
                               ([self.names[0], self.names[0]], {self.names[0]: 2})):
            self.assertEqual(self.structured().set_contexts("disk", queries), found, queries)


class BitmapStatusTest(BitmapsTest):
    """BLOCK_STATUS of contexts of bitmaps."""

    RANGES = [(0, 1), (GRANULARITY - 1, 2), (MIB + 5, 3 * GRANULARITY), (5 * MIB, 512), (SIZE - 1, 1)]

    def modes(self):
        """The modes that have contexts."""
        return [mode for mode in settings.modes() if mode != "simple"]

    def test_map(self):
        """The map has the dirty granules, merged where they touch."""
        self.frozen(self.RANGES)
        for mode in self.modes():
            connection = self.session("disk", mode, [PREFIX + "b"])
            self.assertEqual(connection.block_status(0, SIZE), map_of(self.RANGES, SIZE))

    def test_parts(self):
        """Parts of the map need no alignment, and end with the request."""
        self.frozen(self.RANGES)
        whole = map_of(self.RANGES, SIZE)
        generator = random.Random(1)
        for mode in self.modes():
            connection = self.session("disk", mode, [PREFIX + "b"])
            for _ in range(200):
                offset = generator.randrange(SIZE)
                length = min(SIZE - offset, generator.choice((1, 511, GRANULARITY, MIB, SIZE)))
                self.assertEqual(connection.block_status(offset, length), cut(whole, offset, length))
                first = connection.block_status(offset, length, FLAG_REQ_ONE)
                self.assertEqual(first, cut(whole, offset, length)[:1])

    def test_clean_and_dirty(self):
        """A clean bitmap is one extent, and so is one that is dirty everywhere."""
        self.add_bitmap("clean", disabled=True)
        self.add_bitmap("dirty")
        self.dirty([(0, SIZE // 2), (SIZE // 2, SIZE // 2)])
        self.disable("dirty")
        self.add_export("disk", bitmaps=["clean", "dirty"])
        for mode in self.modes():
            connection = self.session("disk", mode, [PREFIX + "clean", PREFIX + "dirty"])
            reply = connection.call(CMD_BLOCK_STATUS, 0, SIZE)
            self.assertEqual([reply.extents(2), reply.extents(3)], [[(SIZE, 0)], [(SIZE, 1)]])

    def test_beside_other_contexts(self):
        """Every context that was chosen has its chunk, in the order of ids, and says what it says alone."""
        self.frozen(self.RANGES, **{"allocation-depth": True})
        for mode in self.modes():
            connection = self.session("disk", mode, [PREFIX + "b", BASE, DEPTH])
            reply = connection.call(CMD_BLOCK_STATUS, 0, SIZE)
            self.assertEqual([chunk.payload[:4] for chunk in reply.chunks],
                             [struct.pack(">I", number) for number in range(3)])
            self.assertEqual(reply.extents(0), self.session("disk", mode, [BASE]).block_status(0, SIZE))
            self.assertEqual(reply.extents(1), [(SIZE, 1)])
            self.assertEqual(reply.extents(2), map_of(self.RANGES, SIZE))

    def test_payload_filter(self):
        """A payload chooses among the contexts, bitmaps too."""
        if "extended" not in self.modes():
            self.skipTest("no extended headers")
        self.frozen(self.RANGES)
        connection = self.session("disk", "extended", [PREFIX + "b", BASE])
        for identities in ((2,), (0,), (2, 0)):
            payload = struct.pack(">Q", SIZE) + b"".join(struct.pack(">I", one) for one in identities)
            connection.cookies += 1
            connection.send(nbd_raw.request_bytes("extended", CMD_BLOCK_STATUS, 0, len(payload), FLAG_PAYLOAD_LEN,
                                                  connection.cookies) + payload)
            request = nbd_raw.Request(CMD_BLOCK_STATUS, 0, len(payload), FLAG_PAYLOAD_LEN, connection.cookies,
                                      "extended", connection.contexts, "disk", payload)
            reply = connection.read_reply(request)
            if 2 in identities:
                self.assertEqual(reply.extents(2), map_of(self.RANGES, SIZE))
        for identities in ((1,), (3,), (2, 2)):
            payload = struct.pack(">Q", SIZE) + b"".join(struct.pack(">I", one) for one in identities)
            connection.cookies += 1
            connection.send(nbd_raw.request_bytes("extended", CMD_BLOCK_STATUS, 0, len(payload), FLAG_PAYLOAD_LEN,
                                                  connection.cookies) + payload)
            request = nbd_raw.Request(CMD_BLOCK_STATUS, 0, len(payload), FLAG_PAYLOAD_LEN, connection.cookies,
                                      "extended", connection.contexts, "disk", payload)
            self.assertEqual(connection.read_reply(request).error, EINVAL)

    def test_changes_show(self):
        """An enabled bitmap shows each write, zeroes and trim once it was answered."""
        self.add_bitmap("live")
        self.add_export("disk", writable=True, bitmaps=["live"])
        connection = self.session("disk", "structured", [PREFIX + "live"])
        ranges = []
        for command, offset in ((CMD_WRITE, 0), (CMD_WRITE_ZEROES, MIB), (CMD_TRIM, 2 * MIB), (CMD_WRITE, 512)):
            payload = bytes(GRANULARITY) if command == CMD_WRITE else b""
            self.assertEqual(connection.call(command, offset, GRANULARITY, 0, payload).error, 0)
            ranges.append((offset, GRANULARITY))
            self.assertEqual(connection.block_status(0, SIZE), map_of(ranges, SIZE))

    def test_bitmap_of_another_node(self):
        """A bitmap of another node shows the changes of that node alone."""
        self.add_bitmap("b", "other")
        self.add_export("other", writable=True)
        self.add_export("disk", writable=True, bitmaps=[{"node": "other", "name": "b"}])
        reader = self.session("disk", "structured", [PREFIX + "b"])
        writer = self.session("other")
        self.assertEqual(reader.write(MIB, b"x" * 512), 0)
        self.assertEqual(reader.block_status(0, SIZE), [(SIZE, 0)])
        self.assertEqual(writer.write(MIB, b"x" * 512), 0)
        self.assertEqual(reader.block_status(0, SIZE), map_of([(MIB, 512)], SIZE))

    def test_bounded_replies(self):
        """A reply has a bounded number of extents, and a client gets the rest by asking on from its end."""
        size, granularity, count = 256 * MIB, 512, 140_000
        self.add_node("long", driver="null-co", size=size)
        self.add_bitmap("b", "long", granularity)
        self.add_export("long", writable=True, bitmaps=["b"])
        connection = self.session("long", "structured", [PREFIX + "b"])
        for first in range(0, count, 1000):
            numbers = range(first, first + 1000)
            connection.send(b"".join(nbd_raw.request_bytes("structured", CMD_WRITE_ZEROES, number * 1024, 512)
                                     for number in numbers))
            connection.receive(1000 * 16)
        found, offset, replies = [], 0, 0
        while offset < size:
            extents = connection.block_status(offset, size - offset)
            self.assertLessEqual(len(extents), 131072)
            found += extents
            offset += sum(length for length, _ in extents)
            replies += 1
        self.assertGreater(replies, 1)
        self.assertEqual(joined(found), [(512, 1), (512, 0)] * (count - 1) + [(512, 1), (size - count * 1024 + 512, 0)])
        connection.close()


class LiveBitmapTest(BitmapsTest):
    """Bitmaps that are read while others write."""

    def write_until(self, stop, export, seed, written):
        """Writes granules at random, and notes each that was answered."""
        connection = self.session(export)
        generator = random.Random(seed)
        while not stop.is_set():
            granule = generator.randrange(SIZE // GRANULARITY)
            if connection.write(granule * GRANULARITY, b"w" * 512) == 0:
                written.append(granule)

    def read_beside_writers(self, bitmap, check):
        """Calls check(granules that were written before, map) a hundred times beside four writers."""
        stop, written = threading.Event(), []
        writers = [threading.Thread(target=self.write_until, args=(stop, "writers", seed, written))
                   for seed in range(4)]
        reader = self.session("disk", "structured", [PREFIX + bitmap])
        for writer in writers:
            writer.start()
        try:
            deadline = time.monotonic() + settings.seconds(60)
            while len(written) < 10 and time.monotonic() < deadline:
                time.sleep(0.001)
            for _ in range(100):
                before = set(written)
                check(before, reader.block_status(0, SIZE))
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        self.assertGreater(len(written), 10)

    def test_live(self):
        """A map has every write that was answered before it was asked for, beside writers on other connections."""
        self.add_bitmap("live")
        self.add_export("writers", "disk", name="writers", writable=True)
        self.add_export("disk", writable=True, bitmaps=["live"])

        def check(written, extents):
            self.assertEqual(sum(length for length, _ in extents), SIZE)
            start, dirty = 0, set()
            for length, status in extents:
                if status:
                    dirty.update(range(start // GRANULARITY, (start + length) // GRANULARITY))
                start += length
            self.assertEqual(written - dirty, set())

        self.read_beside_writers("live", check)

    def test_frozen(self):
        """The map of a frozen bitmap stays as it is while others write."""
        ranges = [(0, 512), (MIB, MIB)]
        self.add_bitmap("frozen")
        self.dirty(ranges)
        self.disable("frozen")
        self.add_export("writers", "disk", name="writers", writable=True)
        self.add_export("disk", bitmaps=["frozen"])
        self.read_beside_writers("frozen", lambda _, extents: self.assertEqual(extents, map_of(ranges, SIZE)))


class HeldNodeTest(BitmapsTest):
    """The node of an exported bitmap, and its size."""

    @settings.unlike_qemu("it crashes")
    def test_node_is_in_use(self):
        """The node of a bitmap that another node's export offers cannot be removed."""
        self.add_node("third", driver="null-co", size=SIZE)
        self.qmp.execute("block-dirty-bitmap-add", {"node": "third", "name": "b"})
        self.add_export("disk", writable=True, bitmaps=[{"node": "third", "name": "b"}])
        reply = self.qmp.command("blockdev-del", {"node-name": "third"})
        self.assertEqual(reply["error"]["desc"], "Node third is in use")
        self.drop_export("disk")
        self.qmp.execute("blockdev-del", {"node-name": "third"})

    @settings.unlike_qemu("it crashes, and calls bytes past the end clean")
    def test_resize(self):
        """The map follows the size of the bitmap's node; nothing is known of what lies past it, which is dirty."""
        images.make_empty(self.path("sized.img"), SIZE)
        self.add_node("sized", driver="file", filename=self.path("sized.img"))
        self.add_bitmap("b", "sized")
        self.add_export("disk", writable=True, bitmaps=[{"node": "sized", "name": "b"}])
        connection = self.session("disk", "structured", [PREFIX + "b"])
        self.assertEqual(connection.block_status(0, SIZE), [(SIZE, 0)])
        for size, known in ((SIZE // 2, SIZE // 2), (2 * SIZE, SIZE), (SIZE, SIZE), (SIZE - 512, SIZE - 512)):
            self.qmp.execute("block_resize", {"node-name": "sized", "size": size})
            expected = [(known, 0)] + ([(SIZE - known, 1)] if known < SIZE else [])
            self.assertEqual(connection.block_status(0, SIZE), expected, size)
        connection.close()
        self.drop_export("disk")

    def test_bitmap_is_free_again(self):
        """When the export has gone, with a client that reads the map, the bitmap can be removed."""
        self.qmp.execute("block-dirty-bitmap-add", {"node": "disk", "name": "b"})
        self.add_export("disk", writable=True, bitmaps=["b"])
        connection = self.session("disk", "structured", [PREFIX + "b"])
        for _ in range(10):
            connection.send_request(CMD_BLOCK_STATUS, 0, SIZE)
        self.assertIn("error", self.qmp.command("block-dirty-bitmap-remove", {"node": "disk", "name": "b"}))
        self.drop_export("disk")
        self.qmp.execute("block-dirty-bitmap-remove", {"node": "disk", "name": "b"})

    @settings.unlike_qemu("a raw node is no filter there")
    def test_below_a_raw_node(self):
        """A bitmap of the node below a raw node that shows all of it is found by its name alone."""
        self.add_bitmap("b")
        self.dirty([(MIB, 1)])
        self.disable("b")
        self.add_node("raw", driver="raw", file="disk")
        self.add_export("raw", bitmaps=["b"])
        connection = self.session("raw", "structured", [PREFIX + "b"])
        self.assertEqual(connection.block_status(0, SIZE), map_of([(MIB, 1)], SIZE))
        connection.close()
        self.drop_export("raw")


class MapClientsTest(BitmapsTest):
    """Clients that other people wrote read the map."""

    RANGES = [(0, 512), (MIB, 2 * MIB), (SIZE - 512, 512)]

    def expected(self):
        """(offset, length, whether dirty) of each extent."""
        result, start = [], 0
        for length, status in map_of(self.RANGES, SIZE):
            result.append((start, length, bool(status)))
            start += length
        return result

    def test_nbdinfo(self):
        """nbdinfo --map prints the dirty extents, and lists the context."""
        self.frozen(self.RANGES)
        found = json.loads(tools.run("nbdinfo", f"--map={PREFIX}b", "--json", self.uri("disk")))
        self.assertEqual([(one["offset"], one["length"], bool(one["type"])) for one in found], self.expected())
        info = json.loads(tools.run("nbdinfo", "--json", self.uri("disk")))
        self.assertEqual(info["exports"][0]["contexts"], [BASE, PREFIX + "b"])

    def test_qemu_img(self):
        """qemu-img map reads the bitmap in place of the allocation: what is dirty is no data there."""
        self.frozen(self.RANGES)
        options = f"driver=nbd,export=disk,server.type=unix,server.path={self.daemon.nbd_path}," \
                  f"x-dirty-bitmap={PREFIX}b"
        found = json.loads(tools.run("qemu-img", "map", "--output=json", "--image-opts", options))
        self.assertEqual([(one["start"], one["length"], not one["data"]) for one in found], self.expected())

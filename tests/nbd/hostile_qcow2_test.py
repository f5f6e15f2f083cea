"""qcow2 images with wrong metadata, read and written: the server lives, answers, and keeps its memory small."""

import os
import random
import struct

from lib import images, qcow2, settings
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest

FLAGS = (0, qcow2.COPIED, qcow2.COMPRESSED, qcow2.ZERO, qcow2.COPIED | qcow2.ZERO)
# Offsets of numbers in the header, and their lengths.
HEADER_NUMBERS = ((8, 8), (16, 4), (20, 4), (24, 8), (32, 4), (36, 4), (40, 8), (48, 8), (56, 4), (60, 4), (64, 8),
                  (72, 8), (80, 8), (88, 8), (96, 4), (100, 4))


class HostileImagesTest(DaemonTest):
    """Each image is opened for writing, and used by a client."""

    ROUNDS = settings.repetitions(20, 950)
    # 11 kinds: 220 images, or 10,450.

    def sources(self):
        """The content of a sound image of each kind, with the places of its tables."""
        for kind in qcow2.KINDS:
            path = qcow2.make(self.path(f"sound-{kind}.qcow2"), kind, bitmaps=False)
            metadata = qcow2.Metadata(path)
            tables = [metadata.l1_offset, metadata.refcount_table, *metadata.l2_tables(), *metadata.refcount_blocks()]
            if metadata.snapshots:
                tables += [metadata.snapshots_offset, metadata.snapshot_l1()[0]]
            with open(path, "rb") as file:
                yield kind, file.read(), tables, metadata.cluster_bytes

    @staticmethod
    def damaged(sound, tables, cluster, chosen):
        """The image with flipped bits, wrong numbers in the header, and wrong entries of tables."""
        changed = bytearray(sound)
        for _ in range(chosen.randrange(4)):
            table = chosen.choice(tables)
            place = table + chosen.randrange(min(cluster, 512) // 8) * 8
            word = chosen.choice((0, table, 0x200, cluster, chosen.choice(tables), len(sound) // cluster * cluster,
                                  1 << 63, (1 << 56) - cluster, chosen.getrandbits(64)))
            struct.pack_into(">Q", changed, place, word | chosen.choice(FLAGS))
        if chosen.randrange(3) == 0:
            offset, length = chosen.choice(HEADER_NUMBERS)
            value = chosen.choice((0, 1, cluster, 1 << 31, 1 << 55, 1 << 63, chosen.getrandbits(64)))
            changed[offset:offset + length] = (value % (1 << 8 * length)).to_bytes(length, "big")
        for _ in range(chosen.randrange(3)):
            changed[chosen.choice((chosen.randrange(112), chosen.randrange(len(changed))))] ^= 1 << chosen.randrange(8)
        return bytes(changed[:chosen.randrange(len(changed))]) if chosen.randrange(20) == 0 else bytes(changed)

    def use(self, chosen):
        """Requests of a client at random places; errors do not matter."""
        client = self.session("image", "structured", ["base:allocation"])
        size = client.info.size // 512 * 512
        for _ in range(8 if size else 0):
            offset = chosen.choice((0, MIB, 8 * MIB, chosen.randrange(size), size)) % size // 512 * 512
            length = min(size - offset, chosen.choice((512, 64 * KIB, MIB)))
            command = chosen.choice((CMD_READ, CMD_WRITE, CMD_WRITE, CMD_WRITE_ZEROES, CMD_TRIM, CMD_FLUSH,
                                     CMD_BLOCK_STATUS))
            payload = bytes([chosen.randrange(256)]) * length if command == CMD_WRITE else b""
            place = (0, 0) if command == CMD_FLUSH else (offset, length)
            client.call(command, *place, payload=payload, judge=False)
        client.close()

    def test_images(self):
        """None of them ends the server or makes it wait, and none makes it large."""
        chosen = random.Random(23)
        opened = count = 0
        path = self.path("image.qcow2")
        for kind, sound, tables, cluster in self.sources():
            node = {"driver": "qcow2", "node-name": "image", "discard": "unmap",
                    "file": {"driver": "file", "filename": path}}
            if kind == "data-file":
                node["data-file"] = {"driver": "file", "filename": self.path("sound-data-file.qcow2.data")}
            for _ in range(self.ROUNDS):
                count += 1
                images.write_file(path, self.damaged(sound, tables, cluster, chosen))
                if "error" in self.qmp.command("blockdev-add", {**node, "backing": None}):
                    continue
                opened += 1
                self.qmp.execute("block-export-add",
                                 {"type": "nbd", "id": "image", "node-name": "image", "writable": True}
                                 ) if chosen.randrange(8) else self.qmp.command(
                                     "block_resize", {"node-name": "image", "size": chosen.randrange(64) * 512 * KIB})
                if self.qmp.execute("query-block-exports"):
                    self.use(chosen)
                    self.drop_export("image")
                self.qmp.execute("blockdev-del", {"node-name": "image"})
            if not settings.sanitized():
                self.assertLess(self.daemon.rss(), 300 * MIB, kind)
        self.assertGreater(opened, count // 10)
        if os.environ.get("BLOCKEXPORT_THOROUGH"):
            print(f"COUNT {count}, memory {self.daemon.rss() // MIB} MiB")

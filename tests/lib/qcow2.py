"""qcow2 images for tests: made by qemu-img in many kinds, and their metadata, to be damaged."""

import array
import os
import struct
import sys

from lib import images, tools

OFFSET_MASK = 0x00fffffffffffe00
COPIED = 1 << 63
COMPRESSED = 1 << 62
ZERO = 1

# Name of a kind of image: options for qemu-img create, besides the size; what is done to it afterwards.
KINDS = {
    "default": {},
    "version2": {"compat": "0.10"},
    "small-clusters": {"cluster_size": "512"},
    "large-clusters": {"cluster_size": "2M"},
    "refcounts-1": {"refcount_bits": "1"},
    "refcounts-4": {"refcount_bits": "4"},
    "refcounts-8": {"refcount_bits": "8", "cluster_size": "4k"},
    "refcounts-64": {"refcount_bits": "64", "cluster_size": "1k"},
    "extended-l2": {"extended_l2": "on", "cluster_size": "16k"},
    "data-file": {"data_file": "DATA", "cluster_size": "4k"},
    "zstd": {"compression_type": "zstd", "cluster_size": "8k"},
}
SIZE = 12 * images.MIB


def make(path, kind, snapshots=True, bitmaps=True):
    """Makes an image of that kind with data, zeroes, compressed clusters, snapshots and bitmaps, as far as it can."""
    options = dict(KINDS[kind])
    if "data_file" in options:
        options["data_file"] = path + ".data"
    text = ",".join(f"{name}={value}" for name, value in options.items())
    tools.run("qemu-img", "create", "-q", "-f", "qcow2", *(["-o", text] if text else []), path, str(SIZE))
    write(path, "write -P 1 0 96k", "write -P 2 1M 64k")
    if kind not in ("refcounts-1", "data-file"):
        write(path, "write -c -P 5 8M " + ("2M" if kind == "large-clusters" else "64k"))
        if snapshots:
            tools.run("qemu-img", "snapshot", "-c", "first", path)
            write(path, "write -P 3 32k 64k", "write -P 4 3M 16k")
    if kind != "version2":
        write(path, "write -z 1536k 128k", "discard 1M 4k")
        if bitmaps:
            tools.run("qemu-img", "bitmap", "--add", "-g", "64k", path, "since")
            write(path, "write -P 6 1792k 8k")
    return path


def write(path, *commands):
    """Lets qemu-io change the image."""
    arguments = [word for command in commands for word in ("-c", command)]
    tools.run("qemu-io", "-f", "qcow2", *arguments, path)


class Metadata:
    """The metadata of an image: where each table is. Words are read from the file, and written to it, at once."""

    def __init__(self, path):
        self.path = path
        self.version = self.number(4, 4)
        self.cluster_bytes = 1 << self.number(20, 4)
        self.l1_entries = self.number(36, 4)
        self.l1_offset = self.number(40, 8)
        self.refcount_table = self.number(48, 8)
        self.refcount_table_bytes = self.number(56, 4) * self.cluster_bytes
        self.snapshots = self.number(60, 4)
        self.snapshots_offset = self.number(64, 8)
        self.incompatible = self.number(72, 8) if self.version == 3 else 0
        self.refcount_bits = 1 << self.number(96, 4) if self.version == 3 else 16
        self.l2_entry_bytes = 16 if self.incompatible & 16 else 8
        self.has_data_file = self.incompatible & 4 != 0

    def read(self, offset, length):
        """Bytes of the file; zeros past its end."""
        with open(self.path, "rb") as file:
            file.seek(min(offset, self.file_bytes()))
            return file.read(length).ljust(length, b"\0")

    def write(self, offset, data):
        """Overwrites bytes of the file."""
        with open(self.path, "r+b") as file:
            file.seek(offset)
            file.write(data)

    def number(self, offset, length):
        """A big-endian number."""
        return int.from_bytes(self.read(offset, length), "big")

    def set_number(self, offset, length, value):
        """Overwrites a big-endian number."""
        self.write(offset, value.to_bytes(length, "big"))

    def words(self, offset, count):
        """Words of a table."""
        return struct.unpack(f">{count}Q", self.read(offset, 8 * count))

    def l2_tables(self):
        """Offsets of the L2 tables of the active disk."""
        return [word & OFFSET_MASK for word in self.words(self.l1_offset, self.l1_entries) if word & OFFSET_MASK]

    def l2_entries(self, is_wanted=lambda word: word != 0):
        """Offsets in the file of the entries of the active disk that are wanted."""
        found = []
        for table in self.l2_tables():
            words = self.words(table, self.cluster_bytes // 8)
            step = self.l2_entry_bytes // 8
            found += [table + 8 * i for i in range(0, len(words), step) if is_wanted(words[i])]
        return found

    def data_entries(self):
        """Offsets of the entries with a host cluster that is not compressed."""
        return self.l2_entries(lambda word: word & OFFSET_MASK and not word & COMPRESSED)

    def refcount_blocks(self):
        """Offsets of the refcount blocks."""
        words = self.words(self.refcount_table, self.refcount_table_bytes // 8)
        return [word & OFFSET_MASK for word in words if word]

    def refcount_place(self, cluster):
        """The place of the refcount of a cluster, for widths of at least a byte: offset and length."""
        width = self.refcount_bits // 8
        entries = self.cluster_bytes // width
        block = self.words(self.refcount_table, self.refcount_table_bytes // 8)[cluster // entries] & ~511
        return block + cluster % entries * width, width

    def set_refcount(self, cluster, value):
        """Overwrites the refcount of a cluster."""
        offset, length = self.refcount_place(cluster)
        self.set_number(offset, length, value)

    def snapshot_l1(self):
        """Offset and number of entries of the L1 table of the first snapshot."""
        return self.number(self.snapshots_offset, 8), self.number(self.snapshots_offset + 8, 4)

    def extensions(self):
        """Type to (offset of the data, length)."""
        offset = self.number(100, 4) if self.version == 3 else 72
        found = {}
        while (kind := self.number(offset, 4)) != 0:
            length = self.number(offset + 4, 4)
            found[kind] = (offset + 8, length)
            offset += 8 + (length + 7) // 8 * 8
        return found

    def bitmap_directory(self):
        """Offset and length of the directory of bitmaps; None without."""
        place = self.extensions().get(0x23852875)
        return place and (self.number(place[0] + 16, 8), self.number(place[0] + 8, 8))

    def bitmap_table(self):
        """Offset and number of entries of the table of the first bitmap."""
        directory = self.bitmap_directory()[0]
        return self.number(directory, 8), self.number(directory + 8, 4)

    def file_bytes(self):
        """The size of the file."""
        return os.path.getsize(self.path)


def make_full(path, clusters, cluster_bits, dirty=False, l1_entries=None):
    """Makes an image of version 3 with that many guest clusters, all of them allocated in order, whose data are a hole.

    qemu-img takes minutes for millions of clusters. `dirty`: all refcounts are 0, as after the end of a program that
    wrote with lazy refcounts. `l1_entries`: makes the disk larger, with nothing in it there.
    """
    cluster = 1 << cluster_bits
    in_table = cluster // 8
    tables = -(-clusters // in_table)
    l1_entries = l1_entries or tables
    l1_clusters = -(-l1_entries * 8 // cluster)
    in_block = cluster // 2
    blocks = table_clusters = 1
    for _ in range(8):  # the refcounts of the refcounts count too
        used = 1 + table_clusters + blocks + l1_clusters + tables + clusters
        blocks = -(-used // in_block)
        table_clusters = -(-blocks * 8 // cluster)
    block_begin = 1 + table_clusters
    l1_begin = block_begin + blocks
    l2_begin = l1_begin + l1_clusters
    data_begin = l2_begin + tables
    used = data_begin + clusters
    header = struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, cluster_bits, l1_entries * in_table * cluster, 0,
                         l1_entries, l1_begin * cluster, cluster, table_clusters, 0, 0, 1 if dirty else 0, 0, 0, 4, 104)
    with open(path, "wb") as file:
        file.write(header)
        file.seek(cluster)
        file.write(_offsets(block_begin, blocks, cluster, 0))
        file.seek(block_begin * cluster)
        if not dirty:
            file.write(b"\0\1" * used)
        file.seek(l1_begin * cluster)
        file.write(_offsets(l2_begin, tables, cluster, COPIED))
        file.seek(l2_begin * cluster)
        file.write(_offsets(data_begin, clusters, cluster, COPIED))
        file.truncate(used * cluster)
    return path


def _offsets(first, count, cluster, flags):
    words = array.array("Q", (flags | (first + i) * cluster for i in range(count)))
    if sys.byteorder == "little":
        words.byteswap()
    return words.tobytes()

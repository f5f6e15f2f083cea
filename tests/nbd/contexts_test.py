"""Meta contexts and BLOCK_STATUS in compact mode.

The rule numbers are those of docs/nbd-rules.md.
"""

import struct

from lib import images, settings
from lib.images import KIB, MIB
from lib.nbd_raw import meta_bytes
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, nbd_export, null_node

BASE, DEPTH = "base:allocation", "qemu:allocation-depth"
SIZE = 8 * MIB


class ContextsTest(DaemonTest):
    """A sparse file that offers both contexts, one that offers base:allocation, and null nodes."""

    @classmethod
    def prepare(cls):
        cls.sparse = images.make_sparse(cls.path("sparse.img"), SIZE, [(MIB, MIB), (4 * MIB, 64 * KIB)])
        return [*file_node("sparse", cls.sparse, discard="unmap"),
                *nbd_export("sparse", writable="on", **{"allocation-depth": "on"}),
                *null_node("null", 1 << 40), *nbd_export("null"),
                *null_node("zero", 1 << 30, **{"read-zeroes": "on"}), *nbd_export("zero"),
                "--export", "type=nbd,id=plain,node-name=sparse,name=plain"]

    def structured(self):
        """A connection that negotiated structured replies and is still haggling."""
        connection = self.client()
        connection.structured_reply()
        return connection


class ListTest(ContextsTest):
    """LIST_META_CONTEXT."""

    def test_no_queries_list_everything(self):
        """R76 R77: no query means all contexts of the export."""
        self.assertEqual(self.structured().list_contexts("sparse"), [BASE, DEPTH])
        self.assertEqual(self.structured().list_contexts("plain"), [BASE])

    def test_wildcards(self):
        """R78 R81 R93: `base:` and `qemu:` are wildcards for LIST."""
        connection = self.structured()
        self.assertEqual(connection.list_contexts("sparse", ["base:"]), [BASE])
        self.assertEqual(connection.list_contexts("sparse", ["qemu:"]), [DEPTH])
        self.assertEqual(connection.list_contexts("sparse", ["qemu:", "base:"]), [BASE, DEPTH])

    def test_without_structured_replies(self):
        """LIST_META_CONTEXT is answered before structured replies too, as QSD does."""
        self.assertEqual(self.client().list_contexts("plain"), [BASE])

    def test_ids_are_zero(self):
        """R79: context ids in LIST answers are zero."""
        connection = self.structured()
        replies = connection.option(OPT_LIST_META_CONTEXT, meta_bytes("sparse"))
        self.assertEqual({data[:4] for _, data in replies[:-1]}, {bytes(4)})

    def test_unknown_queries_are_ignored(self):
        """R74 R75 R83: unknown namespaces and leaves select nothing, without an error."""
        queries = ["x-other:", "base:unknown", "nobase:allocation", "base", "", ":", "allocation",
                   "qemu:dirty-bitmap:b", "qemu:dirty-bitmap:", "base:allocation ", "BASE:allocation", "q" * 4096,
                   "base:" + "x" * 4000]
        self.assertEqual(self.structured().list_contexts("plain", queries), [])

    def test_duplicate_queries(self):
        """R78: a context is reported once however often it was asked for."""
        self.assertEqual(self.structured().list_contexts("plain", [BASE, BASE, "base:"]), [BASE])

    def test_unknown_export(self):
        """An unknown export gets ERR_UNKNOWN."""
        connection = self.structured()
        for number in (OPT_LIST_META_CONTEXT, OPT_SET_META_CONTEXT):
            self.assertEqual(connection.option_result(number, meta_bytes("nowhere", [BASE])), ERR_UNKNOWN)

    def test_malformed(self):
        """R73 R89: lengths that do not fit get ERR_INVALID, and the stream stays in step."""
        name = struct.pack(">I", 5) + b"plain"
        cases = [b"", b"\0\0", struct.pack(">I", 6) + b"plain", name, name + bytes(3),
                 name + struct.pack(">I", 1), name + struct.pack(">II", 1, 1), name + struct.pack(">II", 1, 0xFFFFFFFF),
                 name + struct.pack(">II", 2, 0), name + struct.pack(">I", 0xFFFFFFFF),
                 name + struct.pack(">II", 1, 16) + b"base:allocation",
                 struct.pack(">I", 0xFFFFFFFF) + name]
        connection = self.structured()
        for number in (OPT_LIST_META_CONTEXT, OPT_SET_META_CONTEXT):
            for data in cases:
                self.assertEqual(connection.option_result(number, data), ERR_INVALID, f"option {number}: {data!r}")
        self.assertEqual(connection.list_contexts("plain"), [BASE])

    @settings.unlike_qemu("trailing bytes are ignored when there are no queries")
    def test_trailing_bytes(self):
        """R73: bytes after the last query get ERR_INVALID."""
        connection = self.structured()
        for queries in ([], [BASE]):
            kind = connection.option_result(OPT_LIST_META_CONTEXT, meta_bytes("plain", queries) + b"x")
            self.assertEqual(kind, ERR_INVALID, queries)
        self.assertEqual(connection.list_contexts("plain"), [BASE])

    def test_overlong_query_is_skipped(self):
        """A query above 4096 bytes selects nothing, and those behind it are looked at."""
        connection = self.structured()
        self.assertEqual(connection.list_contexts("plain", ["b" * 4097]), [])
        self.assertEqual(connection.list_contexts("plain", [BASE + "x" * 4096, BASE]), [BASE])
        self.assertEqual(connection.list_contexts("plain"), [BASE])

    def test_list_does_not_select(self):
        """R94: LIST leaves what SET selected."""
        connection = self.structured()
        connection.set_contexts("sparse", [BASE])
        connection.list_contexts("sparse", [DEPTH])
        connection.go("sparse")
        self.assertTrue(connection.block_status(0, MIB))


class SetTest(ContextsTest):
    """SET_META_CONTEXT."""

    def test_before_structured_replies(self):
        """R88: SET before structured replies is invalid, and selects nothing for afterwards."""
        connection = self.client()
        kind = connection.option_result(OPT_SET_META_CONTEXT, meta_bytes("plain", [BASE]))
        self.assertEqual(kind, ERR_INVALID)
        connection.structured_reply()
        connection.go("plain")
        self.assertEqual(connection.call(CMD_BLOCK_STATUS, 0, 512).error, EINVAL)

    def test_select_both(self):
        """R87 R172: both contexts have their own id and their own chunk."""
        connection = self.structured()
        contexts = connection.set_contexts("sparse", [DEPTH, BASE])
        self.assertEqual(contexts, {BASE: 0, DEPTH: 1})
        connection.go("sparse")
        reply = connection.call(CMD_BLOCK_STATUS, 0, SIZE)
        self.assertEqual(len(reply.chunks), 2)
        self.assertEqual({status for _, status in reply.extents(1)}, {1})

    def test_wildcards_select_nothing(self):
        """R82 R84 R93: `base:` and `qemu:` select nothing in SET."""
        self.assertEqual(self.structured().set_contexts("sparse", ["base:", "qemu:", "qemu:dirty-bitmap:"]), {})

    def test_zero_queries(self):
        """R86: no query selects nothing."""
        self.assertEqual(self.structured().set_contexts("plain", []), {})

    def test_second_set_replaces_the_first(self):
        """R85: a later SET takes the place of the earlier one, also when it selects nothing or fails."""
        later = [meta_bytes("plain", []), meta_bytes("plain", ["x:y"]), meta_bytes("nowhere", [BASE]), b"bad"]
        for number, data in enumerate(later):
            connection = self.structured()
            connection.set_contexts("plain", [BASE])
            connection.option(OPT_SET_META_CONTEXT, data)
            connection.go("plain")
            self.assertEqual(connection.call(CMD_BLOCK_STATUS, 0, 512).error, EINVAL, f"case {number}")

    def test_contexts_of_another_export(self):
        """R90: contexts that were chosen for another export do not count."""
        connection = self.structured()
        connection.set_contexts("null", [BASE])
        connection.go("plain")
        self.assertEqual(connection.call(CMD_BLOCK_STATUS, 0, 512).error, EINVAL)

    def test_without_contexts(self):
        """R90: BLOCK_STATUS without a context gets EINVAL, in simple mode too, and the connection lives."""
        for mode in ("simple", "structured"):
            connection = self.session("plain", mode)
            self.assertEqual(connection.call(CMD_BLOCK_STATUS, 0, 512).error, EINVAL)
            self.assertEqual(len(connection.read(0, 512)), 512)

    def test_depth_only_where_offered(self):
        """qemu:allocation-depth is offered by the exports that were made so."""
        self.assertEqual(self.structured().set_contexts("plain", [DEPTH]), {})


class StatusTest(ContextsTest):
    """BLOCK_STATUS."""

    def status(self, export, contexts=(BASE,)):
        """A structured session with contexts."""
        return self.session(export, "structured", contexts)

    def test_map_of_a_sparse_file(self):
        """R172 R174 R177 R178 R179 R182: the extents of the file: data 0, holes HOLE|ZERO."""
        extents = self.status("plain").block_status(0, SIZE)
        self.assertEqual(extents, [(MIB, 3), (MIB, 0), (2 * MIB, 3), (64 * KIB, 0), (4 * MIB - 64 * KIB, 3)])

    def test_extents_end_with_the_request(self):
        """R174: extents of a part begin at its offset and do not go past it."""
        extents = self.status("plain").block_status(MIB + 4096, 8192)
        self.assertEqual(extents, [(8192, 0)])

    def test_one_extent(self):
        """R175: REQ_ONE gives one extent, at most as long as the request."""
        connection = self.status("plain")
        self.assertEqual(connection.block_status(0, SIZE, FLAG_REQ_ONE), [(MIB, 3)])
        self.assertEqual(connection.block_status(0, 512, FLAG_REQ_ONE), [(512, 3)])

    def test_unaligned(self):
        """Offsets and lengths need no alignment."""
        self.assertEqual(sum(length for length, _ in self.status("plain").block_status(777, 12345)), 12345)

    def test_null_node(self):
        """A null node without read-zeroes is a hole that may read as anything; with it, zero."""
        self.assertEqual(self.status("null").block_status(0, MIB), [(MIB, STATE_HOLE)])
        self.assertEqual(self.status("zero").block_status(0, MIB), [(MIB, STATE_HOLE | STATE_ZERO)])

    def test_allocation_depth(self):
        """A raw file is depth 1 throughout, holes too; a null node is 0."""
        connection = self.status("sparse", (DEPTH,))
        self.assertEqual(connection.block_status(0, SIZE, context=1), [(SIZE, 1)])

    def test_depth_and_allocation_together(self):
        """Asking for the depth does not change what base:allocation says."""
        both = self.status("sparse", (BASE, DEPTH))
        for _ in range(3):
            reply = both.call(CMD_BLOCK_STATUS, 0, SIZE)
            self.assertEqual(reply.extents(0), self.status("plain").block_status(0, SIZE))

    def test_zero_length(self):
        """R157: a length of zero gets EINVAL and the connection lives."""
        connection = self.status("plain")
        self.assertEqual(connection.call(CMD_BLOCK_STATUS, 0, 0).error, EINVAL)
        self.assertEqual(len(connection.read(0, 512)), 512)

    def test_past_the_end(self):
        """R150: past the end gets EINVAL."""
        connection = self.status("plain")
        for offset, length in ((SIZE, 1), (SIZE - 1, 2), (0, SIZE + 1), (1 << 63, 512), ((1 << 64) - 512, 1024)):
            self.assertEqual(connection.call(CMD_BLOCK_STATUS, offset, length).error, EINVAL, f"{offset}+{length}")

    def test_four_gigabytes(self):
        """BLOCK_STATUS of nearly 4 GiB over one larger extent is one extent of that length."""
        connection = self.status("null")
        for length in (0xFFFFFFFF, 0xFFFFFE00, 0x80000000):
            for flags in (0, FLAG_REQ_ONE):
                self.assertEqual(connection.block_status(0, length, flags), [(length, STATE_HOLE)])

    def test_write_changes_the_map(self):
        """A write fills a hole, write zeroes and trim make one, and the map follows."""
        connection = self.status("sparse")
        start = 6 * MIB
        self.assertEqual(connection.block_status(start, MIB), [(MIB, 3)])
        connection.write(start, b"\1" * 64 * KIB)
        self.assertEqual(connection.block_status(start, MIB), [(64 * KIB, 0), (MIB - 64 * KIB, 3)])
        self.assertEqual(connection.call(CMD_WRITE_ZEROES, start, 64 * KIB).error, 0)
        self.assertEqual(connection.block_status(start, MIB), [(MIB, 3)])
        connection.write(start, b"\1" * 64 * KIB)
        self.assertEqual(connection.call(CMD_TRIM, start, 64 * KIB).error, 0)
        self.assertEqual(connection.block_status(start, MIB), [(MIB, 3)])

    def test_no_hole(self):
        """R164 R165: WRITE_ZEROES reads zero and gives the space back; with NO_HOLE it keeps the space."""
        if not images.makes_holes(self.workdir):
            self.skipTest("this file system makes no holes")
        connection = self.status("sparse")
        start = 7 * MIB
        for flags in (FLAG_NO_HOLE, 0):
            self.assertEqual(connection.write(start, b"\1" * 256 * KIB), 0)
            before = images.allocated(self.sparse)
            self.assertEqual(connection.call(CMD_WRITE_ZEROES, start, 256 * KIB, flags).error, 0)
            self.assertEqual(connection.read(start, 256 * KIB), bytes(256 * KIB))
            if flags:
                self.assertGreaterEqual(images.allocated(self.sparse), before)
            else:
                self.assertLessEqual(images.allocated(self.sparse), before - 256 * KIB)

    def test_many_extents(self):
        """R176: a file with thousands of extents is mapped whole, in one answer or several."""
        path = images.make_empty(self.path("many.img"), 64 * MIB)
        with open(path, "r+b") as file:
            for offset in range(0, 64 * MIB, 16 * KIB):
                file.seek(offset)
                file.write(b"x")
        self.add_node("many", driver="file", filename=path)
        self.add_export("many")
        connection = self.status("many")
        offset, found = 0, []
        while offset < 64 * MIB:
            extents = connection.block_status(offset, 64 * MIB - offset)
            found += [extent for extent in extents]
            offset += sum(length for length, _ in extents)
        self.assertEqual(sum(length for length, status in found if status == 0),
                         sum(length for _, length in images.data_ranges(path)))

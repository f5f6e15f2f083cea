"""Transactions of bitmap actions under load: all or nothing, and no write between two of them is lost."""

import random
import threading
import time

from lib import images
from lib.images import KIB, MIB
from lib.testcase import DaemonTest, file_node, null_node

SIZE = 4 * MIB
GRANULARITY = 4 * KIB


class Writer(threading.Thread):
    """A client that writes at random, and knows when each write began and ended."""

    def __init__(self, connection, seed):
        super().__init__()
        self.connection, self.random = connection, random.Random(seed)
        self.stopping = False
        self.writes = []
        self.failure = None

    def run(self):
        try:
            while not self.stopping:
                length = self.random.choice((1, 512, 4096, 5000))
                offset = self.random.randrange(SIZE - length)
                begin = time.monotonic()
                error = self.connection.write(offset, b"w" * length)
                if error:
                    raise AssertionError(f"a write failed with {error}")
                self.writes.append((begin, time.monotonic(), offset, length))
        except Exception as error:  # pylint: disable=broad-exception-caught
            self.failure = error


def action(kind, name, **options):
    """An action on a bitmap of the disk."""
    return {"type": f"block-dirty-bitmap-{kind}", "data": {"node": "disk", "name": name, **options}}


class TransactionTest(DaemonTest):
    """A disk with writers on several connections; `copy` is a node of the same size, on which a test writes alone."""

    @classmethod
    def prepare(cls):
        images.make_empty(cls.path("disk.img"), SIZE)
        return [*file_node("disk", "disk.img", discard="unmap"), *null_node("copy", SIZE)]

    def setUp(self):
        super().setUp()
        self.add_export("disk", writable=True)
        self.add_export("copy", writable=True)
        self.writers = [Writer(self.session("disk"), seed) for seed in range(4)]
        for writer in self.writers:
            writer.start()
        self.addCleanup(self.stop_writers)

    def stop_writers(self):
        """Ends the load. A writer's failure is the test's."""
        for writer in self.writers:
            writer.stopping = True
        for writer in self.writers:
            writer.join()
        self.assertEqual([writer.failure for writer in self.writers if writer.failure], [])

    def wait_for_writes(self, count=20):
        """Returns when each writer has ended so many more writes."""
        before = [len(writer.writes) for writer in self.writers]
        deadline = time.monotonic() + 30
        while any(len(writer.writes) < count + had for writer, had in zip(self.writers, before)):
            self.assertEqual([writer.failure for writer in self.writers if writer.failure], [])
            self.assertLess(time.monotonic(), deadline, "the writers stand still")
            time.sleep(0.001)

    def transact(self, *actions):
        """A transaction; (when it was sent, when it was answered)."""
        begin = time.monotonic()
        self.qmp.execute("transaction", {"actions": list(actions)})
        return begin, time.monotonic()

    def sha256(self, node, name):
        """The digest of a bitmap."""
        return self.qmp.execute("x-debug-block-dirty-bitmap-sha256", {"node": node, "name": name})["sha256"]

    def assert_covers(self, name, begin, end):
        """All that was written between two moments is dirty in the bitmap: to merge it changes nothing."""
        self.qmp.execute("block-dirty-bitmap-add", {"node": "copy", "name": "model", "granularity": GRANULARITY})
        connection = self.session("copy")
        granules = {granule for writer in self.writers for first, last, offset, length in list(writer.writes)
                    if begin <= first and last <= end
                    for granule in range(offset // GRANULARITY, (offset + length - 1) // GRANULARITY + 1)}
        self.assertGreater(len(granules), 0)
        for granule in granules:
            self.assertEqual(connection.write(granule * GRANULARITY, b"m"), 0)
        before = self.sha256("disk", name)
        self.qmp.execute("block-dirty-bitmap-merge", {
            "node": "disk", "target": name, "bitmaps": [{"node": "copy", "name": "model"}]})
        self.assertEqual(self.sha256("disk", name), before, f"{name} misses a write")
        self.qmp.execute("block-dirty-bitmap-remove", {"node": "copy", "name": "model"})

    def test_rotation(self):
        """Bitmaps take turns in transactions, and each covers its time; a merge of all covers everything."""
        _, begin = self.transact(action("add", "b0", granularity=GRANULARITY))
        first = begin
        for turn in range(1, 6):
            self.wait_for_writes()
            end, next_begin = self.transact(action("disable", f"b{turn - 1}"),
                                            action("add", f"b{turn}", granularity=GRANULARITY))
            self.assert_covers(f"b{turn - 1}", begin, end)
            begin = next_begin
        self.wait_for_writes()
        names = [f"b{turn}" for turn in range(6)]
        merge = {"type": "block-dirty-bitmap-merge", "data": {"node": "disk", "target": "all", "bitmaps": names}}
        last, _ = self.transact(action("add", "all", granularity=512, disabled=True), merge,
                                *(action("remove", name) for name in names))
        # Nothing is between two turns.
        self.assert_covers("all", first, last)
        self.qmp.execute("block-dirty-bitmap-remove", {"node": "disk", "name": "all"})
        self.assertNotIn("dirty-bitmaps", self.disk())

    def disk(self):
        """What is known about the disk's node."""
        (info,) = [node for node in self.qmp.execute("query-named-block-nodes") if node["node-name"] == "disk"]
        return info

    def test_failure(self):
        """A transaction that fails leaves every bitmap as it was, and the enabled ones miss no write."""
        _, begin = self.transact(action("add", "kept", granularity=GRANULARITY),
                                 action("add", "still", granularity=512, disabled=True))
        still = self.sha256("disk", "still")
        for _ in range(20):
            self.wait_for_writes(2)
            reply = self.qmp.command("transaction", {"actions": [
                action("add", "new"), action("clear", "kept"), action("disable", "kept"), action("enable", "still"),
                {"type": "block-dirty-bitmap-merge", "data": {
                    "node": "disk", "target": "still", "bitmaps": ["kept", "new"]}},
                action("remove", "kept"), {"type": "abort", "data": {}}]})
            self.assertEqual(reply["error"]["desc"], "Transaction aborted using Abort action")
            names = [(each["name"], each["recording"], each["busy"]) for each in self.disk()["dirty-bitmaps"]]
            self.assertEqual(names, [("still", False, False), ("kept", True, False)])
        self.assertEqual(self.sha256("disk", "still"), still)
        self.wait_for_writes()
        end, _ = self.transact(action("disable", "kept"))
        self.assert_covers("kept", begin, end)
        self.transact(action("remove", "kept"), action("remove", "still"))

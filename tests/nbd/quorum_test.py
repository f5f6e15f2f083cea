"""The driver quorum: its children vote on what is read, and a number of them may fail, as with qemu-storage-daemon."""

import itertools
import threading

from lib import images, settings, wait
from lib.images import KIB, MIB
from lib.nbd_wire import (CMD_FLUSH, CMD_READ, CMD_TRIM, CMD_WRITE_ZEROES, EIO, ENOSPC, FLAG_FUA, STATE_HOLE,
                          STATE_ZERO)
from lib.testcase import DaemonTest

SIZE = MIB
NAMES = itertools.count()


def fails(kind, errno, **options):
    """A rule of blkdebug: requests of that kind fail."""
    return {"event": "none", "iotype": kind, "errno": errno, **options}


class QuorumTest(DaemonTest):
    """Images with the same bytes, over each of which a test puts a node with rules for failures."""

    def setUp(self):
        self.names = [f"n{next(NAMES)}" for _ in range(3)]
        for name in self.names:
            images.make_random(self.path(name), SIZE)

    def poke(self, child, offset, data):
        """Changes the bytes of a child behind the server's back."""
        with open(self.path(self.names[child]), "r+b") as file:
            file.seek(offset)
            file.write(data)

    def peek(self, child, offset, length):
        """Bytes of a child."""
        return images.read_range(self.path(self.names[child]), offset, length)

    def child(self, index, *rules):
        """The options of a child, whose node has the name of its image."""
        name = self.names[index]
        given = {"inject-error": list(rules)} if rules else {}
        image = {"driver": "file", "filename": self.path(name)}
        return {"driver": "blkdebug", "node-name": name, "image": image, **given}

    def expose(self, threshold, *rules, count=3, **options):
        """Exports a quorum node, and returns a session. `rules`: those of each child."""
        self.quorum = f"q{next(NAMES)}"
        rules += ((),) * (count - len(rules))
        children = [self.child(index, *each) for index, each in enumerate(rules)]
        self.add_node(self.quorum, driver="quorum", children=children, **{"vote-threshold": threshold}, **options)
        self.add_export(self.quorum, writable=True, **{"allocation-depth": True})
        return self.session(self.quorum)

    def statuses(self):
        """The extents of the node, for each context."""
        session = self.session(self.quorum, "structured", ["base:allocation", "qemu:allocation-depth"])
        return {name: session.block_status(0, SIZE, context=identity) for name, identity in session.contexts.items()}

    def find_event(self, name, member, value):
        """The data of the next event of this name with this member."""
        def found():
            self.qmp.command("query-version")
            for event in self.qmp.events:
                if event["event"] == name and event["data"][member] == value:
                    self.qmp.events.remove(event)
                    return event["data"]
            return None
        return wait.until(found, 10, f"{name} of {value}", interval=0.02)

    def bad(self, index):
        """The data of the next QUORUM_REPORT_BAD of a child, without its name."""
        data = dict(self.find_event("QUORUM_REPORT_BAD", "node-name", self.names[index]))
        del data["node-name"]
        return data

    def failure(self):
        """The data of the next QUORUM_FAILURE of the quorum node, without its name."""
        data = dict(self.find_event("QUORUM_FAILURE", "reference", self.quorum))
        del data["reference"]
        return data


class VotesTest(QuorumTest):
    """Reads on which the children vote."""

    def test_majority(self):
        """The bytes of most children are read, and the other child is reported with the sectors of the request."""
        expected = self.peek(0, 512, 4096)
        self.poke(2, 1000, b"bad")
        session = self.expose(2)
        self.assertEqual(session.read(512, 4096), expected)
        self.assertEqual(self.bad(2), {"type": "read", "sector-num": 1, "sectors-count": 8})
        self.assertEqual(self.peek(2, 1000, 3), b"bad")

    def test_too_few_votes(self):
        """A read fails when no version has enough votes, and an event tells of it."""
        self.poke(1, 1000, b"one")
        self.poke(2, 1000, b"two")
        session = self.expose(2)
        self.assertEqual(session.call(CMD_READ, 1001, 1).error, EIO)
        self.assertEqual(self.failure(), {"sector-num": 1, "sectors-count": 1})
        self.assertEqual(session.read(2048, 512), self.peek(0, 2048, 512))

    def test_rewrite(self):
        """With rewrite-corrupted, the bytes of most children are written to the others."""
        self.poke(0, 1000, b"bad")
        session = self.expose(2, **{"rewrite-corrupted": True})
        expected = self.peek(1, 0, 4096)
        self.assertEqual(session.read(0, 4096), expected)
        self.assertEqual(self.peek(0, 0, 4096), expected)
        self.assertEqual(self.bad(0), {"type": "read", "sector-num": 0, "sectors-count": 8})

    def test_equal_votes(self):
        """Of versions with equally many votes, the one that a later child brings wins."""
        for index in range(2):
            self.poke(index, 0, bytes([index]) * 512)
        session = self.expose(1, count=2)
        self.assertEqual(session.read(0, 512), b"\1" * 512)

    def test_failing_child(self):
        """A child that fails is reported with its error, and has no vote."""
        session = self.expose(2, [fails("read", 28)])
        self.assertEqual(session.read(0, 4096), self.peek(1, 0, 4096))
        self.assertEqual(self.bad(0), {"type": "read", "error": "No space left on device", "sector-num": 0,
                                       "sectors-count": 8})

    def test_too_many_failing_children(self):
        """A read fails with the error of most children, and the latest of several is used."""
        session = self.expose(2, [fails("read", 5)], [fails("read", 28)])
        self.assertEqual(session.call(CMD_READ, 0, 4096).error, ENOSPC)
        self.assertEqual(self.failure(), {"sector-num": 0, "sectors-count": 8})

    def test_fifo(self):
        """With read-pattern fifo, the first child that can is read, and nobody compares."""
        self.poke(1, 4096, b"bad")
        self.poke(0, 8192, b"bad")
        session = self.expose(2, [fails("read", 5, sector=8)], **{"read-pattern": "fifo"})
        self.assertEqual(session.read(4096, 512), self.peek(1, 4096, 512))
        self.assertEqual(self.bad(0), {"type": "read", "error": "Input/output error", "sector-num": 8,
                                       "sectors-count": 1})
        self.assertEqual(session.read(8192, 3), b"bad")

    def test_fifo_fails(self):
        """With read-pattern fifo, the error of the last child is that of the read."""
        session = self.expose(1, [fails("read", 5)], [fails("read", 28)], count=2, **{"read-pattern": "fifo"})
        self.assertEqual(session.call(CMD_READ, 0, 4096).error, ENOSPC)
        self.assertEqual(self.bad(1)["error"], "No space left on device")

    def test_one_child(self):
        """A quorum of one child is allowed."""
        session = self.expose(1, count=1)
        self.assertEqual(session.read(0, SIZE), self.peek(0, 0, SIZE))


class ChangesTest(QuorumTest):
    """Writes and other changes, which go to each child."""

    def test_writes_reach_all(self):
        """Each child gets what is written."""
        session = self.expose(2)
        self.assertEqual(session.write(1000, b"x" * 5000, FLAG_FUA), 0)
        self.assertEqual(session.call(CMD_FLUSH).error, 0)
        for index in range(3):
            self.assertEqual(self.peek(index, 1000, 5000), b"x" * 5000)

    def test_failing_child(self):
        """A write succeeds when enough children do it, and the others are reported."""
        session = self.expose(2, [fails("write", 28)])
        self.assertEqual(session.write(1024, b"x" * 1024), 0)
        self.assertEqual(self.bad(0), {"type": "write", "error": "No space left on device", "sector-num": 2,
                                       "sectors-count": 2})
        self.assertEqual(session.read(1024, 1024), b"x" * 1024)

    def test_too_many_failing_children(self):
        """A write fails with the error of most children."""
        session = self.expose(2, [fails("write", 28)], [fails("write", 5)])
        self.assertEqual(session.write(0, b"x" * 512), EIO)
        self.assertEqual(self.failure(), {"sector-num": 0, "sectors-count": 1})
        self.assertEqual(self.peek(2, 0, 512), b"x" * 512)

    def test_zeroes(self):
        """Zeroes are written by each child."""
        session = self.expose(2)
        self.assertEqual(session.call(CMD_WRITE_ZEROES, 64 * KIB, 128 * KIB).error, 0)
        for index in range(3):
            self.assertEqual(self.peek(index, 64 * KIB, 128 * KIB), bytes(128 * KIB))

    def test_failing_zeroes(self):
        """Zeroes that a child fails to write are reported as a write."""
        session = self.expose(2, (), [fails("write-zeroes", 28)])
        self.assertEqual(session.call(CMD_WRITE_ZEROES, 0, 4096).error, 0)
        self.assertEqual(self.bad(1), {"type": "write", "error": "No space left on device", "sector-num": 0,
                                       "sectors-count": 8})

    def test_trim(self):
        """A discard changes nothing, because children might have other bytes after it."""
        session = self.expose(2, discard="unmap")
        before = self.peek(0, 0, 64 * KIB)
        self.assertEqual(session.call(CMD_TRIM, 0, 64 * KIB).error, 0)
        self.assertEqual(session.read(0, 64 * KIB), before)

    def test_flush(self):
        """A flush succeeds when enough children do it, and the others are reported without a place."""
        session = self.expose(2, [fails("flush", 28)])
        self.assertEqual(session.write(0, b"x"), 0)
        self.assertEqual(session.call(CMD_FLUSH).error, 0)
        self.assertEqual(self.bad(0), {"type": "flush", "error": "No space left on device", "sector-num": 0,
                                       "sectors-count": 0})

    def test_failing_flush(self):
        """A flush fails with the error of most children."""
        session = self.expose(2, [fails("flush", 28)], [fails("flush", 28)], [fails("flush", 5)])
        self.assertEqual(session.write(0, b"x"), 0)
        self.assertEqual(session.call(CMD_FLUSH).error, ENOSPC)


class ChildrenTest(QuorumTest):
    """Children that come and go while a client is connected."""

    def change(self, **members):
        """Adds or removes a child."""
        self.qmp.execute("x-blockdev-change", {"parent": self.quorum, **members})

    def test_a_broken_copy_is_replaced(self):
        """A child fails all writes. It goes, and a new one comes, while a client writes all the time."""
        session = self.expose(2, [fails("write", 28)])
        stop = threading.Event()
        rounds = []

        def write():
            """Each block as a whole, with the number of the round."""
            while not stop.is_set():
                pattern = bytes([len(rounds) % 255 + 1])
                if session.write(0, pattern * 4096) != 0 or session.read(0, 4096) != pattern * 4096:
                    rounds.append("failed")
                    return
                rounds.append(pattern)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            self.bad(0)
            self.change(child="children.0")
            images.write_file(self.path(f"{self.names[0]}-new"), self.peek(1, 0, SIZE))
            name = f"n{next(NAMES)}"
            self.add_node(name, driver="file", filename=self.path(f"{self.names[0]}-new"))
            self.change(node=name)
            before = len(rounds)
            wait.until(lambda: len(rounds) > before + 2, 10, "writes after the change", interval=0.01)
        finally:
            stop.set()
            writer.join()
        self.assertNotIn("failed", rounds)
        self.assertEqual(session.write(8192, b"both"), 0)
        for at, expected in ((0, rounds[-1] * 4096), (8192, b"both")):
            for index in (1, 2):
                self.assertEqual(self.peek(index, at, len(expected)), expected)
            self.assertEqual(images.read_range(self.path(f"{self.names[0]}-new"), at, len(expected)), expected)
        self.assertNotEqual(self.peek(0, 8192, 4), b"both")

    def test_votes_of_a_new_child(self):
        """Two children disagree; the third one decides."""
        session = self.expose(2, count=2)
        self.poke(0, 0, b"bad")
        self.assertEqual(session.call(CMD_READ, 0, 512).error, EIO)
        self.add_node(self.names[2], driver="file", filename=self.path(self.names[2]))
        self.change(node=self.names[2])
        self.assertEqual(session.read(0, 512), self.peek(2, 0, 512))
        self.assertEqual(self.bad(0), {"type": "read", "sector-num": 0, "sectors-count": 1})


class StatusTest(QuorumTest):
    """Block status."""

    def setUp(self):
        super().setUp()
        if not images.makes_holes(self.workdir):
            self.skipTest("the file system makes no holes")
        for name, data in zip(self.names, ([(0, 64 * KIB)], [(128 * KIB, 64 * KIB)], [])):
            images.make_sparse(self.path(name), SIZE, data)

    def test_union(self):
        """Bytes are zeros when all children say so."""
        self.expose(1)
        hole = STATE_HOLE | STATE_ZERO
        self.assertEqual(self.statuses(),
                         {"base:allocation": [(64 * KIB, 0), (64 * KIB, hole), (64 * KIB, 0), (832 * KIB, hole)],
                          "qemu:allocation-depth": [(SIZE, 1)]})

    def test_failing_child(self):
        """Without the answer of a child, all bytes are data, and it is reported."""
        self.expose(1, (), (), [fails("block-status", 28)])
        self.assertEqual(self.statuses()["base:allocation"], [(SIZE, 0)])
        self.assertEqual(self.bad(2)["type"], "read")


class ConcurrencyTest(QuorumTest):
    """Clients that write to the same bytes while others read them."""

    def run_clients(self, *courses):
        """Runs each course in a thread with a session of its own; the errors of all their requests."""
        errors = []

        def run(course, session):
            for index in range(60):
                errors.append(course(session, index))

        threads = [threading.Thread(target=run, args=(course, self.session(self.quorum))) for course in courses]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            self.assertFalse(thread.is_alive())
        return errors

    @settings.unlike_qemu("it compares children that a write has reached with others")
    def test_writes_under_reads(self):
        """Reads during writes succeed, nothing is reported, and no rewrite undoes a write."""
        slow = {"event": "none", "iotype": "write", "errno": 0, "delay-ns": 1000000}
        self.expose(2, [], [slow], count=2, **{"rewrite-corrupted": True})

        def write(session, index):
            return session.write(512 * (index % 4), bytes([index]) * 1024)

        def write_others(session, index):
            return session.write(512 * (index % 5), bytes([255 - index]) * 512)

        def read(session, _):
            return session.call(CMD_READ, 0, 4096).error

        errors = self.run_clients(write, write_others, read, read)
        self.assertEqual(set(errors), {0})
        self.assertEqual(self.peek(0, 0, 4096), self.peek(1, 0, 4096))
        self.qmp.command("query-version")
        self.assertEqual([event for event in self.qmp.events if event["event"].startswith("QUORUM")
                          and (event["data"].get("node-name") in self.names
                               or event["data"].get("reference") == self.quorum)], [])

    @settings.unlike_qemu("it compares children that a write has reached with others")
    def test_rewrites_under_writes(self):
        """Corrupted bytes are rewritten while others are written, and no write is lost."""
        for offset in range(0, 64 * KIB, 1024):
            self.poke(2, offset, b"corrupt")
        self.expose(2, [], [{"event": "none", "iotype": "write", "errno": 0, "delay-ns": 500000}],
                    **{"rewrite-corrupted": True})

        def write(session, index):
            return session.write(1024 * index + 100, bytes([index]) * 300)

        def read(session, index):
            return session.call(CMD_READ, 1024 * (index // 4 * 4), 4096).error

        self.assertEqual(set(self.run_clients(write, read, read)), {0})
        session = self.session(self.quorum)
        content = session.read(0, 64 * KIB)
        for index in range(60):
            self.assertEqual(content[1024 * index + 100:1024 * index + 400], bytes([index]) * 300)
        for index in range(3):
            self.assertEqual(self.peek(index, 0, 64 * KIB), content)

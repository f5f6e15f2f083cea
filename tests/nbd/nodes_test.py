"""Nodes of every kind behind an export: each one equals a model in memory after random operations."""

import os
import pathlib
import random
import time

from lib import images, processes, settings, tools, wait
from lib.forgetful_disk import ForgetfulDisk
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest
from removal_test import Writer

SIZE = 2 * MIB
LENGTHS = (1, 100, 511, 512, 513, 4096, 4097, 65536, 70000)


class NodesTest(DaemonTest):
    """Each test makes its own node `disk` on a file, exports it, and compares with a model."""

    def setUp(self):
        self.disk = images.make_random(self.path(f"{self._testMethodName}.img"), SIZE, 3)

    def run_operations(self, start=0, size=SIZE, seed=1, count=250, after_change=None):
        """Random reads, writes, zeroes, trims and flushes over two connections; the file's bytes afterwards.

        after_change(bytes, step) is called when a change was answered, with what the export has to hold by then.
        """
        generator = random.Random(seed)
        model = bytearray(images.read_range(self.disk, start, size))
        connections = [self.session("disk", "structured"), self.session("disk")]
        for step in range(count):
            connection = generator.choice(connections)
            length = generator.choice(LENGTHS)
            offset = generator.randrange(size - length + 1)
            action = generator.choice(["write", "fua", "zero", "keep", "trim", "read", "read", "flush"])
            where = f"step {step}: {action} {offset}+{length}"
            if action in ("write", "fua"):
                data = generator.randbytes(length) if generator.random() < 0.7 else bytes(length)
                self.assertEqual(connection.write(offset, data, FLAG_FUA if action == "fua" else 0), 0, where)
                model[offset:offset + length] = data
            elif action in ("zero", "keep"):
                flags = FLAG_NO_HOLE if action == "keep" else 0
                self.assertEqual(connection.call(CMD_WRITE_ZEROES, offset, length, flags).error, 0, where)
                model[offset:offset + length] = bytes(length)
            elif action == "trim":
                # qemu-storage-daemon passes an unaligned trim on to a device, which refuses it.
                self.assertIn(connection.call(CMD_TRIM, offset, length).error,
                              (0, EINVAL) if settings.qemu_version() else (0,), where)
                model[offset:offset + length] = connection.read(offset, length)
            elif action == "flush":
                self.assertEqual(connection.call(CMD_FLUSH).error, 0, where)
            else:
                self.assertEqual(connection.read(offset, length), model[offset:offset + length], where)
            if after_change and action not in ("flush", "read"):
                after_change(model, where)
        self.assertEqual(connections[0].read(0, size), bytes(model))
        self.assertEqual(connections[0].call(CMD_FLUSH).error, 0)
        self.assertEqual(images.read_range(self.disk, start, size), bytes(model))
        for connection in connections:
            connection.close()

    def file_node(self, **options):
        """A node `disk` on the file, exported."""
        self.add_node("disk", driver="file", filename=self.disk, **options)
        self.add_export("disk", writable=True)


class FileTest(NodesTest):
    """The file driver."""

    def test_defaults(self):
        """Without options."""
        self.file_node()
        self.run_operations()

    def test_discard(self):
        """discard=unmap: trim gives space back."""
        self.file_node(discard="unmap")
        self.run_operations(seed=2)
        connection = self.session("disk")
        before = images.allocated(self.disk)
        self.assertEqual(connection.call(CMD_TRIM, 0, SIZE).error, 0)
        self.assertLess(images.allocated(self.disk), before)

    def test_discard_ignored(self):
        """discard=ignore: trim succeeds and changes nothing."""
        self.file_node()
        connection = self.session("disk")
        before = connection.read(0, SIZE)
        self.assertEqual(connection.call(CMD_TRIM, 0, SIZE).error, 0)
        self.assertEqual(connection.read(0, SIZE), before)

    def test_direct(self):
        """cache.direct=on: requests of any alignment are served."""
        self.file_node(cache={"direct": True})
        self.run_operations(seed=3)

    def test_direct_native(self):
        """cache.direct=on with aio=native."""
        self.file_node(cache={"direct": True}, aio="native")
        self.run_operations(seed=4)

    def test_io_uring(self):
        """aio=io_uring."""
        reply = self.qmp.command("blockdev-add", {"driver": "file", "node-name": "disk", "filename": self.disk,
                                                  "aio": "io_uring"})
        if "error" in reply:
            self.skipTest(reply["error"]["desc"])
        self.addCleanup(self.qmp.command, "blockdev-del", {"node-name": "disk"})
        self.add_export("disk", writable=True)
        self.run_operations(seed=5)

    def test_no_flush(self):
        """cache.no-flush=on: all that does not need a flush is as ever. (durability_test.py has the rest.)"""
        self.file_node(cache={"no-flush": True})
        self.run_operations(seed=6)

    def test_detect_zeroes(self):
        """detect-zeroes=on: writes of zeroes are no data afterwards, and keep their space."""
        self.file_node(**{"detect-zeroes": "on"})
        self.run_operations(seed=8)
        if not images.makes_holes(self.workdir):
            self.skipTest("this file system makes no holes")
        connection = self.session("disk", "structured", ["base:allocation"])
        self.assertEqual(connection.write(0, images.random_bytes(SIZE)), 0)
        before = images.allocated(self.disk)
        self.assertEqual(connection.write(0, bytes(MIB)), 0)
        self.assertEqual(connection.block_status(0, MIB), [(MIB, STATE_HOLE | STATE_ZERO)])
        self.assertEqual(images.data_ranges(self.disk), [(MIB, MIB)])
        self.assertGreaterEqual(images.allocated(self.disk), before)

    def test_zeroes_are_data_without_detection(self):
        """detect-zeroes=off, the default: writes of zeroes are data as any other."""
        self.file_node(discard="unmap")
        self.assertEqual(self.session("disk").write(0, bytes(MIB), FLAG_FUA), 0)
        self.assertEqual(images.data_ranges(self.disk), [(0, SIZE)])

    def test_detect_zeroes_unmap(self):
        """detect-zeroes=unmap: writes of zeroes give space back."""
        self.file_node(discard="unmap", **{"detect-zeroes": "unmap"})
        self.run_operations(seed=9)
        connection = self.session("disk")
        connection.write(0, images.random_bytes(MIB))
        before = images.allocated(self.disk)
        self.assertEqual(connection.write(0, bytes(MIB)), 0)
        self.assertLess(images.allocated(self.disk), before)
        self.assertEqual(connection.read(0, MIB), bytes(MIB))

    @settings.unlike_qemu("7.2 ends with an assertion when a client of such an export leaves")
    def test_in_an_iothread(self):
        """An export in an iothread."""
        self.qmp.execute("object-add", {"qom-type": "iothread", "id": "io0"})
        self.addCleanup(self.qmp.command, "object-del", {"id": "io0"})
        self.add_node("disk", driver="file", filename=self.disk)
        self.add_export("disk", writable=True, iothread="io0")
        self.run_operations(seed=10)

    @settings.unlike_qemu("7.2 ends with an assertion when a client of such an export leaves")
    def test_an_iothread_looks_for_work_before_it_sleeps(self):
        """poll-max-ns: requests that come soon after each other find the thread awake; 0 lets it sleep after each."""
        self.qmp.execute("object-add", {"qom-type": "iothread", "id": "io0", "poll-max-ns": 10**11})
        self.addCleanup(self.qmp.command, "object-del", {"id": "io0"})
        # It answers in the thread itself on every file system.
        self.add_node("disk", driver="null-co", size=MIB)
        self.add_export("disk", iothread="io0")
        connection = self.session("disk")
        for read in range(600):
            # By then it has learnt how long to look for work.
            if read == 300:
                before = self.sleeps_of("io0")
            connection.read(0, 4096)
            time.sleep(0.0005)
        self.assertLess(self.sleeps_of("io0") - before, 60)
        self.qmp.execute("qom-set", {"path": "/objects/io0", "property": "poll-max-ns", "value": 0})
        connection.read(0, 4096)
        for _ in range(60):
            before = self.sleeps_of("io0")
            connection.read(0, 4096)
            wait.until(lambda before=before: self.sleeps_of("io0") > before, 10, "the thread to sleep")

    def sleeps_of(self, thread):
        """How often the thread of that name has given up its processor."""
        for number in processes.threads(self.daemon.pid, thread):
            status = pathlib.Path(f"/proc/{self.daemon.pid}/task/{number}/status").read_text(encoding="ascii")
            return int(dict(line.split(":\t", 1) for line in status.splitlines())["voluntary_ctxt_switches"])
        raise AssertionError(f"no thread {thread}")

    def test_direct_sparse_map(self):
        """cache.direct=on: the map of a sparse file is the same as without."""
        images.make_sparse(self.disk, SIZE, [(256 * KIB, 256 * KIB)])
        self.file_node(cache={"direct": True})
        extents = self.session("disk", "structured", ["base:allocation"]).block_status(0, SIZE)
        self.assertEqual(extents, [(256 * KIB, 3), (256 * KIB, 0), (SIZE - 512 * KIB, 3)])


class WritethroughTest(NodesTest):
    """An export with writethrough=on, on a disk that forgets what was not flushed."""

    def setUp(self):
        self.witness = ForgetfulDisk(self.workdir, SIZE)
        self.addCleanup(self.witness.close)
        self.disk = self.witness.path

    def check_durable(self, model, where):
        """A power cut now would lose nothing of what was answered."""
        with self.witness.lock:
            self.assertEqual(self.witness.stable, bytes(model), f"{where} would be lost")

    @settings.unlike_qemu("it answers some writes before a flush that covers them")
    def test_random_operations(self):
        """What was written, zeroed or trimmed is durable when it is answered, one by one."""
        self.add_node("disk", driver="file", filename=self.disk, locking="off", discard="unmap")
        self.add_export("disk", writable=True, writethrough=True)
        self.run_operations(seed=7, after_change=self.check_durable)


class RawTest(NodesTest):
    """The raw driver above a file."""

    def test_whole(self):
        """raw without options."""
        self.add_node("disk", driver="raw", file={"driver": "file", "filename": self.disk})
        self.add_export("disk", writable=True)
        self.run_operations(seed=11)

    def test_part(self):
        """raw with offset and size: a part of the file, byte-granular, and not a byte around it."""
        before, after = images.read_range(self.disk, 0, 777), images.read_range(self.disk, 777 + MIB, MIB)
        self.add_node("disk", driver="raw", offset=777, size=MIB, file={"driver": "file", "filename": self.disk})
        self.add_export("disk", writable=True)
        self.run_operations(777, MIB, seed=12)
        self.assertEqual(images.read_range(self.disk, 0, 777), before)
        self.assertEqual(images.read_range(self.disk, 777 + MIB, MIB), after)

    def test_bounds_of_a_part(self):
        """A request past the end of the part fails though the file goes on."""
        self.add_node("disk", driver="raw", offset=4096, size=MIB, file={"driver": "file", "filename": self.disk})
        self.add_export("disk", writable=True)
        connection = self.session("disk")
        self.assertEqual(connection.info.size, MIB)
        self.assertEqual(connection.call(CMD_READ, MIB - 1, 2).error, EINVAL)
        self.assertNotEqual(connection.write(MIB - 1, b"xy"), 0)
        self.assertEqual(connection.read(MIB - 1, 1), images.read_range(self.disk, 4096 + MIB - 1, 1))

    def test_map_of_a_part(self):
        """The extents of a part are those of the file, moved."""
        images.make_sparse(self.disk, SIZE, [(256 * KIB, 256 * KIB)])
        self.add_node("disk", driver="raw", offset=128 * KIB, size=MIB, file={"driver": "file", "filename": self.disk})
        self.add_export("disk")
        extents = self.session("disk", "structured", ["base:allocation"]).block_status(0, MIB)
        self.assertEqual(extents, [(128 * KIB, 3), (256 * KIB, 0), (MIB - 384 * KIB, 3)])


class HostDeviceTest(NodesTest):
    """host_device on a loop device."""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("a loop device needs root")
        result = tools.finish("losetup", "--find", "--show", self.disk)
        if result.returncode:
            self.skipTest(f"no loop device here: {result.stderr.strip()}")
        self.device = result.stdout.strip()
        self.addCleanup(tools.run, "losetup", "-d", self.device)

    def test_buffered(self):
        """Random operations through the page cache of the device."""
        self.add_node("disk", driver="host_device", filename=self.device, discard="unmap")
        self.add_export("disk", writable=True)
        self.assertEqual(self.client().go("disk").size, SIZE)
        self.run_operations(seed=13)

    def test_direct(self):
        """Random operations with cache.direct=on."""
        self.add_node("disk", driver="host_device", filename=self.device, cache={"direct": True})
        self.add_export("disk", writable=True)
        self.run_operations(seed=14)


class LargeSectorTest(NodesTest):
    """host_device on a loop device with sectors of 4096 bytes, through the page cache."""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("a loop device needs root")
        result = tools.finish("losetup", "--find", "--show", "--sector-size", "4096", self.disk)
        if result.returncode:
            self.skipTest(f"no loop device with large sectors here: {result.stderr.strip()}")
        self.device = result.stdout.strip()
        self.addCleanup(tools.run, "losetup", "-d", self.device)
        self.add_node("disk", driver="host_device", filename=self.device, discard="unmap")
        self.add_export("disk", writable=True)

    @settings.unlike_qemu("it answers ENOTSUP after the bytes were zeroed")
    def test_fast_zeroes(self):
        """FAST_ZERO: zeroes, where a whole sector is in the range, else ENOTSUP with nothing changed."""
        connection = self.session("disk")
        for flags in (FLAG_FAST_ZERO, FLAG_FAST_ZERO | FLAG_NO_HOLE):
            for offset, length, is_done in ((1536, 512, False), (1024, 1536, False), (7680, 5120, True),
                                            (100, 7, False), (100, 20000, True), (4096, 8192, True)):
                where = f"flags {flags}: {offset}+{length}"
                model = bytearray(b"z" * 32768)
                self.assertEqual(connection.write(0, bytes(model)), 0)
                error = connection.call(CMD_WRITE_ZEROES, offset, length, flags).error
                self.assertEqual(error, 0 if is_done else ENOTSUP, where)
                if is_done:
                    model[offset:offset + length] = bytes(length)
                self.assertEqual(connection.read(0, len(model)), bytes(model), where)

    def test_operations(self):
        """Random operations."""
        self.run_operations(seed=15)


class NullTest(NodesTest):
    """The null drivers."""

    def test_zeroes(self):
        """read-zeroes=on reads zero, whatever was written."""
        for driver in ("null-co", "null-aio"):
            self.add_node(driver, driver=driver, size=MIB, **{"read-zeroes": True})
            self.add_export(driver, writable=True)
            connection = self.session(driver)
            self.assertEqual(connection.write(0, b"x" * 4096), 0)
            self.assertEqual(connection.read(0, MIB), bytes(MIB))

    def test_zeroes_in_a_structured_read(self):
        """What is known to read as zeroes is one hole chunk, whether the client wants one piece or not."""
        self.add_node("zero", driver="null-co", size=MIB, **{"read-zeroes": True})
        self.add_export("zero")
        connection = self.session("zero", "structured")
        for flags in (0, FLAG_DF):
            reply = connection.call(CMD_READ, 4096, 256 * KIB, flags)
            self.assertEqual(reply.data, bytes(256 * KIB))
            if not flags or settings.qemu_version() is None:
                self.assertEqual([chunk.type for chunk in reply.chunks if chunk.type], [CHUNK_OFFSET_HOLE])


class ResizeTest(NodesTest):
    """block_resize under an export."""

    @settings.unlike_qemu("an exported node cannot be resized")
    def test_grow(self):
        """A node grows while it is exported: old connections keep their size, new ones see the new one."""
        self.file_node()
        old = self.session("disk")
        self.qmp.execute("block_resize", {"node-name": "disk", "size": 2 * SIZE})
        new = self.session("disk")
        self.assertEqual((old.info.size, new.info.size), (SIZE, 2 * SIZE))
        self.assertEqual(new.write(2 * SIZE - 4096, b"g" * 4096), 0)
        self.assertEqual(old.call(CMD_READ, SIZE, 512).error, EINVAL)
        self.assertEqual(len(old.read(SIZE - 512, 512)), 512)
        self.assertEqual(os.path.getsize(self.disk), 2 * SIZE)

    @settings.unlike_qemu("an exported node cannot be resized")
    def test_shrink(self):
        """A node does not shrink under its clients."""
        self.file_node()
        kind, _ = self.qmp.failure("block_resize", {"node-name": "disk", "size": SIZE // 2})
        self.assertEqual(kind, "GenericError")
        self.assertEqual(os.path.getsize(self.disk), SIZE)

    def test_resize_before_the_export(self):
        """A node that nobody uses grows and shrinks."""
        self.add_node("disk", driver="file", filename=self.disk)
        for size in (2 * SIZE, SIZE // 2):
            self.qmp.execute("block_resize", {"node-name": "disk", "size": size})
            self.assertEqual(os.path.getsize(self.disk), size)


class LeavingTest(NodesTest):
    """Exports that end while a command works on their node. Memory that is given back is overwritten and not kept."""

    environment = dict(os.environ, MALLOC_PERTURB_="165", GLIBC_TUNABLES="glibc.malloc.tcache_count=0")

    @settings.unlike_qemu("hide is only planned there")
    def test_clients_leave_during_a_resize(self):
        """Hidden exports end at any moment of a resize; the server lives, and the next resize works."""
        self.add_node("disk", driver="file", filename=self.disk)
        generator = random.Random(16)
        size = SIZE
        for _ in range(60):
            clients = []
            for index in range(16):
                name = f"e{index}"
                self.qmp.execute("block-export-add", {"type": "nbd", "id": name, "node-name": "disk", "name": name})
                clients.append(self.session(name))
                self.qmp.execute("block-export-del", {"id": name, "mode": "hide"})
            size += 512
            self.qmp.send({"execute": "block_resize", "arguments": {"node-name": "disk", "size": size}})
            for client in clients:
                if generator.random() < 0.5:
                    time.sleep(generator.random() * 0.0004)
                client.close()
            self.assertEqual(self.qmp.read_reply(), {"return": {}})
            for _ in clients:
                self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.assertEqual(os.path.getsize(self.disk), size)
        self.qmp.execute("block_resize", {"node-name": "disk", "size": SIZE})


class StatisticsTest(NodesTest):
    """query-blockstats."""

    @settings.unlike_qemu("the I/O of exports is not counted")
    def test_export_is_counted(self):
        """What an export reads and writes is counted on its node."""
        self.file_node()
        connection = self.session("disk")
        connection.read(0, 8192)
        connection.read(0, 512)
        connection.write(0, bytes(4096))
        connection.call(CMD_FLUSH)
        connection.call(CMD_TRIM, 0, 65536)
        (entry,) = [entry for entry in self.qmp.execute("query-blockstats", {"query-nodes": True})
                    if entry.get("node-name") == "disk"]
        stats = entry["stats"]
        self.assertEqual((stats["rd_operations"], stats["rd_bytes"]), (2, 8704))
        self.assertEqual((stats["wr_operations"], stats["wr_bytes"]), (1, 4096))
        self.assertEqual(stats["flush_operations"], 1)
        self.assertEqual((stats["unmap_operations"], stats["unmap_bytes"]), (1, 65536))
        self.assertGreaterEqual(stats["wr_highest_offset"], 4096)

    @settings.unlike_qemu("the I/O of exports is not counted")
    def test_failures_are_counted(self):
        """A request that the node fails is counted as failed, not as done; one that never came to it not at all."""
        self.file_node()
        connection = self.session("disk")
        os.truncate(self.disk, MIB)
        for _ in range(3):
            self.assertEqual(connection.call(CMD_READ, MIB, 512).error, EIO)
        self.assertEqual(connection.call(CMD_READ, SIZE, 512).error, EINVAL)
        (entry,) = [entry for entry in self.qmp.execute("query-blockstats", {"query-nodes": True})
                    if entry.get("node-name") == "disk"]
        stats = entry["stats"]
        self.assertEqual((stats["rd_operations"], stats["rd_bytes"], stats["failed_rd_operations"]), (0, 0, 3))


class ReopenTest(NodesTest):
    """blockdev-reopen under an export."""

    def test_options_take_effect(self):
        """What is reopened with another discard option gives space back from then on, or no longer."""
        if not images.makes_holes(self.workdir):
            self.skipTest("this file system makes no holes")
        self.file_node()
        connection = self.session("disk")
        for discard in ("unmap", "ignore", "unmap"):
            self.assertEqual(connection.write(0, images.random_bytes(MIB)), 0)
            before = images.allocated(self.disk)
            self.qmp.execute("blockdev-reopen", {"options": [
                {"driver": "file", "node-name": "disk", "filename": self.disk, "discard": discard}]})
            self.assertEqual(connection.call(CMD_TRIM, 0, MIB).error, 0)
            self.assertEqual(images.allocated(self.disk) < before, discard == "unmap", discard)

    def test_reopen_under_load(self):
        """Clients that write meanwhile see no error, and lose nothing, when the node gets another descriptor."""
        self.file_node()
        writers = [Writer(self.daemon.connect_nbd(), "disk", index * 256 * KIB) for index in range(4)]
        for writer in writers:
            writer.start()
            self.assertTrue(writer.warm.wait(settings.seconds(20)), "a writer never got going")
        for number in range(20):
            direct = images.knows_direct(self.disk) and number % 2 == 0
            self.qmp.execute("blockdev-reopen", {"options": [
                {"driver": "file", "node-name": "disk", "filename": self.disk, "cache": {"direct": direct}}]})
            sent = [sum(writer.sent) for writer in writers]
            wait.until(lambda sent=sent: all(sum(writer.acknowledged) > before
                                             for writer, before in zip(writers, sent)), 20, "the writers to go on")
        self.qmp.execute("block-export-del", {"id": "disk", "mode": "hard"})
        for writer in writers:
            writer.join(settings.seconds(15))
            writer.check(self, self.disk)

    def test_read_only_under_a_writer(self):
        """A node with a writing export cannot become read-only, and stays as it was."""
        self.file_node()
        kind, _ = self.qmp.failure("blockdev-reopen", {"options": [
            {"driver": "file", "node-name": "disk", "filename": self.disk, "read-only": True}]})
        self.assertEqual(kind, "GenericError")
        self.assertEqual(self.session("disk").write(0, b"still writable"), 0)


class DebugTest(NodesTest):
    """x-debug commands."""

    @settings.unlike_qemu("our own command")
    def test_tasks(self):
        """x-debug-tasks lists the live tasks of the core: among them one reader for each client, while it is there."""
        self.file_node()
        readers = lambda: sum(task["name"] == "nbd reader" for task in self.qmp.execute("x-debug-tasks"))
        before = readers()
        clients = [self.session("disk") for _ in range(3)]
        wait.until(lambda: readers() == before + 3, 10, "three readers")
        for client in clients:
            client.close()
        wait.until(lambda: readers() == before, 10, "the readers to end")

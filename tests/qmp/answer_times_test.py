"""Every command is answered at once, whatever work on the metadata of large images is under way."""

import os
import threading
import time

from lib import qcow2, settings, tools
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.qmp import QmpClient
from lib.testcase import DaemonTest

GIB = 1024 * MIB
ANSWER_SECONDS_MAX = 0.1
# A machine with other work may let a process wait for longer: the best of these rounds counts.
ROUNDS = 5
COMMANDS = ("query-version", "query-named-block-nodes", "query-block-exports")


class Watch:
    """Asks a monitor all the time until it ends; `longest`: the longest answer, in seconds, and its command."""

    def __init__(self, address):
        self.client = QmpClient(address, timeout=60)
        self.longest = (0.0, "")
        self.answers = 0
        self.ends = False
        self.thread = threading.Thread(target=self.ask)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends = True
        self.thread.join()
        self.client.close()

    def ask(self):
        """Asks one command after the other."""
        while not self.ends:
            command = COMMANDS[self.answers % len(COMMANDS)]
            begin = time.monotonic()
            self.client.execute(command)
            self.longest = max(self.longest, (time.monotonic() - begin, command))
            self.answers += 1
            time.sleep(0.001)


class AnswerTimesTest(DaemonTest):
    """Long work on one monitor, and questions on another one."""

    @classmethod
    def prepare(cls):
        cls.other = cls.path("other.sock")
        return ["--chardev", f"socket,id=other,path={cls.other},server=on,wait=off", "--monitor", "other"]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.qmp.socket.settimeout(settings.seconds(300))

    def add(self, path, **options):
        """Adds the image's node."""
        self.qmp.execute("blockdev-add", {"node-name": "disk", "driver": "qcow2", "discard": "unmap",
                                          "file": {"driver": "file", "filename": path}, **options})

    def remove(self):
        """Removes it again."""
        self.qmp.execute("blockdev-del", {"node-name": "disk"})

    def judge(self, work, prepare=lambda: None, finish=lambda: None):
        """The longest answer during `work` is short in one of the rounds."""
        allowed = settings.seconds(ANSWER_SECONDS_MAX)
        seen = []
        for _ in range(ROUNDS):
            prepare()
            with Watch(self.other) as watch:
                begin = time.monotonic()
                work()
                taken = time.monotonic() - begin
            finish()
            seen.append((*watch.longest, watch.answers, round(taken, 2)))
            if watch.longest[0] <= allowed:
                break
        if os.environ.get("BLOCKEXPORT_THOROUGH"):
            print(f"longest answer, command, answers, seconds: {seen}")
        self.assertLessEqual(min(seen)[0], allowed, f"longest answer, command, answers, seconds: {seen}")

    def resize(self, size):
        """Sets the size of the disk."""
        self.qmp.execute("block_resize", {"node-name": "disk", "size": size})

    def check(self, path):
        """QEMU finds no error and no leak."""
        tools.run("qemu-img", "check", "-q", "-f", "qcow2", path, timeout=120)

    def shrink(self, clusters, cluster_bits):
        """Takes nearly everything away from a full image."""
        path = self.path(f"full-{cluster_bits}.qcow2")

        def prepare():
            qcow2.make_full(path, clusters, cluster_bits)
            self.add(path)
        self.judge(lambda: self.resize(MIB), prepare, self.remove)
        self.check(path)

    def test_shrinking_of_small_clusters(self):
        self.shrink(settings.repetitions(200_000, 2_000_000), 9)

    def test_shrinking_of_clusters_of_4_kib(self):
        self.shrink(settings.repetitions(500_000, 2_000_000), 12)

    def test_shrinking_of_the_usual_clusters(self):
        self.shrink(settings.repetitions(1_000_000, 4_000_000), 16)

    def test_snapshot_of_a_full_image(self):
        """Taken and deleted."""
        path = self.path("snapshots.qcow2")

        def prepare():
            qcow2.make_full(path, settings.repetitions(500_000, 4_000_000), 16)
            self.add(path)

        def work():
            self.qmp.execute("blockdev-snapshot-internal-sync", {"device": "disk", "name": "s"})
            self.qmp.execute("blockdev-snapshot-delete-internal-sync", {"device": "disk", "name": "s"})
        self.judge(work, prepare, self.remove)
        self.check(path)

    def test_growth_to_a_large_l1_table(self):
        path = self.path("grows.qcow2")

        def prepare():
            qcow2.make_full(path, 1000, 9)
            self.add(path)
        self.judge(lambda: self.resize(100 * GIB), prepare, self.remove)
        self.check(path)

    def test_opening_of_large_tables(self):
        # The largest table that is allowed has about four million entries, each for 32 KiB of the disk.
        entries = settings.repetitions(1_000_000, 4_000_000)
        path = qcow2.make_full(self.path("large.qcow2"), settings.repetitions(300_000, 4_000_000), 9,
                               l1_entries=entries)

        def work():
            self.add(path)
            self.qmp.execute("block-export-add",
                             {"type": "nbd", "id": "disk", "node-name": "disk", "writable": True})
            connection = self.session("disk")
            connection.write(entries // 4 * 3 * 32 * KIB, b"\x11" * 512)
            connection.disconnect()
            self.drop_export("disk")
            self.remove()
        self.judge(work)

    def test_opening_with_a_repair(self):
        path = self.path("dirty.qcow2")

        def prepare():
            qcow2.make_full(path, settings.repetitions(500_000, 4_000_000), 12, dirty=True)
        self.judge(lambda: self.add(path), prepare, self.remove)
        self.check(path)

    def load(self, path, requests, commands):
        """The image is exported, and each of the connections sends its requests, a few at the same time."""
        self.add(path)
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk", "writable": True})
        connections = [self.session("disk") for _ in commands]
        threads = [threading.Thread(target=requests, args=(connection, command))
                   for connection, command in zip(connections, commands)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for connection in connections:
            connection.disconnect()
        self.drop_export("disk")
        self.remove()

    def test_commits_of_many_tables_under_writers(self):
        path = self.path("sparse.qcow2")

        def send(connection, number):
            connection.socket.settimeout(settings.seconds(120))
            step = 512 * MIB  # an L2 table each
            for i in range(settings.repetitions(1000, 2000)):
                connection.write((4 * i + number) % 4096 * step + i // 1024 * 64 * KIB, b"\x22" * 4096)
                if i % 500 == 499:
                    connection.call(CMD_FLUSH)

        def prepare():
            tools.run("qemu-img", "create", "-q", "-f", "qcow2", path, "2T")
        self.judge(lambda: self.load(path, send, range(4)), prepare)
        self.check(path)

    def test_discards_of_large_ranges_under_writers(self):
        path = self.path("trimmed.qcow2")
        clusters = settings.repetitions(500_000, 4_000_000)
        part = clusters * 4096 // 4

        def send(connection, number):
            connection.socket.settimeout(settings.seconds(120))
            for offset in range(number * part, (number + 1) * part, 512 * MIB):
                length = min(512 * MIB, (number + 1) * part - offset)
                command, flags = (CMD_TRIM, 0) if number % 2 == 0 else (CMD_WRITE_ZEROES, 0)
                self.assertEqual(connection.call(command, offset, length, flags).error, 0)
                connection.write(offset, b"\x33" * 4096)
            connection.call(CMD_FLUSH)
        self.judge(lambda: self.load(path, send, range(4)), lambda: qcow2.make_full(path, clusters, 12))
        self.check(path)

    def test_removal_with_changes_that_are_not_flushed(self):
        path = self.path("unflushed.qcow2")

        def prepare():
            qcow2.make_full(path, settings.repetitions(1_000_000, 2_000_000), 16)
            self.add(path)
            self.qmp.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk", "writable": True})
            connection = self.session("disk")
            for offset in range(0, 30 * GIB, GIB):
                connection.call(CMD_TRIM, offset, GIB)
            connection.disconnect()

        def work():
            self.drop_export("disk")
            self.remove()
        self.judge(work, prepare)
        self.check(path)

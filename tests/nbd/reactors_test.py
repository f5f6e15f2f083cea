"""Clients on several threads: exports with and without iothreads, and the end of their connections."""

import os
import signal
import subprocess
import threading
import unittest

from lib import daemon, images, nbd_raw, processes, settings, wait
from lib.images import MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, nbd_export, null_node
from removal_test import Writer

SLOW_NS = 1_000_000_000


def serving_threads(qmp):
    """How many clients each thread serves, by the names that x-debug-tasks has for them."""
    count = {}
    for task in qmp.execute("x-debug-tasks"):
        if task["name"] == "nbd reader":
            count[task["reactor"]] = count.get(task["reactor"], 0) + 1
    return count


def start_writers(test, sockets_of, count):
    """Writers of the given exports, at work: count for each, each in a range of its own."""
    writers = []
    for export in sockets_of:
        for _ in range(count):
            writers.append(Writer(test.daemon.connect_nbd(), export, len(writers) * MIB))
    for writer in writers:
        writer.start()
    for writer in writers:
        test.assertTrue(writer.warm.wait(settings.seconds(20)), "a writer never got going")
    return writers


class IothreadTest(DaemonTest):
    """Two exports on iothreads and one that is spread over two threads, all of one disk."""

    @classmethod
    @settings.unlike_qemu("x-debug-tasks, --reactors, hide and soft are ours")
    def prepare(cls):
        cls.disk = images.make_empty(cls.path("disk.img"), 16 * MIB)
        cls.knows_direct = images.knows_direct(cls.disk)
        return ["--reactors", "2", "--object", "iothread,id=io0", "--object", "iothread,id=io1,thread-pool-max=2",
                *file_node("disk", cls.disk)]

    def setUp(self):
        self.qmp.events.clear()
        for name, options in (("zero", {"iothread": "io0"}), ("one", {"iothread": "io1"}), ("spread", {})):
            self.add_export(name, "disk", name=name, writable=True, **options)

    def remove(self, name, mode):
        """block-export-del; the whole reply."""
        return self.qmp.command("block-export-del", {"id": name, "mode": mode})

    def finish(self, writers):
        """Waits for the writers' end, and checks what they had acknowledged."""
        for writer in writers:
            writer.join(settings.seconds(15))
            writer.check(self, self.disk)

    def test_each_on_its_thread(self):
        """An export's clients are all on its iothread; others go where fewest are."""
        clients = [self.session(name) for name in ("zero", "zero", "one", "spread", "spread", "spread")]
        for index, client in enumerate(clients):
            self.assertEqual(client.write(index * MIB, bytes([index + 1]) * 4096), 0)
        for index, client in enumerate(clients):
            self.assertEqual(clients[0].read(index * MIB, 4096), bytes([index + 1]) * 4096)
            self.assertEqual(client.read(0, 4096), b"\x01" * 4096)
        where = serving_threads(self.qmp)
        self.assertEqual((where["iothread io0"], where["iothread io1"]), (2, 1))
        self.assertEqual(sorted((where["main"], where["reactor-1"])), [1, 2])

    def test_spread_over_a_list(self):
        """The clients of an export with several iothreads go where fewest are, counting those of other exports."""
        self.add_export("both", "disk", name="both", writable=True, iothread=["io0", "io1"])
        clients = [self.session("zero"), self.session("zero")]
        for index in range(4):
            clients.append(self.session("both"))
            self.assertEqual(clients[-1].write(index * MIB, bytes([index + 7]) * 4096), 0)
        for index in range(4):
            self.assertEqual(clients[0].read(index * MIB, 4096), bytes([index + 7]) * 4096)
        where = serving_threads(self.qmp)
        self.assertEqual((where["iothread io0"], where["iothread io1"]), (3, 3))
        listed = {entry["id"]: entry.get("iothreads") for entry in self.qmp.execute("query-block-exports")}
        self.assertEqual(listed, {"zero": ["io0"], "one": ["io1"], "spread": None, "both": ["io0", "io1"]})

    def test_object_del_of_a_list(self):
        """None of the iothreads of a list goes before its export, and each may afterwards."""
        for name in ("io7", "io8"):
            self.qmp.execute("object-add", {"qom-type": "iothread", "id": name})
        self.add_export("pair", "disk", name="pair", iothread=["io7", "io8"])
        for name in ("io7", "io8"):
            self.assertIn("is in use", self.qmp.command("object-del", {"id": name})["error"]["desc"])
        self.qmp.execute("block-export-del", {"id": "pair"})
        for name in ("io7", "io8"):
            self.qmp.execute("object-del", {"id": name})

    def test_lists_that_are_refused(self):
        """An empty list, unknown names, names given twice, and fixed-iothread; nothing is left behind."""
        for options, reason in (({"iothread": []}, "The set of I/O threads must not be empty"),
                                ({"iothread": ["io0", "io9"]}, 'iothread "io9" not found'),
                                ({"iothread": ["io0", "io1", "io0"]}, 'iothread "io0" is named twice'),
                                ({"iothread": ["io0"], "fixed-iothread": True},
                                 "Cannot use fixed-iothread for a multi-threaded export")):
            reply = self.qmp.command("block-export-add", {"type": "nbd", "id": "none", "node-name": "disk", **options})
            self.assertEqual(reply["error"]["desc"], reason)
        self.assertNotIn("none", [entry["id"] for entry in self.qmp.execute("query-block-exports")])

    def test_object_del(self):
        """An iothread in use stays; once its export is gone it goes, and its thread with it."""
        self.assertTrue(processes.threads(self.daemon.pid, "io0"))
        client = self.session("zero")
        refusal = self.qmp.failure("object-del", {"id": "io0"})
        self.assertEqual(refusal[1], "object 'io0' is in use, can not be deleted")
        self.assertEqual(len(client.read(0, 512)), 512)
        self.assertEqual(self.remove("zero", "hard"), {"return": {}})
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.qmp.execute("object-del", {"id": "io0"})
        wait.until(lambda: not processes.threads(self.daemon.pid, "io0"), 10, "the thread to end")
        refusal = self.qmp.failure("block-export-add", {"type": "nbd", "id": "zero", "node-name": "disk",
                                                        "iothread": "io0"})
        self.assertEqual(refusal[1], 'iothread "io0" not found')
        self.qmp.execute("object-add", {"qom-type": "iothread", "id": "io0"})

    def test_hard_under_load(self):
        """hard of each export under writers: all are cut, the events come, nothing acknowledged is lost."""
        writers = start_writers(self, ("zero", "one", "spread"), 2)
        for name in ("zero", "one", "spread"):
            self.assertEqual(self.remove(name, "hard"), {"return": {}})
            self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.finish(writers)
        self.assertEqual(self.qmp.execute("query-block-exports"), [])

    def test_soft_under_load(self):
        """soft under writers: ESHUTDOWN from then on, on every thread; the exports go when the clients leave."""
        writers = start_writers(self, ("zero", "one", "spread"), 2)
        idle = [self.session(name) for name in ("zero", "one", "spread")]
        for name in ("zero", "one", "spread"):
            self.assertEqual(self.remove(name, "soft"), {"return": {}})
        for client in idle:
            self.assertEqual(client.call(CMD_READ, 0, 512).error, ESHUTDOWN)
            client.disconnect()
        for name in ("zero", "one", "spread"):
            self.remove(name, "hard")
            self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.finish(writers)

    def test_hide(self):
        """hide: connected clients go on, new ones do not see it, and it is gone with the last one."""
        clients = {name: self.session(name) for name in ("zero", "spread")}
        for name in clients:
            self.assertEqual(self.remove(name, "hide"), {"return": {}})
        self.assertEqual([name for name, _ in self.client().list()], ["one"])
        for client in clients.values():
            self.assertEqual(client.write(0, b"h" * 512), 0)
            client.disconnect()
            self.qmp.wait_event("BLOCK_EXPORT_DELETED")

    def test_safe_after_the_client_left(self):
        """A client that has seen the end of its connection counts no more, on whatever thread it was."""
        for _ in range(20):
            client = self.session("zero")
            client.disconnect()
            self.assertEqual(self.remove("zero", "safe"), {"return": {}})
            self.qmp.wait_event("BLOCK_EXPORT_DELETED")
            self.qmp.execute("block-export-add", {"type": "nbd", "id": "zero", "node-name": "disk", "name": "zero",
                                                  "writable": True, "iothread": "io0"})

    def test_graph_changes_under_load(self):
        """blockdev-reopen with another descriptor, and block_resize, let the clients of all threads go on."""
        writers = start_writers(self, ("zero", "one", "spread"), 2)
        options = {"driver": "file", "node-name": "disk", "filename": self.disk}
        for number in range(20):
            changed = {**options, "discard": "unmap" if number // 2 % 2 else "ignore",
                       "cache": {"direct": self.knows_direct and number % 2 == 0}}
            self.qmp.execute("blockdev-reopen", {"options": [changed]})
            self.qmp.execute("block_resize", {"node-name": "disk", "size": (17 + number) * MIB})
            sent = [sum(writer.sent) for writer in writers]
            wait.until(lambda: all(sum(writer.acknowledged) > before for writer, before in zip(writers, sent)),
                       20, "the writers to go on")
        self.assertEqual(os.path.getsize(self.disk), 36 * MIB)
        for name in ("zero", "one", "spread"):
            self.remove(name, "hard")
            self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.finish(writers)

    def test_successors_of_dead_clients(self):
        """What a client left behind when it died does not land on top of its successor's writes."""
        for number in range(30):
            dying = self.session("spread")
            for block in range(8):
                dying.send_request(CMD_WRITE, block * 4096, 4096, 0, b"!" * 4096)
            dying.reset() if number % 2 else dying.close()
            successor = self.session("spread")
            data = bytes([number + 1]) * 4096
            for block in range(8):
                self.assertEqual(successor.write(block * 4096, data), 0)
            self.assertEqual(successor.read(0, 8 * 4096), data * 8)
            successor.disconnect()

    def test_connecting_and_leaving_at_once(self):
        """Clients that come and go on all threads at the same time leave nothing behind."""
        failures = []

        def visit(export):
            try:
                for _ in range(40):
                    client = nbd_raw.Connection(self.daemon.connect_nbd())
                    client.go(export)
                    client.read(0, 4096)
                    client.close()
            except (AssertionError, OSError) as problem:
                failures.append(problem)

        visitors = [threading.Thread(target=visit, args=(name,)) for name in ("zero", "one", "spread", "spread")]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join(settings.seconds(60))
        self.assertEqual(failures, [])


class EndTest(unittest.TestCase):
    """How the server ends with clients on several threads: one server for each test."""

    @settings.unlike_qemu("--reactors is ours")
    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        self.disk = images.make_empty(f"{self.workdir}/disk.img", 16 * MIB)
        arguments = ["--reactors", "3", "--object", "iothread,id=io0", *file_node("disk", self.disk),
                     *null_node("slow", 1 << 30, **{"latency-ns": SLOW_NS}),
                     *nbd_export("zero", "disk", writable="on", iothread="io0"),
                     *nbd_export("spread", "disk", writable="on"), *nbd_export("slow")]
        self.daemon = daemon.Daemon(self.workdir, arguments)
        self.addCleanup(self.daemon.kill)
        self.daemon.start()

    def check_end(self, writers):
        """The server ends with 0, and no writer lost what was acknowledged."""
        self.daemon.check_end(self.daemon.wait_exit(15))
        for writer in writers:
            writer.join(settings.seconds(15))
            writer.check(self, self.disk)

    def test_signal_under_load(self):
        """SIGTERM under writers on four threads."""
        writers = start_writers(self, ("zero", "spread", "spread"), 2)
        self.daemon.signal(signal.SIGTERM)
        self.check_end(writers)

    def test_quit_under_load(self):
        """quit under writers on four threads: the events, then its reply, then the end."""
        writers = start_writers(self, ("zero", "spread", "spread"), 2)
        self.daemon.qmp.send({"execute": "quit"})
        messages = [self.daemon.qmp.read_message() for _ in range(4)]
        self.assertEqual([message.get("event") for message in messages], ["BLOCK_EXPORT_DELETED"] * 3 + [None])
        self.check_end(writers)

    def test_stop_answers_what_is_under_way(self):
        """nbd-server-stop answers the requests in flight on every thread before it closes."""
        clients = []
        for _ in range(4):
            client = nbd_raw.Connection(self.daemon.connect_nbd())
            self.addCleanup(client.close)
            client.go("slow")
            clients.append((client, client.send_request(CMD_READ, 0, 4096)))
        self.daemon.qmp.wait_for_tasks("nbd read", len(clients))
        self.assertGreater(len(serving_threads(self.daemon.qmp)), 1)
        self.daemon.qmp.send({"execute": "nbd-server-stop"})
        for client, request in clients:
            self.assertEqual(client.read_reply(request).error, 0)
            self.assertTrue(client.at_end())
        self.assertEqual(self.daemon.qmp.read_reply(), {"return": {}})
        self.assertEqual(serving_threads(self.daemon.qmp), {})


class OptionTest(unittest.TestCase):
    """--reactors on the command line."""

    def run_with(self, value):
        """The ended program's exit code and what it said."""
        result = subprocess.run([settings.program(), "--reactors", value, "--version"], capture_output=True,
                                text=True, timeout=settings.seconds(10), check=False)
        return result.returncode, result.stderr

    @settings.unlike_qemu("--reactors is ours")
    def test_values(self):
        """auto and 1 to 64 are taken, all else is refused with what would be right."""
        for value in ("auto", "1", "64"):
            self.assertEqual(self.run_with(value), (0, ""))
        for value in ("0", "65", "-1", "", "2x", "all"):
            code, text = self.run_with(value)
            self.assertEqual(code, 1)
            self.assertIn(f"--reactors {value}: must be 'auto' or a number from 1 to 64", text)

    @settings.unlike_qemu("--reactors is ours")
    def test_one_serves_all_by_itself(self):
        """With one reactor every client is on the main thread, and no other is started."""
        workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, workdir)
        server = daemon.Daemon(workdir, ["--reactors", "1", *null_node("null", 1 << 20), *nbd_export("null")])
        self.addCleanup(server.kill)
        server.start()
        for _ in range(3):
            client = nbd_raw.Connection(server.connect_nbd())
            self.addCleanup(client.close)
            client.go("null")
            client.read(0, 512)
        self.assertEqual(serving_threads(server.qmp), {"main": 3})
        server.stop()

"""`blockexport clients`, `kick` and `top`: with prepared replies, with a running daemon, and in a terminal."""

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import threading
import time

from lib import images, settings
from lib.client_tool import ToolTest, program
from lib.images import MIB
from lib.testcase import DaemonTest, file_node, nbd_export


def client(number, export, read=0, written=0, **members):
    """A client as query-export-clients tells it."""
    counts = {"read": 0, "write": 0, "write-zeroes": 0, "trim": 0, "flush": 0, "cache": 0, "block-status": 0}
    return {"client": number, "server": "default", "export": export, "peer": f"192.0.2.{number}:4000 #{number}",
            "since": 1790000000, "phase": "serving", "header-mode": "structured", "contexts": [], "reactor": "main",
            "writable": True, "in-flight": number, "operations": {**counts, "read": read // 4096},
            "bytes": {**counts, "read": read, "write": written}, **members}


class Monitor:
    """A QMP monitor with prepared replies: a function of the command, its arguments, and how often it came before."""

    def __init__(self, path, answer):
        self.answer = answer
        self.requests = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def close(self):
        """Ends it."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()

    def _run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rw", encoding="utf-8") as stream, contextlib.suppress(OSError):
                self._say(stream, {"QMP": {"version": {}, "capabilities": []}})
                for line in stream:
                    request = json.loads(line)
                    name = request["execute"]
                    if name == "qmp_capabilities":
                        self._say(stream, {"return": {}})
                        continue
                    count = sum(1 for known, _ in self.requests if known == name)
                    self.requests.append((name, request.get("arguments")))
                    self._say(stream, self.answer(name, count))

    @staticmethod
    def _say(stream, value):
        stream.write(json.dumps(value) + "\n")
        stream.flush()


class PreparedTest(ToolTest):
    """Prepared replies, as those of a daemon with three clients."""

    CLIENTS = [client(7, "vda", 8192, 4096, identity="CN=anna", tls={"version": "TLS1.3", "cipher": "AES-256-GCM"}),
               client(9, "vdb", 0, 1 << 20, **{"oldest-request-ms": 12, "writable": False}), client(11, "vda")]

    def start(self, answer=None):
        """The monitor; by default with CLIENTS."""
        monitor = Monitor(self.path("qmp.sock"), answer or self.answer)
        self.addCleanup(monitor.close)
        return monitor

    def answer(self, name, _):
        """Replies to the commands."""
        if name == "query-export-clients":
            return {"return": self.CLIENTS}
        if name == "export-client-disconnect":
            return {"return": {"disconnected": 1}}
        return {"return": [{"id": "vda", "type": "nbd", "node-name": "vda", "shutting-down": False}]
                if name == "query-block-exports" else []}

    def run_tool(self, verb, *arguments, expected=0):
        """What the tool prints."""
        return self.tool(verb, "--monitor", self.path("qmp.sock"), *arguments, expected=expected)

    def test_clients(self):
        """A line for each; those of one export alone; as JSON what the daemon says."""
        self.start()
        said, _ = self.run_tool("clients")
        head, first, second, _ = said.splitlines()
        self.assertEqual(head.split()[:4], ["CLIENT", "EXPORT", "PEER", "IDENTITY"])
        for text in ("7  vda", "192.0.2.7:4000 #7", "CN=anna", "TLS1.3", "serving", "read-write", "8.0 KiB", "4.0 KiB"):
            self.assertIn(text, first)
        for text in ("9  vdb", "read-only", "12 ms", "1.0 MiB"):
            self.assertIn(text, second)
        self.assertEqual(len(self.run_tool("clients", "vda")[0].splitlines()), 3)
        self.assertEqual(json.loads(self.run_tool("clients", "--json")[0]), self.CLIENTS)
        self.assertEqual([one["client"] for one in json.loads(self.run_tool("clients", "--json", "vda")[0])], [7, 11])

    def test_an_unknown_export(self):
        """It gets a suggestion, and is no empty list."""
        self.start()
        self.assertIn("Did you mean 'vda'", self.run_tool("clients", "vdc", expected=1)[1])

    def test_kick(self):
        """Each selector reaches the daemon; without any the line is wrong."""
        monitor = self.start()
        self.assertEqual(self.run_tool("kick", "7")[0], "1 client is disconnected\n")
        self.run_tool("kick", "#9")
        self.run_tool("kick", "--identity", "CN=anna", "--export", "vda")
        sent = [arguments for name, arguments in monitor.requests if name == "export-client-disconnect"]
        self.assertEqual(sent, [{"client": 7}, {"client": 9}, {"identity": "CN=anna", "export": "vda"}])
        self.run_tool("kick", expected=2)
        self.assertIn("no number of a client", self.run_tool("kick", "anna", expected=1)[1])
        self.assertEqual(json.loads(self.run_tool("kick", "--json", "7")[0]), {"disconnected": 1})

    def test_kick_with_a_ban(self):
        """The time of a ban reaches the daemon in seconds; the tool tells how many are banned."""
        monitor = self.start(lambda name, count: {"return": {"disconnected": 1, "banned": 1}})
        self.assertEqual(self.run_tool("kick", "7", "--ban", "10m")[0],
                         "1 client is disconnected\n1 peer is banned for 10m\n")
        for text in ("90", "60s", "2h", "7d"):
            self.run_tool("kick", "--identity", "CN=anna", "--ban", text)
        sent = [arguments["ban-seconds"] for name, arguments in monitor.requests if name == "export-client-disconnect"]
        self.assertEqual(sent, [600, 90, 60, 7200, 604800])
        self.assertEqual(json.loads(self.run_tool("kick", "--json", "7", "--ban", "1")[0]),
                         {"disconnected": 1, "banned": 1})
        for text in ("0", "8d", "604801", "1w", "-1", "m", "1.5h", "99999999999999999999"):
            said = self.run_tool("kick", "7", f"--ban={text}", expected=1)[1]
            self.assertIn("is no time from 1 second to 7 days", said)

    def test_ban_of_an_absent_identity(self):
        """An identity is banned although no client has it now."""
        self.start(lambda name, count: {"return": {"disconnected": 0, "banned": 1}})
        self.assertEqual(self.run_tool("kick", "--identity", "CN=anna", "--ban", "1h")[0], "1 peer is banned for 1h\n")

    def test_kick_of_nobody(self):
        """No client that matches is a failure."""
        self.start(lambda name, count: {"return": {"disconnected": 0}})
        self.assertIn("No client matches", self.run_tool("kick", "7", expected=1)[1])

    def test_an_older_daemon(self):
        """A command that the daemon lacks is named."""
        self.start(lambda name, count: {"error": {"class": "CommandNotFound",
                                                  "desc": f"The command {name} has not been found"}})
        for words, command in ((("clients",), "query-export-clients"), (("kick", "7"), "export-client-disconnect"),
                               (("top", "--count", "1"), "query-export-clients")):
            said = self.run_tool(*words, expected=1)[1]
            self.assertIn(f"The daemon has no command '{command}'", said)
            self.assertIn("older", said)

    def growing(self, name, count):
        """Counters of client 9 that grow faster than those of client 7."""
        return {"return": [client(7, "vda", count << 20), client(9, "vdb", 0, count << 24)]} \
            if name == "query-export-clients" else {"return": []}

    def test_top_without_a_terminal(self):
        """Tables follow each other; the busiest comes first. With --json a line each, with the same order."""
        self.start(self.growing)
        said, _ = self.run_tool("top", "--count", "2")
        self.assertEqual(said.count("2 clients of 2 exports"), 2)
        self.assertNotIn("\x1b", said)
        self.assertLess(said.index("\n     9  vdb"), said.index("\n     7  vda"))
        lines = [json.loads(line) for line in self.run_tool("top", "--json", "--count", "2")[0].splitlines()]
        for line in lines:
            self.assertEqual([one["client"] for one in line["clients"]], [9, 7])
            self.assertEqual([one["export"] for one in line["exports"]], ["vdb", "vda"])
            self.assertGreater(line["clients"][1]["read-bytes-per-second"], 0)

    def test_top_in_a_terminal(self):
        """It takes the other screen and gives it back, with the key q and with a signal."""
        self.start(self.growing)
        for end in (b"q", None):
            child, terminal = pty.fork()
            if child == 0:
                os.execv(program(), [program(), "top", "--monitor", self.path("qmp.sock")])
            said = b""
            deadline = time.monotonic() + settings.seconds(20)
            is_asked = False
            with contextlib.suppress(OSError):
                while time.monotonic() < deadline:
                    if select.select([terminal], [], [], 0.1)[0]:
                        said += os.read(terminal, 65536)
                    if b"MiB/s" in said and not is_asked:
                        is_asked = True
                        if end:
                            os.write(terminal, end)
                        else:
                            os.kill(child, signal.SIGTERM)
            os.close(terminal)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
            self.assertTrue(said.startswith(b"\x1b[?1049h\x1b[?25l"), said[:40])
            self.assertTrue(said.endswith(b"\x1b[?25h\x1b[?1049l"), said[-40:])

    def test_top_and_a_daemon_that_ends(self):
        """The tool says so, and the screen of a terminal is given back."""
        monitor = Monitor(self.path("qmp.sock"), self.growing)
        process = subprocess.Popen([program(), "top", "--json", "--monitor", self.path("qmp.sock")], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()
        monitor.close()
        os.unlink(self.path("qmp.sock"))
        _, said = process.communicate(timeout=settings.seconds(20))
        self.assertEqual(process.returncode, 1)
        self.assertIn("Cannot connect to the monitor", said)

    def test_top_whose_reader_goes(self):
        """It ends without a word."""
        self.start(self.growing)
        result = subprocess.run(["/bin/sh", "-c", f"{program()} top --monitor {self.path('qmp.sock')} | head -n 1"],
                                capture_output=True, text=True, timeout=settings.seconds(30), check=False)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertIn("clients of", result.stdout)


class RunningTest(DaemonTest):
    """A daemon that has the commands."""

    @classmethod
    def prepare(cls):
        images.make_sparse(cls.path("disk.img"), MIB, [])
        return [*file_node("vda", cls.path("disk.img")), *nbd_export("vda", writable="on")]

    def setUp(self):
        super().setUp()
        names = [one["name"] for one in self.qmp.execute("query-commands")] if not settings.is_qemu() else []
        if "query-export-clients" not in names:
            self.skipTest("the server does not tell its clients")
        self.qmp.execute("chardev-add", {"id": "tool", "backend": {"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": self.path("tool.sock")}}, "server": True, "wait": False}}})
        self.addCleanup(self.qmp.execute, "chardev-remove", {"id": "tool"})
        self.qmp.execute("object-add", {"qom-type": "monitor-qmp", "id": "tool-monitor", "chardev": "tool"})
        self.addCleanup(self.qmp.execute, "object-del", {"id": "tool-monitor"})

    def value(self, *words):
        """What the tool prints as JSON."""
        result = subprocess.run([program(), words[0], "--json", "--monitor", self.path("tool.sock"), *words[1:]],
                                capture_output=True, text=True, timeout=settings.seconds(30), check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def test_life_of_a_client(self):
        """It is listed with what it has done, disconnected by its number, and gone."""
        session = self.session("vda")
        self.assertEqual(session.write(0, b"x" * 8192), 0)
        session.read(0, 4096)
        (state,) = self.value("clients", "vda")
        self.assertEqual((state["bytes"]["write"], state["bytes"]["read"]), (8192, 4096))
        self.assertEqual(self.value("status")["clients"], 1)
        self.assertEqual(self.value("top", "--count", "1")["clients"][0]["client"], state["client"])
        self.assertEqual(self.value("kick", str(state["client"])), {"disconnected": 1})
        self.assertEqual(self.value("clients"), [])


if __name__ == "__main__":
    import unittest
    unittest.main()

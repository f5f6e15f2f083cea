"""Tests of the monitor that scripts cannot express: limits, clients that do not read, many clients."""

import json
import os
import socket
import stat
import time

from lib import nbd_raw, settings, wait
from lib.qmp import QmpClient
from lib.testcase import DaemonTest, nbd_export, null_node


class MonitorTest(DaemonTest):
    """A server with two monitors; the second one is the hostile client's."""

    @classmethod
    def prepare(cls):
        cls.other = cls.path("other.sock")
        return ["--chardev", f"socket,id=other,path={cls.other},server=on,wait=off", "--monitor", "chardev=other",
                *null_node("null", 1 << 20), *nbd_export("null")]

    def hostile(self, negotiate=True):
        """A client of the second monitor."""
        client = QmpClient(self.other, negotiate=negotiate)
        self.addCleanup(client.close)
        return client

    def tearDown(self):
        super().tearDown()
        started = time.monotonic()
        self.assertEqual(self.qmp.execute("query-block"), [])
        self.assertLess(time.monotonic() - started, settings.seconds(2), "the good monitor waited")


class FormTest(MonitorTest):
    """The bytes of the protocol."""

    def test_lines_end_with_cr_lf(self):
        """Every message is one line that ends with CR LF, with a blank after commas and colons."""
        client = self.hostile(negotiate=False)
        client.send({"execute": "qmp_capabilities", "id": [1, 2]})
        line = client.read_line()
        self.assertTrue(line.endswith(b"\r"), line)
        self.assertIn(b'"id": [1, 2]', line)

    def test_output_is_ascii(self):
        """All that is not ASCII is escaped, in upper-case hexadecimal; control characters too."""
        client = self.hostile()
        client.send({"execute": "query-block", "id": "é 😀 \x7f \x01 \n"})
        line = client.read_line()
        self.assertIn(rb'"\u00E9 \uD83D\uDE00 \u007F \u0001 \n"', line)

    def test_greeting(self):
        """The greeting has the members that clients parse."""
        greeting = self.hostile(negotiate=False).greeting["QMP"]
        self.assertEqual(set(greeting), {"version", "capabilities"})
        self.assertEqual(set(greeting["version"]), {"qemu", "package"})
        self.assertEqual({type(value) for value in greeting["version"]["qemu"].values()}, {int})
        self.assertEqual(set(greeting["version"]["qemu"]), {"major", "minor", "micro"})

    @settings.unlike_qemu("a version tells its own number")
    def test_level_of_compatibility(self):
        """The version says 11.1."""
        version = self.hostile(negotiate=False).greeting["QMP"]["version"]["qemu"]
        self.assertEqual((version["major"], version["minor"]), (11, 1))

    def test_events_have_timestamps(self):
        """An event has a time near now, in seconds and microseconds."""
        client = self.hostile()
        self.add_export("short", "null", name="short")
        self.qmp.execute("block-export-del", {"id": "short"})
        event = client.wait_event("BLOCK_EXPORT_DELETED")
        self.assertLess(abs(event["timestamp"]["seconds"] - time.time()), settings.seconds(60))
        self.assertIn(event["timestamp"]["microseconds"], range(1_000_000))
        self.assertEqual(event["data"], {"id": "short"})

    def test_numbers_in_ids(self):
        """Numbers are normalised as QSD does it."""
        client = self.hostile()
        for sent, expected in ((b"1.50", b"1.5"), (b"1e3", b"1000"), (b"-0", b"0"), (b"0.1", b"0.10000000000000001"),
                               (b"18446744073709551615", b"18446744073709551615"),
                               (b"123456789012345678901234567890", b"1.2345678901234568e+29")):
            client.send_raw(b'{"execute": "query-block", "id": ' + sent + b"}")
            self.assertIn(b'"id": ' + expected + b"}", client.read_line())


class LimitsTest(MonitorTest):
    """Messages that are too big, too deep, too long."""

    def error_of(self, client, data):
        """Sends bytes; the description of the error."""
        client.send_raw(data)
        return client.read_message()["error"]["desc"]

    def test_nesting(self):
        """1024 levels are parsed, one more is an error, and the monitor recovers."""
        client = self.hostile()
        client.send_raw(b"[" * 1024 + b"]" * 1024 + b"\n")
        self.assertEqual(client.read_message()["error"]["desc"], "QMP input must be a JSON object")
        self.assertIn("nesting depth limit exceeded", self.error_of(client, b"[" * 1025))
        client.send_raw(b"\xff")
        client.send({"execute": "query-block", "id": "after"})
        wait.until(lambda: client.read_message().get("id") == "after", 10, "the monitor to recover")

    def test_very_deep_nesting(self):
        """A hundred thousand opening brackets give an error and no crash."""
        client = self.hostile()
        client.send_raw(b"[{" * 50_000)
        self.assertIn("error", client.read_message())
        self.drain(client)

    def drain(self, client):
        """The connection works again after byte 0xff."""
        client.send_raw(b'\xff{"execute": "query-block", "id": "drained"}\n')
        wait.until(lambda: client.read_message().get("id") == "drained", 20, "an answer")

    def test_long_string(self):
        """A string of 256 KiB is taken as any other."""
        client = self.hostile()
        client.send_raw(b'{"execute": "query-block", "id": "' + b"x" * (1 << 18) + b'"}\n')
        self.assertEqual(client.read_message(), {"return": [], "id": "x" * (1 << 18)})

    @settings.unlike_qemu("it takes many seconds for each megabyte")
    def test_endless_string(self):
        """A string that never ends is an error at 64 MiB, takes bounded memory, and the monitor recovers."""
        client = self.hostile()
        client.socket.settimeout(settings.seconds(30))
        before = self.daemon.rss()
        client.send_raw(b'{"execute": "')
        for _ in range(80):
            client.send_raw(b"x" * (1 << 20))
        self.assertIn("token size limit exceeded", client.read_message()["error"]["desc"])
        if not settings.sanitized():
            self.assertLess(self.daemon.rss() - before, 400 << 20)
        self.drain(client)

    @settings.unlike_qemu("it takes many seconds for each megabyte")
    def test_memory_of_long_messages(self):
        """What messages of megabytes took is given back, though their client stays."""
        client = self.hostile()
        before = self.daemon.rss()
        for _ in range(3):
            client.send_raw(b'{"execute": "query-block", "id": "' + b"x" * (12 << 20) + b'"}\n')
            self.assertEqual(set(client.read_message()), {"return", "id"})
        client.execute("query-block")
        if not settings.sanitized():
            self.assertLess(self.daemon.rss() - before, 8 << 20)

    @settings.unlike_qemu("it answers with the number `inf`, which is not JSON")
    def test_long_numbers_and_keywords(self):
        """Numbers and keywords of a megabyte are errors."""
        client = self.hostile()
        for junk in (b"1" * (1 << 20), b"a" * (1 << 20), b"-" + b"9" * 1000 + b"e" + b"9" * 1000):
            client.send_raw(b'{"execute": "query-block", "id": ' + junk + b"}\n")
            self.assertIn("error", client.read_message())
            self.drain(client)

    def test_many_members(self):
        """An object of 20,000 members is taken, and comes back whole."""
        client = self.hostile()
        members = ", ".join(f'"m{index}": {index}' for index in range(20_000))
        client.send_raw(('{"execute": "query-block", "id": {' + members + "}}\n").encode())
        expected = {f"m{index}": index for index in range(20_000)}
        self.assertEqual(client.read_message(), {"return": [], "id": expected})

    def test_every_byte_alone(self):
        """Each single byte, followed by 0xff and a command: the command is answered."""
        client = self.hostile()
        for value in range(256):
            client.send_raw(bytes([value]) + b"\xff" + b'{"execute": "query-block", "id": %d}\n' % value)
            wait.until(lambda wanted=value: client.read_message().get("id") == wanted, 10,
                       f"an answer after byte {value:#x}")

    def test_truncations_of_a_command(self):
        """A client that leaves after each byte of a command harms nobody."""
        command = b'{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "n0", "size": 5}}'
        for length in range(len(command)):
            client = self.hostile()
            client.send_raw(command[:length])
            client.close()


class FloodTest(MonitorTest):
    """Clients that do not read."""

    def test_unread_answers(self):
        """1,500 query-qmp-schema whose answers nobody reads take at most 16 MiB."""
        self.measure_memory()
        client = self.hostile()
        client.socket.settimeout(settings.seconds(0.5))
        before = self.daemon.rss()
        try:
            for _ in range(1500):
                client.send({"execute": "query-qmp-schema"})
        except TimeoutError:
            pass
        growth = self.daemon.rss() - before
        if settings.qemu_version() is None:
            self.assertLess(growth, 16 << 20)

    def test_unread_events(self):
        """A client that does not read its events does not hold up the commands that cause them."""
        self.hostile()
        for index in range(300):
            self.add_export(f"e{index}", "null", name="x")
            self.drop_export(f"e{index}")
        self.assertEqual(len(self.qmp.execute("query-block-exports")), 1)

    def test_pipelined_commands(self):
        """1,000 commands sent at once are answered in order."""
        client = self.hostile()
        client.send_raw(b"".join(b'{"execute": "query-block", "id": %d}' % index for index in range(1000)))
        self.assertEqual([client.read_message()["id"] for _ in range(1000)], list(range(1000)))


class ClientsTest(MonitorTest):
    """One socket, one client."""

    def test_second_client_is_served_after_the_first(self):
        """The second client of a monitor is greeted when the first has gone."""
        first = self.hostile()
        second = socket.socket(socket.AF_UNIX)
        second.settimeout(settings.seconds(10))
        second.connect(self.other)
        first.execute("query-block")
        first.close()
        client = QmpClient(second)
        self.addCleanup(client.close)
        self.assertEqual(client.execute("query-block"), [])

    def test_connect_and_close(self):
        """1,000 connects that close at once."""
        before = self.daemon.open_fds()
        for _ in range(1000):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(settings.seconds(10))
            wait.until(lambda sock=client: self.try_connect(sock), 10, "a connection")
            client.close()
        wait.until(lambda: self.daemon.open_fds() <= before + 1, 10, "the descriptors")

    def try_connect(self, sock):
        """Connects; False while the backlog is full."""
        try:
            sock.connect(self.other)
            return True
        except BlockingIOError:
            return False

    def test_blocking_command_and_nbd(self):
        """While one monitor sends commands without a pause, an NBD client is served."""
        client = self.hostile()
        client.send_raw(b'{"execute": "query-named-block-nodes"}' * 500)
        connection = nbd_raw.Connection(self.daemon.connect_nbd())
        self.addCleanup(connection.close)
        connection.go("null")
        started = time.monotonic()
        connection.read(0, 4096)
        self.assertLess(time.monotonic() - started, settings.seconds(1))


class StyleTest(MonitorTest):
    """The way QEMU's own Python package talks: negotiate, ids, events while a command is under way."""

    def test_session(self):
        """Capabilities from the greeting are enabled, each command has an id, events are told apart by their key."""
        client = self.hostile(negotiate=False)
        capabilities = [name for name in client.greeting["QMP"]["capabilities"] if name == "oob"]
        self.assertEqual(client.command("qmp_capabilities", {"enable": capabilities}, id="__qmp#00001"),
                         {"return": {}, "id": "__qmp#00001"})
        for number in range(2, 30):
            identity = f"__qmp#{number:05}"
            arguments = {"type": "nbd", "id": "style", "node-name": "null", "name": "style"}
            command = ("block-export-add", arguments) if number % 2 == 0 else ("block-export-del", {"id": "style"})
            self.assertEqual(client.command(*command, id=identity), {"return": {}, "id": identity})
        self.assertEqual(len([event for event in client.events if event["event"] == "BLOCK_EXPORT_DELETED"]), 14)

    def test_introspection(self):
        """query-qmp-schema lists each command of query-commands, and every type that is referred to exists."""
        schema = self.qmp.execute("query-qmp-schema")
        names = {entity["name"]: entity for entity in schema}
        commands = {entity["name"] for entity in schema if entity["meta-type"] == "command"}
        self.assertEqual(commands, {command["name"] for command in self.qmp.execute("query-commands")})
        for entity in schema:
            for key in ("arg-type", "ret-type", "element-type", "tag"):
                if key in entity and key != "tag":
                    self.assertIn(entity[key], names)
            for member in entity.get("members", []) + entity.get("variants", []):
                if isinstance(member, dict) and "type" in member:
                    self.assertIn(member["type"], names)
        self.assertLess(len(json.dumps(schema)), 1 << 20)

    def test_permissions_of_the_socket(self):
        """The monitor's socket is there, with the permissions that the umask leaves."""
        umask = os.umask(0o077)
        os.umask(umask)
        mode = os.stat(self.other).st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o777 & ~umask)

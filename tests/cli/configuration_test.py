"""Configuration files: start, check, and reload while clients are connected."""

import os
import signal
import stat
import subprocess
import time
import unittest

from lib import client_tool, settings
from lib.daemon import Daemon, connected_or_none, make_workdir, remove_workdir
from lib.nbd_raw import Connection
from lib.nbd_wire import CMD_READ
from lib.qmp import QmpClient, QmpError
from lib.wait import until

ESHUTDOWN = 108
SERVER = '[servers.default]\nlisten = ["unix:@/nbd.sock"]\n'
MONITOR = ('[chardevs.qmp]\nbackend = "socket"\naddr = { type = "unix", path = "@/qmp.sock" }\n'
           '[monitors.qmp]\nchardev = "qmp"\n')
NODE = '[node]\ndriver = "file"\nfilename = "@/%s.img"\n'


@unittest.skipIf(settings.is_qemu(), "qemu-storage-daemon has no configuration files")
class ConfigurationCase(unittest.TestCase):
    """A directory with a configuration and three images; start() makes a daemon of it."""

    main = SERVER + MONITOR

    def setUp(self):
        self.workdir = make_workdir()
        self.addCleanup(remove_workdir, self.workdir)
        os.mkdir(self.path("exports.d"), 0o755)
        for name in "abc":
            with open(self.path(f"{name}.img"), "wb") as image:
                image.write(name.encode() * 65536)
        self.write("main.toml", self.main)
        self.daemon = None

    def path(self, *names):
        """A path in the private directory."""
        return os.path.join(self.workdir, *names)

    def write(self, name, text, mode=0o600):
        """A file; "@" stands for the directory."""
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text.replace("@", self.workdir))
        os.chmod(self.path(name), mode)

    def write_export(self, identity, more="", image=None):
        """One more file in exports.d."""
        self.write(f"exports.d/{identity}.toml", more + NODE % (image or identity))

    def start(self, *arguments):
        """The daemon, when its monitor answers."""
        self.daemon = Daemon(self.workdir, ["--config", "main.toml", *arguments], nbd_server=None, monitor=False)
        self.daemon.monitor = True
        self.addCleanup(self.daemon.kill)
        self.daemon.start()
        return self.daemon.qmp

    def run_once(self, *arguments):
        """Exit code and standard error of a process that ends by itself."""
        result = subprocess.run([settings.program(), *arguments], cwd=self.workdir, text=True, capture_output=True,
                                stdin=subprocess.DEVNULL, timeout=settings.seconds(20), check=False)
        return result.returncode, result.stderr

    def client(self, export, mode="simple"):
        """A client of an export."""
        connection = Connection(self.daemon.connect_nbd())
        self.addCleanup(connection.close)
        connection.negotiate(export, mode)
        return connection

    def names(self):
        """What a new client can list."""
        connection = Connection(self.daemon.connect_nbd())
        self.addCleanup(connection.close)
        return sorted(name for name, _ in connection.list())

    def reload(self, **options):
        """The differences of a reload, as "ACTION SECTION.ID"."""
        result = self.daemon.qmp.execute("config-reload", options)
        return [f"{one['action']} {one['section']}.{one['id']}" for one in result["differences"]]


class StartTest(ConfigurationCase):
    """Start and check."""

    def test_start(self):
        """The exports of all files are there; without any there is no failure."""
        self.start()
        self.assertEqual(self.names(), [])
        self.write_export("a")
        self.assertEqual(self.reload(), ["add exports.a"])
        self.assertEqual(self.client("a").read(0, 4), b"aaaa")
        self.daemon.stop()

    def test_all_errors(self):
        """The start and the check print all errors with their places, and end with 2."""
        self.write_export("a", "writeable = true\n")
        self.write("exports.d/b.toml", "node-name = 1\n")
        wanted = [f"{self.path('exports.d', 'a.toml')}:1:1: Parameter 'writeable' is unexpected. "
                  "Did you mean 'writable' instead of 'writeable'?",
                  f"{self.path('exports.d', 'b.toml')}:1:1: Invalid parameter type for 'node-name', expected: string"]
        for arguments in ([], ["--check-config"], ["--check-config", "--deep"]):
            self.assertEqual(self.run_once("--config", "main.toml", *arguments), (2, "\n".join(wanted) + "\n"))

    def test_deep_check(self):
        """Only the deep check opens images; it does so beside a daemon that writes to them."""
        self.write_export("a", "writable = true\n")
        self.start()
        self.assertEqual(self.run_once("--config", "main.toml", "--check-config", "--deep"), (0, ""))
        self.write_export("absent")
        self.assertEqual(self.run_once("--config", "main.toml", "--check-config"), (0, ""))
        code, errors = self.run_once("--config", "main.toml", "--check-config", "--deep")
        self.assertEqual(code, 2)
        self.assertIn(f"{self.path('exports.d', 'absent.toml')}:1:1: exports.absent: Could not open", errors)
        self.daemon.stop()

    def test_objects_of_the_command_line(self):
        """Files may refer to what the options of the command line make, which come first."""
        self.write("exports.d/x.toml", 'node-name = "n"\n')
        node = "driver=file,node-name=n,filename=c.img"
        self.assertEqual(self.run_once("--config", "main.toml", "--check-config", "--blockdev", node), (0, ""))
        self.assertEqual(self.run_once("--config", "main.toml", "--check-config")[0], 2)
        self.start("--blockdev", node)
        self.assertEqual(self.client("x").read(0, 2), b"cc")
        origins = {one["id"]: one["origin"] for one in self.daemon.qmp.execute("query-config")["objects"]}
        self.assertEqual((origins["n"], origins["x"]), ("command-line", "file"))
        self.daemon.stop()

    def test_sighup_without_configuration(self):
        """Without --config, SIGHUP ends the daemon, as that of qemu-storage-daemon."""
        daemon = Daemon(self.workdir)
        self.addCleanup(daemon.kill)
        daemon.start()
        daemon.signal(signal.SIGHUP)
        daemon.check_end(daemon.wait_exit())


class DefaultMonitorTest(ConfigurationCase):
    """The monitor that the daemon makes itself."""

    main = SERVER

    def test_socket(self):
        """It is in the directory of the service, for the user and the group; none without the directory."""
        os.mkdir(self.path("run"))
        environment = {**os.environ, "RUNTIME_DIRECTORY": self.path("run")}
        daemon = Daemon(self.workdir, ["--config", "main.toml"], nbd_server=None, monitor=False,
                        environment=environment)
        self.addCleanup(daemon.kill)
        daemon.start()
        path = self.path("run", "qmp.sock")
        client = until(lambda: connected_or_none(path), what="the monitor")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o660)
        with QmpClient(client) as qmp:
            self.assertEqual(qmp.execute("query-config")["files"], [self.path("main.toml")])
        daemon.stop()
        self.assertFalse(os.path.exists(path))


class ReloadTest(ConfigurationCase):
    """Reloads while clients are connected."""

    def setUp(self):
        super().setUp()
        self.write_export("a", "writable = true\n")
        self.qmp = self.start()

    def tearDown(self):
        self.daemon.stop()

    def log_has(self, text, count=1):
        """Waits until the log has the text that often."""
        until(lambda: self.daemon.stderr().decode().count(text) >= count, what=text)

    def test_sighup(self):
        """SIGHUP reloads; a client of another export notices nothing; errors leave everything as it is."""
        client = self.client("a")
        self.write_export("b")
        self.daemon.signal(signal.SIGHUP)
        self.log_has("configuration reloaded from")
        self.assertEqual(self.names(), ["a", "b"])
        self.write("exports.d/b.toml", "nonsense = 1\n")
        self.daemon.signal(signal.SIGHUP)
        self.log_has("configuration not reloaded, nothing has changed: ")
        self.assertEqual(self.names(), ["a", "b"])
        self.assertEqual(client.write(0, b"x" * 512), 0)

    def test_replacement(self):
        """An export with clients is replaced by a disruptive reload alone, which disconnects them."""
        client = self.client("a")
        self.write_export("a", image="b")
        with self.assertRaisesRegex(QmpError, "Export 'a' would be replaced, and has 1 clients"):
            self.reload()
        self.assertEqual(client.write(0, b"y" * 512), 0)
        self.assertEqual(self.reload(disruptive=True), ["replace exports.a"])
        self.assertTrue(client.at_end())
        self.assertEqual(self.client("a").read(0, 2), b"bb")

    def test_reopening(self):
        """Other options of the same image change while a client is connected."""
        client = self.client("a")
        self.write_export("a", 'writable = true\ndescription = "new"\n')
        with open(self.path("exports.d", "a.toml"), "a", encoding="utf-8") as file:
            file.write('discard = "unmap"\n')
        self.assertEqual(self.reload(), ["change exports.a"])
        self.assertEqual(client.write(0, b"z" * 512), 0)
        self.assertEqual(self.reload(), [])

    def remove_with(self, mode):
        """A client of an export whose file goes away; the export has that on-remove."""
        self.write_export("b", f'on-remove = "{mode}"\n')
        self.reload()
        client = self.client("b")
        os.unlink(self.path("exports.d", "b.toml"))
        return client

    def test_safe_removal(self):
        """safe: refused while there are clients."""
        client = self.remove_with("safe")
        with self.assertRaisesRegex(QmpError, "Export 'b' would be removed, and has 1 clients"):
            self.reload()
        self.assertEqual(client.read(0, 2), b"bb")
        client.disconnect()
        until(lambda: self.tries_reload() == ["remove exports.b"], what="the removal")
        self.assertEqual(self.names(), ["a"])

    def tries_reload(self):
        """The differences, or None when the reload fails."""
        try:
            return self.reload()
        except QmpError:
            return None

    def test_hidden_removal(self):
        """hide: the client goes on, also when the ID is used again."""
        client = self.remove_with("hide")
        self.assertEqual(self.reload(), ["remove exports.b"])
        self.assertEqual(self.names(), ["a"])
        self.assertEqual(client.read(0, 2), b"bb")
        self.write_export("b", image="c")
        self.assertEqual(self.reload(), ["add exports.b"])
        self.assertEqual(self.client("b").read(0, 2), b"cc")
        self.assertEqual(client.read(0, 2), b"bb")
        client.disconnect()
        until(lambda: len(self.qmp.execute("query-block-exports")) == 2, what="the end of the old export")

    def test_soft_removal(self):
        """soft: further requests fail."""
        client = self.remove_with("soft")
        self.assertEqual(self.reload(), ["remove exports.b"])
        self.assertEqual(client.call(CMD_READ, 0, 512).error, ESHUTDOWN)

    def test_hard_removal(self):
        """hard: the client is disconnected."""
        client = self.remove_with("hard")
        self.assertEqual(self.reload(), ["remove exports.b"])
        self.assertTrue(client.at_end())

    def test_servers(self):
        """A server gets one more address and keeps its clients; another one comes and goes."""
        client = self.client("a")
        more = '[servers.more]\nlisten = ["unix:@/more.sock"]\naccess = "read-only"\n'
        self.write("main.toml", SERVER.replace('.sock"]', '.sock", "unix:@/two.sock"]') + MONITOR + more)
        self.assertEqual(self.reload(), ["change servers.default", "add servers.more"])
        for name in ("two.sock", "more.sock"):
            connection = Connection(connected_or_none(self.path(name)))
            self.addCleanup(connection.close)
            connection.negotiate("a")
            self.assertEqual(connection.read(512, 2), b"aa")
        self.write("main.toml", self.main)
        self.assertEqual(self.reload(), ["change servers.default", "remove servers.more"])
        self.assertIsNone(connected_or_none(self.path("two.sock")))
        self.assertIsNone(connected_or_none(self.path("more.sock")))
        self.assertEqual(client.write(0, b"x" * 512), 0)

    def test_tool(self):
        """The verbs of the tool show the objects, the differences and the outcome."""
        def tool(*words):
            result = subprocess.run([client_tool.program(), *words, "--monitor", self.path("qmp2.sock")], text=True,
                                    capture_output=True, timeout=settings.seconds(20), check=False)
            self.assertEqual(result.returncode, 0, result.stderr)
            return result.stdout
        self.write("main.toml", self.main + MONITOR.replace("qmp", "qmp2"))
        self.reload()
        self.write_export("b")
        self.assertEqual(tool("config", "diff"), "add exports.b\n")
        self.assertEqual(tool("reload", "--dry-run"), "add exports.b\n")
        self.assertEqual(tool("reload"), "add exports.b\n")
        self.assertEqual(tool("reload"), "no differences\n")
        self.qmp.execute("block-export-del", {"id": "b"})
        place = f"{self.path('exports.d', 'b.toml')}:1"
        self.assertIn(f"exports.b  {place}  drift: removed by a command\n", tool("config", "show"))

    def test_many_exports(self):
        """A reload of one of a thousand exports takes less than a second, also on a busy machine."""
        for i in range(1000):
            self.write(f"exports.d/e{i}.toml", '[node]\ndriver = "null-co"\n')
        self.reload()
        times = []
        for i in range(5):
            self.write("exports.d/e500.toml", f'description = "{i}"\n[node]\ndriver = "null-co"\n')
            begin = time.monotonic()
            self.assertEqual(self.reload(), ["change exports.e500"])
            times.append(time.monotonic() - begin)
        print(f"reload of 1 of 1000 exports: {min(times) * 1000:.0f} to {max(times) * 1000:.0f} ms")
        self.assertLess(min(times), settings.seconds(1))


if __name__ == "__main__":
    unittest.main()

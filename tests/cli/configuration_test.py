"""Configuration files: start, check, and reload while clients are connected."""

import json
import os
import signal
import socket
import stat
import subprocess
import time
import unittest

from lib import client_tool, processes, settings
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

    def test_deep_check_of_addresses(self):
        """The deep check tries addresses and directories, and accepts those that the daemon itself uses."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            good = f'[servers.tcp]\nlisten = ["127.0.0.1:{taken.getsockname()[1]}", "unix:@/new.sock"]\n'
            self.write("main.toml", SERVER + good)
            self.assertEqual(self.run_once("--config", "main.toml", "--check-config", "--deep"), (0, ""))
        self.assertFalse(os.path.exists(self.path("new.sock")))
        self.write("main.toml", '[daemon]\npidfile = "@/no/pid"\nmetrics = { listen = ["unix:@/no/m"] }\n'
                   '[servers.a]\nlisten = ["192.0.2.1:1"]\n[servers.b]\nlisten = ["unix:@/no/b"]\n'
                   '[chardevs.c]\nbackend = "socket"\naddr = { type = "unix", path = "@/a.img" }\n')
        self.assertEqual(self.run_once("--config", "main.toml", "--check-config"), (0, ""))
        code, errors = self.run_once("--config", "main.toml", "--check-config", "--deep")
        missing = f"Directory '{self.path('no')}': No such file or directory"
        self.assertEqual((code, errors.replace(self.path("main.toml") + ":", "").splitlines()), (2, [
            f"2:1: daemon.pidfile: {missing}", f"3:1: daemon.metrics: {missing}",
            "4:10: servers.a: Failed to bind socket to 192.0.2.1:1: Cannot assign requested address",
            f"6:10: servers.b: {missing}", f"8:11: chardevs.c: '{self.path('a.img')}' exists, and is no socket"]))

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


class ProcessOptionsTest(ConfigurationCase):
    """The section [daemon]."""

    def origins(self):
        """The origin of each option, with its drift."""
        found = {}
        for one in self.daemon.qmp.execute("query-config")["objects"]:
            if one["section"] == "daemon":
                found[one["id"]] = (one["origin"], one["drift"]) if "drift" in one else one["origin"]
        return found

    def page(self, name):
        """The status line of a request for /readyz over a unix socket; None without a server."""
        client = connected_or_none(self.path(name))
        if client is None:
            return None
        with client:
            client.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return client.makefile("rb").readline().strip().decode()

    def test_log(self):
        """The level and the format of a file; a reload changes both; those of the command line stay."""
        self.write_export("a")
        self.write("main.toml", self.main + '[daemon]\nlog = { level = "error" }\n')
        self.start()
        self.client("a").disconnect()
        self.write("main.toml", self.main + '[daemon]\nlog = { level = "info", format = "json" }\n')
        self.assertEqual(self.reload(), ["change daemon.log.format", "change daemon.log.level"])
        self.client("a").disconnect()
        until(lambda: b'"event":"client-left"' in self.daemon.stderr(), what="the lines of the client")
        lines = self.daemon.stderr().decode().splitlines()
        self.assertTrue(all(line.startswith("{") for line in lines), lines)
        self.assertEqual(self.daemon.stderr().count(b'"event":"client-left"'), 1)
        self.assertEqual(self.origins(), {"log.level": "file", "log.format": "file"})
        self.daemon.stop()

    def test_command_line_first(self):
        """Options of the command line win, at the start and at a reload."""
        self.write_export("a")
        text = self.main + '[daemon]\nlog = { level = "%s" }\npolling = "%s"\nmetrics = { listen = ["unix:@/m"] }\n'
        self.write("main.toml", text % ("info", "auto"))
        self.start("--log-level", "error", "--polling", "off", "--metrics", f"unix:{self.path('line')}")
        self.client("a").disconnect()
        self.assertEqual((self.page("m"), self.page("line")), (None, "HTTP/1.1 200 OK"))
        self.assertEqual(self.origins(), {"log.level": "command-line", "polling": "command-line",
                                          "metrics": "command-line"})
        self.write("main.toml", text.replace("/m", "/n") % ("debug", "off"))
        self.assertEqual(self.reload(), [])
        self.client("a").disconnect()
        self.assertEqual(self.daemon.stderr(), b"")
        self.daemon.stop()

    def test_metrics(self):
        """Addresses come and go by a reload; one that cannot be bound changes nothing."""
        self.write("main.toml", self.main + '[daemon]\nmetrics = { listen = ["unix:@/one"] }\n')
        self.start()
        self.assertEqual(self.page("one"), "HTTP/1.1 200 OK")
        self.write("main.toml", self.main + '[daemon]\nmetrics = { listen = ["unix:@/two", "unix:@/no/three"] }\n')
        with self.assertRaisesRegex(QmpError, r"main.toml:\d+:1: daemon.metrics: .*/no/three"):
            self.reload()
        self.assertEqual((self.page("one"), self.page("two")), ("HTTP/1.1 200 OK", None))
        self.write("main.toml", self.main + '[daemon]\nmetrics = { listen = ["unix:@/two"] }\n')
        self.assertEqual(self.reload(), ["change daemon.metrics.listen"])
        self.assertEqual((self.page("one"), self.page("two")), (None, "HTTP/1.1 200 OK"))
        self.write("main.toml", self.main)
        self.assertEqual(self.reload(), ["change daemon.metrics.listen"])
        self.assertEqual(self.page("two"), None)
        self.daemon.stop()

    def test_restart(self):
        """Options that cannot change while the daemon runs are named once in the log, and are a drift until then."""
        self.start()
        self.write("main.toml", self.main + '[daemon]\npolling = "off"\nsandbox = { mode = "seccomp" }\n')
        wanted = ["restart daemon.polling", "restart daemon.sandbox.mode"]
        self.assertEqual(self.reload(**{"dry-run": True}), wanted)
        self.assertEqual(self.reload(), wanted)
        self.assertEqual(self.origins(), {"polling": ("file", "needs a restart"),
                                          "sandbox.mode": ("file", "needs a restart")})
        until(lambda: self.daemon.stderr().decode().count(
            "needs a restart, until which it keeps its former values of: daemon.polling, daemon.sandbox.mode\n") == 1,
              what="the warning")
        self.daemon.stop()

    def start_in_sandbox(self):
        """A daemon with a full sandbox, whose images are in a directory."""
        os.mkdir(self.path("images"))
        os.rename(self.path("a.img"), self.path("images", "a.img"))
        self.write("main.toml", self.main + '[daemon]\nsandbox = { mode = "full", images = ["@/images", "-@/absent"], '
                   'sockets = ["@"] }\n')
        self.write_export("a", image="images/a")
        return self.start()

    @unittest.skipIf(processes.landlock_version() == 0, "the kernel has no Landlock")
    def test_sandbox(self):
        """A sandbox of the file: files can be read again; an image outside is refused by a reload and by the check."""
        self.start_in_sandbox()
        self.assertEqual(self.client("a").read(0, 2), b"aa")
        self.write_export("b", image="images/a")
        self.assertEqual(self.reload(), ["add exports.b"])
        elsewhere = make_workdir()
        self.addCleanup(remove_workdir, elsewhere)
        os.rename(self.path("b.img"), os.path.join(elsewhere, "b.img"))
        self.write("exports.d/b.toml", (NODE % "b").replace("@", elsewhere))
        text = "Permission denied (the sandbox of this daemon opens files only beneath the images, credentials, state"
        with self.assertRaises(QmpError) as refused:
            self.reload()
        self.assertIn(text, str(refused.exception))
        self.daemon.stop()
        code, errors = self.run_once("--config", "main.toml", "--check-config", "--deep")
        self.assertEqual(code, 2)
        self.assertIn(f"{self.path('exports.d', 'b.toml')}:1:1: exports.b: Could not open", errors)
        self.assertIn(text, errors)
        code, errors = self.run_once("--config", "main.toml")
        self.assertEqual(code, 1)
        self.assertIn(text, errors)

    @unittest.skipIf(processes.landlock_version() == 0, "the kernel has no Landlock")
    def test_packaged_configuration(self):
        """The file of the packages, in other directories: an export of the state directory comes by a reload."""
        with open(os.path.join(settings.ROOT, "packaging", "blockexport.toml"), encoding="utf-8") as file:
            text = file.read()
        for path, name in (("/run/blockexport", "run"), ("/var/lib/blockexport", "lib"), ("/srv/images", "srv")):
            self.assertIn(f'{path}', text)
            text = text.replace(path, self.path("etc", "..", name))
        for name in ("etc", "etc/exports.d", "run", "lib"):
            os.mkdir(self.path(name), 0o755)
        os.rename(self.path("a.img"), self.path("lib", "a.img"))
        self.write("etc/blockexport.toml", text)
        daemon = Daemon(self.workdir, ["--config", "etc/blockexport.toml"], nbd_server=None, monitor=False,
                        environment={**os.environ, "RUNTIME_DIRECTORY": self.path("run")})
        daemon.nbd_path = self.path("run", "nbd.sock")
        self.addCleanup(daemon.kill)
        daemon.start()
        client = until(lambda: connected_or_none(self.path("run", "qmp.sock")), what="the monitor")
        with QmpClient(client) as qmp:
            self.write("etc/exports.d/a.toml", NODE % "lib/a")
            self.assertEqual(len(qmp.execute("config-reload")["differences"]), 1)
            self.write("etc/exports.d/b.toml", NODE % "b")
            with self.assertRaisesRegex(QmpError, "Permission denied .the sandbox of this daemon opens files only"):
                qmp.execute("config-reload")
            connection = Connection(connected_or_none(self.path("run", "nbd.sock")))
            connection.negotiate("a")
            self.assertEqual(connection.read(0, 2), b"aa")
            connection.close()
        daemon.stop()

    def test_wrong_sandbox(self):
        """A directory that is missing, an unknown user: the deep check and the start tell the place."""
        for option, wanted in (('sandbox = { mode = "full", images = ["/nowhere"] }', "'/nowhere': No such file"),
                               ('user = "nobody-has-this"', "there is no user 'nobody-has-this'")):
            if "full" in option and processes.landlock_version() == 0:
                continue
            self.write("main.toml", f"[daemon]\n{option}\n")
            self.assertEqual(self.run_once("--config", "main.toml", "--check-config"), (0, ""))
            for arguments, code in ((["--check-config", "--deep"], 2), ([], 1)):
                result = self.run_once("--config", "main.toml", *arguments)
                self.assertEqual(result[0], code, result)
                self.assertIn(f"{self.path('main.toml')}:2:1: --", result[1])
                self.assertIn(wanted, result[1])

    def test_contradictions(self):
        """Paths without the mode, a journal that is a file, a sandbox with PAM: all in one go."""
        self.write("main.toml", '[daemon]\nlog = { format = "journal", file = "x" }\n'
                   'sandbox = { mode = "seccomp", images = ["/"] }\nuser = ":x"\n'
                   '[objects.p]\nqom-type = "authz-pam"\nservice = "x"\n[exports.e]\nnode-name = "absent"\n')
        for arguments in ([], ["--check-config"]):
            code, errors = self.run_once("--config", "main.toml", *arguments)
            self.assertEqual(code, 2)
            places = [line.split(": ")[0].rsplit("/", 1)[-1] for line in errors.splitlines()]
            self.assertEqual(places, ["main.toml:2:9", "main.toml:3:31", "main.toml:4:1", "main.toml:6:1",
                                      "main.toml:9:1"], errors)


class RuntimeTest(ConfigurationCase):
    """persist-runtime: what commands have made survives the process."""

    main = SERVER + MONITOR + '[daemon]\nstate-dir = "@/state"\npersist-runtime = true\n'

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("state"), 0o700)

    def add(self, identity, image="a"):
        """A node and an export by commands."""
        self.daemon.qmp.execute("blockdev-add", {"driver": "file", "node-name": identity, "read-only": True,
                                                 "filename": self.path(f"{image}.img")})
        self.daemon.qmp.execute("block-export-add", {"type": "nbd", "id": identity, "node-name": identity})

    def test_killed(self):
        """Everything that was acknowledged is there again after kill -9, whenever it comes."""
        acknowledged = set()
        for turn in range(6):
            self.start()
            self.assertEqual(set(self.names()), acknowledged)
            for number in range(5):
                identity = f"e{turn}-{number}"
                self.add(identity)
                acknowledged.add(identity)
            gone = sorted(acknowledged)[turn]
            self.daemon.qmp.execute("block-export-del", {"id": gone})
            acknowledged.discard(gone)
            # One more command, whose effect may be lost or not.
            self.daemon.qmp.send({"execute": "blockdev-add",
                                  "arguments": {"driver": "null-co", "node-name": f"n{turn}"}})
            self.daemon.kill()
        with open(self.path("state", "runtime.json"), encoding="utf-8") as file:
            self.assertEqual(set(one["id"] for one in json.load(file)["exports"]), acknowledged)

    def test_orderly_end(self):
        """The end of the daemon removes nothing from the file."""
        self.start()
        self.add("b")
        self.daemon.stop()
        self.start()
        self.assertEqual(self.client("b").read(0, 2), b"aa")
        origins = {one["id"]: one["origin"] for one in self.daemon.qmp.execute("query-config")["objects"]}
        self.assertEqual(origins["b"], "qmp")
        self.daemon.qmp.execute("quit")
        self.daemon.check_end(self.daemon.wait_exit())
        self.start()
        self.assertEqual(self.names(), ["b"])
        self.daemon.stop()

    def test_conflict(self):
        """A file that defines the same ID wins, and a line of the log tells its place."""
        self.start()
        self.add("b")
        self.daemon.stop()
        self.write_export("b", image="c")
        self.start()
        self.assertEqual(self.client("b").read(0, 2), b"cc")
        place = f"{self.path('exports.d', 'b.toml')}:1:1"
        self.assertIn(f"exports.b is left out from now on, because that of {place} has this ID",
                      self.daemon.stderr().decode())
        self.daemon.stop()

    def test_hostile_file(self):
        """A file with an error is refused as a whole, by the deep check and by the start."""
        self.start()
        self.add("b")
        self.daemon.stop()
        path = self.path("state", "runtime.json")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for wrong, place in ((text.replace('"driver"', '"drivre"', 1), ":"), (text[:-20], ":"), ("", ":1:1"),
                             (text.replace('"version": 1', '"version": 9'), ":2:1: The file has another version")):
            with open(path, "w", encoding="utf-8") as file:
                file.write(wrong)
            for arguments, code in (([], 1), (["--check-config", "--deep"], 2)):
                result = self.run_once("--config", "main.toml", *arguments)
                self.assertEqual(result[0], code, result)
                self.assertIn(path + place, result[1])
            self.assertEqual(self.run_once("--config", "main.toml", "--check-config"), (0, ""))

    def test_full_disk(self):
        """A file that cannot be written is told; the command has taken effect, and a later one writes both."""
        self.start()
        os.mkdir(self.path("state", "runtime.json.new"))
        self.add("b")
        self.assertEqual(self.names(), ["b"])
        self.assertIn("cannot write", self.daemon.qmp.execute("query-config")["runtime"]["error"])
        until(lambda: b"a restart would lose changes by QMP" in self.daemon.stderr(), what="the warning")
        os.rmdir(self.path("state", "runtime.json.new"))
        self.add("d", "b")
        self.assertNotIn("error", self.daemon.qmp.execute("query-config")["runtime"])
        self.daemon.kill()
        self.start()
        self.assertEqual(self.names(), ["b", "d"])
        self.daemon.stop()


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

    def test_servers_of_an_export(self):
        """An export names the servers that show it; a change concerns new clients."""
        self.write("main.toml", SERVER + MONITOR + '[servers.more]\nlisten = ["unix:@/more.sock"]\n')

        def shown():
            more = Connection(connected_or_none(self.path("more.sock")))
            self.addCleanup(more.close)
            return self.names(), sorted(name for name, _ in more.list())
        self.write_export("b", 'servers = ["more"]\n')
        self.assertEqual(self.reload(), ["add servers.more", "add exports.b"])
        self.assertEqual(shown(), (["a"], ["a", "b"]))
        client = self.client("a")
        self.write_export("a", 'writable = true\nservers = ["more"]\n')
        self.write_export("b", 'servers = ["default"]\n')
        self.assertEqual(self.reload(), ["change exports.a", "change exports.b"])
        self.assertEqual(shown(), (["b"], ["a"]))
        self.assertEqual(client.read(0, 2), b"aa")
        self.write_export("b", "servers = []\n")
        self.assertEqual(self.reload(), ["change exports.b"])
        self.assertEqual(shown(), ([], ["a"]))
        self.write_export("a", 'writable = true\n')
        self.assertEqual(self.reload(), ["change exports.a"])
        self.assertEqual(shown(), (["a"], ["a"]))
        self.write_export("a", 'writable = true\nservers = ["mroe"]\n')
        with self.assertRaisesRegex(QmpError, r"a.toml:2:12: There is no server 'mroe'. Did you mean 'more'"):
            self.reload()

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

"""Several NBD servers of one process: views, TLS, read-only access, their end, and the addresses that they take."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading

from lib import certificates, client_tool, daemon, images, nbd_raw, settings, tools, wait
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, nbd_export

SIZE = 4 << 20
# Becomes the server, with the first descriptors of its own as systemd passes them.
ACTIVATE = """
import os, sys
count = int(sys.argv[1])
for i, fd in enumerate(map(int, sys.argv[2:2 + count])):
    os.dup2(fd, 3 + i, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES=sys.argv[2 + count])
os.execv(sys.argv[3 + count], sys.argv[3 + count:])
"""


class ServersTest(DaemonTest):
    """A default server, and servers that each test adds."""

    @classmethod
    def prepare(cls):
        cls.disk = cls.path("disk.img")
        images.make_random(cls.disk, SIZE, 3)
        cls.pki = certificates.make(cls.path("pki"))
        arguments = file_node("disk", cls.disk)
        for name in ("vm1/vda", "vm1/snap", "vm2/vda"):
            arguments += ["--export", f"type=nbd,id={name.replace('/', '-')},node-name=disk,name={name},writable=on"]
        return arguments

    @classmethod
    def objects(cls):
        return [f"tls-creds-x509,id=tls0,endpoint=server,dir={cls.path('pki')}"]

    @settings.unlike_qemu("it has one NBD server")
    def setUp(self):
        pass

    def add(self, identity, *listen, **options):
        """Adds a server, by default on a unix socket of its name, and takes it away again when the test ends."""
        arguments = {"id": identity, "listen": list(listen) or [f"unix:{self.path(identity)}"]}
        arguments |= {name.replace("_", "-"): value for name, value in options.items()}
        self.qmp.execute("nbd-servers-add", arguments)
        self.addCleanup(self.qmp.command, "nbd-servers-remove", {"id": identity})

    def info(self, identity):
        """What query-nbd-servers tells of a server."""
        (found,) = [one for one in self.qmp.execute("query-nbd-servers") if one["id"] == identity]
        return found

    def at(self, address, **options):
        """A raw connection to a unix path, or to (host, port)."""
        plain = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        plain.settimeout(settings.seconds(10))
        plain.connect(self.path(address) if isinstance(address, str) else address)
        connection = nbd_raw.Connection(plain, **options)
        self.addCleanup(connection.close)
        return connection

    def refusal(self, **arguments):
        """The text with which nbd-servers-add fails."""
        return self.qmp.failure("nbd-servers-add", arguments)[1]

    def log(self):
        return self.daemon.stderr().decode()


class ViewsTest(ServersTest):
    """What the clients of a server see."""

    def names(self, connection):
        return [name for name, _ in connection.list()]

    def test_list(self):
        """Each server lists the exports of its view, oldest first."""
        self.add("some", exports=["vm1/*"])
        self.add("none", exports=[])
        self.assertEqual(self.names(self.client()), ["vm1/vda", "vm1/snap", "vm2/vda"])
        self.assertEqual(self.names(self.at("some")), ["vm1/vda", "vm1/snap"])
        self.assertEqual(self.names(self.at("none")), [])

    def test_named(self):
        """Each option that names an export outside of the view is answered as for a name that does not exist."""
        self.add("some", exports=["vm1/*"])
        connection = self.at("some")
        self.assertEqual(connection.option_result(OPT_STRUCTURED_REPLY), REP_ACK)
        for option, data in ((OPT_GO, nbd_raw.info_bytes), (OPT_INFO, nbd_raw.info_bytes),
                             (OPT_LIST_META_CONTEXT, nbd_raw.meta_bytes),
                             (OPT_SET_META_CONTEXT, lambda name: nbd_raw.meta_bytes(name, ["base:allocation"]))):
            answers = []
            for name in ("vm2/vda", "nothing"):
                ((kind, text),) = connection.option(option, data(name))
                answers.append((kind, text.replace(name.encode(), b"X")))
            self.assertEqual(answers[0], answers[1])
            self.assertEqual(answers[0], (ERR_UNKNOWN, b"export 'X' not present"))
        for name in (b"vm2/vda", b"nothing"):
            older = self.at("some")
            older.send_option(OPT_EXPORT_NAME, name)
            self.assertTrue(older.at_end())
        connection.mode = "structured"
        connection.go("vm1/vda")
        self.assertEqual(connection.read(0, 512), images.read_range(self.disk, 0, 512))

    def test_new_export(self):
        """An export appears on the servers whose view has its name, and goes from there."""
        self.add("some", exports=["vm9/*"])
        self.add_export("nine", "disk", name="vm9/x")
        self.assertEqual(self.names(self.at("some")), ["vm9/x"])
        self.assertIn("vm9/x", self.names(self.client()))
        self.drop_export("nine")
        self.assertEqual(self.names(self.at("some")), [])

    def test_read_only(self):
        """Clients of a read-only server are told so, and a write that comes anyway fails; others may write."""
        self.add("reading", access="read-only")
        reader = self.at("reading")
        reader.negotiate("vm1/vda", "structured")
        self.assertTrue(reader.info.flags & READ_ONLY)
        self.assertFalse(reader.info.flags & SEND_TRIM)
        for command in (CMD_WRITE_ZEROES, CMD_TRIM):
            self.assertEqual(reader.call(command, 0, 4096).error, EPERM)
        self.assertEqual(reader.write(0, b"x" * 512), EPERM)
        self.assertEqual(reader.read(0, 512), images.read_range(self.disk, 0, 512))
        writer = self.session("vm1/vda")
        self.assertFalse(writer.info.flags & READ_ONLY)
        self.assertEqual(writer.write(0, b"y" * 512), 0)
        self.assertEqual(reader.read(0, 512), b"y" * 512)

    def test_tls(self):
        """One server has TLS and another has none; each keeps to its own."""
        self.add("secured", tls={"creds": "tls0"}, exports=["vm1/*"])
        plain = self.at("secured", tls_required=True)
        ((kind, _),) = plain.option(OPT_LIST)
        self.assertEqual(kind, ERR_TLS_REQD)
        uri = f"nbds+unix:///vm1%2Fvda?socket={self.path('secured')}&tls-certificates={self.pki.path}" \
              "&tls-hostname=localhost"
        self.assertIn("protocol: newstyle-fixed with TLS", tools.run("nbdinfo", uri))
        self.assertEqual(self.client().option_result(OPT_STARTTLS), ERR_POLICY)


class EndTest(ServersTest):
    """The end of a server, and of the default one."""

    def test_clients(self):
        """A server is removed under load: each request was answered or not taken, and other clients go on."""
        self.add("ending", exports=["vm1/*"])
        answered = []

        def write_until_the_end(connection):
            try:
                while True:
                    answered.append(connection.write(0, b"z" * 65536))
            except (AssertionError, OSError):
                pass

        leaving = self.at("ending")
        leaving.negotiate("vm1/vda")
        staying = self.session("vm1/vda")
        busy = threading.Thread(target=write_until_the_end, args=(leaving,))
        busy.start()
        wait.until(lambda: len(answered) > 20, 10, "requests")
        silent = self.at("ending")
        self.qmp.execute("nbd-servers-remove", {"id": "ending"})
        busy.join(settings.seconds(10))
        self.assertFalse(busy.is_alive())
        # A request that had come and not begun is refused.
        self.assertEqual(set(answered) - {ESHUTDOWN}, {0})
        self.assertLessEqual(answered.count(ESHUTDOWN), 1)
        self.assertTrue(silent.at_end())
        self.assertFalse(os.path.exists(self.path("ending")))
        self.assertEqual(staying.read(0, 65536), b"z" * 65536)
        self.assertEqual(len(self.qmp.execute("query-block-exports")), 3)

    def test_many_rounds(self):
        """Servers that come and go leave no descriptor and no task behind."""
        def round_trip():
            self.add("brief")
            connection = self.at("brief")
            connection.negotiate("vm2/vda")
            self.qmp.execute("nbd-servers-remove", {"id": "brief"})
            self.assertTrue(connection.at_end())
        round_trip()
        before = wait.until(self.daemon.open_fds, 5, "a number")
        for _ in range(20):
            round_trip()
        wait.until(lambda: self.daemon.open_fds() <= before, 10, "closed descriptors")

    def test_default(self):
        """nbd-server-stop removes the exports that no other server shows, and the others keep their clients there."""
        workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, workdir)
        disk = os.path.join(workdir, "disk.img")
        images.make_random(disk, SIZE, 4)
        arguments = [*file_node("disk", disk), *nbd_export("a", "disk"), *nbd_export("b", "disk")]
        server = daemon.Daemon(workdir, arguments)
        self.addCleanup(server.kill)
        server.start()
        other = os.path.join(server.workdir, "other")
        server.qmp.execute("nbd-servers-add", {"id": "other", "listen": [f"unix:{other}"], "exports": ["a"]})
        with daemon.connected_or_none(other) as plain:
            staying = nbd_raw.Connection(plain)
            staying.negotiate("a")
            server.qmp.execute("nbd-server-stop")
            self.assertEqual([one["id"] for one in server.qmp.execute("query-block-exports")], ["a"])
            self.assertEqual(staying.read(0, 512), images.read_range(disk, 0, 512))
            self.assertIsNone(daemon.connected_or_none(server.nbd_path))
        server.stop()
        self.assertFalse(os.path.exists(other))


class AddressesTest(ServersTest):
    """Addresses, and what is told of them."""

    def test_chosen_port(self):
        """The port that the kernel chose is told by QMP, by the log, and by the tool's URIs, which work."""
        self.add("tcp", "127.0.0.1:0", exports=["vm1/*"], access="read-only")
        (listener,) = self.info("tcp")["listeners"]
        self.assertEqual(listener["address"], "127.0.0.1:0")
        (bound,) = listener["bound"]
        host, port = bound.split(":")
        self.assertNotEqual(port, "0")
        self.assertIn(f"NBD server 'tcp' listens on {bound}\n", self.log())
        reader = self.at((host, int(port)))
        self.assertEqual([name for name, _ in reader.list()], ["vm1/vda", "vm1/snap"])
        uri = subprocess.run([client_tool.program(), "uri", "vm1/vda", "--server", "tcp", "--monitor",
                              self.second_path()], capture_output=True, text=True, check=True).stdout.strip()
        self.assertEqual(uri, f"nbd://{bound}/vm1%2Fvda")
        self.assertEqual(tools.run("nbdinfo", "--size", uri).strip(), str(SIZE))

    def second_path(self):
        """The path of a further monitor, for the tool: the first has the test as its only client."""
        path = self.path(f"monitor-{self.id().rsplit('.', 1)[1]}")
        self.qmp.execute("chardev-add", {"id": "m", "backend": {"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": path}}, "server": True, "wait": False}}})
        self.qmp.execute("object-add", {"qom-type": "monitor-qmp", "id": "m1", "chardev": "m"})
        self.addCleanup(self.qmp.command, "chardev-remove", {"id": "m"})
        self.addCleanup(self.qmp.command, "object-del", {"id": "m1"})
        return path

    def test_uris(self):
        """All URIs as JSON, percent-encoded, by server and export; a name that no server shows is an error."""
        self.add("a-b", f"unix:{self.path('odd name?')}", tls={"creds": "tls0"}, exports=["vm2/*"])
        monitor = self.second_path()
        result = subprocess.run([client_tool.program(), "uri", "--json", "--monitor", monitor],
                                capture_output=True, text=True, check=True)
        uris = {(one["server"], one["export"]): one["uri"] for one in json.loads(result.stdout)}
        encoded = self.path("odd name?").replace("/", "%2F").replace(" ", "%20").replace("?", "%3F")
        self.assertEqual(uris["a-b", "vm2/vda"], f"nbds+unix:///vm2%2Fvda?socket={encoded}")
        default = self.daemon.nbd_path.replace("/", "%2F")
        self.assertEqual(uris["default", "vm1/snap"], f"nbd+unix:///vm1%2Fsnap?socket={default}")
        self.assertEqual(len(uris), 4)
        failed = subprocess.run([client_tool.program(), "uri", "nothing", "--monitor", monitor],
                                capture_output=True, text=True, check=False)
        self.assertEqual(failed.returncode, 1)
        self.assertIn("The export 'nothing' has no URI", failed.stderr)

    def test_default_server(self):
        """The default server is told of too, and only a port that was left open gets a line in the log."""
        info = self.info("default")
        self.assertEqual(info["listeners"], [{"address": f"unix:{self.daemon.nbd_path}",
                                              "bound": [f"unix:{self.daemon.nbd_path}"]}])
        self.assertEqual((info["access"], info["max-connections"], info["handshake-max-seconds"]),
                         ("read-write", 100, 10))
        self.assertNotIn("'default'", self.log())
        arguments = ["--nbd-server", "addr.type=inet,addr.host=127.0.0.1,addr.port=0"]
        server = daemon.Daemon(daemon.make_workdir(), arguments, nbd_server=None)
        self.addCleanup(daemon.remove_workdir, server.workdir)
        self.addCleanup(server.kill)
        server.start()
        ((listener,),) = [one["listeners"] for one in server.qmp.execute("query-nbd-servers")]
        self.assertIn(f"NBD server 'default' listens on {listener['bound'][0]}\n", server.stderr().decode())
        server.stop()

    def test_in_use_by_another_process(self):
        """A path on which another process listens is refused with its process id and name, and stays."""
        path = self.path("taken")
        with subprocess.Popen([sys.executable, "-c",
                               "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen();"
                               "print(flush=True); sys.stdin.read()", path],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            other.stdout.readline()
            with open(f"/proc/{other.pid}/comm", encoding="ascii") as file:
                program = file.read().strip()
            text = self.refusal(id="x", listen=["unix:" + self.path("first"), "unix:" + path])
            self.assertEqual(text, f"NBD server 'x', address unix:{path}: Unix socket {path} is in use: process "
                                   f"{other.pid} ({program}) listens on it")
            self.assertFalse(os.path.exists(self.path("first")))
            self.assertTrue(os.path.exists(path))
            other.stdin.close()
        # Its socket is stale now.
        self.add("x", "unix:" + path)
        self.assertEqual(len(self.at("taken").list()), 3)

    def test_killed_server(self):
        """The socket that a killed daemon has left behind is replaced."""
        server = daemon.Daemon(daemon.make_workdir(), nbd_server=None)
        self.addCleanup(daemon.remove_workdir, server.workdir)
        server.start()
        listen = [f"unix:{self.path('left')}"]
        server.qmp.execute("nbd-servers-add", {"id": "s", "listen": listen})
        self.assertIn(f"is in use: process {server.pid} (", self.refusal(id="left", listen=listen))
        server.signal(signal.SIGKILL)
        server.wait_exit()
        server.kill()
        self.assertTrue(os.path.exists(self.path("left")))
        self.add("left")
        self.assertEqual(len(self.at("left").list()), 3)

    def test_port_in_use(self):
        """A TCP port that is taken, and texts that are no address."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.assertEqual(self.refusal(id="x", listen=[f"127.0.0.1:{port}"]),
                             f"NBD server 'x', address 127.0.0.1:{port}: Failed to find an available port: Address "
                             "already in use")
            self.add("range", {"type": "inet", "host": "127.0.0.1", "port": str(port), "to": min(port + 50, 65535)})
            self.assertNotEqual(self.info("range")["listeners"][0]["bound"], [f"127.0.0.1:{port}"])
        self.assertEqual(self.refusal(id="x", listen=["localhost"]), "Address 'localhost' has no port")
        self.assertEqual([one["id"] for one in self.qmp.execute("query-nbd-servers")], ["default", "range"])

    def test_limits_of_one_server(self):
        """max-connections counts the clients of one server; the others have their own."""
        self.add("one", max_connections=1)
        first = self.at("one")
        first.negotiate("vm1/vda")
        self.assertFalse(first.info.flags & CAN_MULTI_CONN)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.settimeout(0.2)
        waiting.connect(self.path("one"))
        self.assertRaises(TimeoutError, waiting.recv, 1)
        self.assertTrue(self.session("vm1/vda").info.flags & CAN_MULTI_CONN)
        self.assertEqual(self.info("one")["clients"], 1)
        first.close()
        waiting.settimeout(settings.seconds(10))
        self.assertEqual(waiting.recv(8), b"NBDMAGIC")


class SystemdTest(DaemonTest):
    """Sockets that systemd passes under a name."""

    @classmethod
    def setUpClass(cls):
        cls.workdir = daemon.make_workdir()
        cls.addClassCleanup(daemon.remove_workdir, cls.workdir)
        listeners = []
        for name in ("first", "second"):
            listeners.append(socket.socket(socket.AF_UNIX))
            cls.addClassCleanup(listeners[-1].close)
            listeners[-1].bind(cls.path(name))
            listeners[-1].listen()
        numbers = [one.fileno() for one in listeners]
        prefix = [sys.executable, "-c", ACTIVATE, "2", *map(str, numbers), "local:local"]
        cls.daemon = daemon.Daemon(cls.workdir, nbd_server=None, pass_fds=numbers, prefix=prefix)
        cls.addClassCleanup(cls.daemon.kill)
        cls.daemon.start()
        cls.qmp = cls.daemon.qmp

    @settings.unlike_qemu("it takes descriptors by number alone")
    def test_named(self):
        """A server takes all sockets of a name, only one server at a time has them, and they can be had again."""
        configuration = {"listen": ["systemd:local"]}
        self.assertEqual(self.qmp.failure("nbd-servers-add", {"id": "x", "listen": ["systemd:other"]})[1],
                         "systemd passed no socket with the name 'other'")
        for identity in ("a", "b"):
            self.qmp.execute("nbd-servers-add", {"id": identity, **configuration})
            ((listener,),) = [one["listeners"] for one in self.qmp.execute("query-nbd-servers")]
            self.assertEqual(listener["address"], "systemd:local")
            self.assertEqual(sorted(listener["bound"]), [f"unix:{self.path(name)}" for name in ("first", "second")])
            for name in ("first", "second"):
                with daemon.connected_or_none(self.path(name)) as plain:
                    self.assertEqual(nbd_raw.Connection(plain).list(), [])
            self.assertEqual(self.qmp.failure("nbd-servers-add", {"id": "x", **configuration})[1],
                             f"NBD server '{identity}' listens on systemd:local already")
            self.qmp.execute("nbd-servers-remove", {"id": identity})
        self.assertTrue(os.path.exists(self.path("first")), "the path is systemd's")

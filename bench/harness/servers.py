"""The measured servers: functions to start one on an image, to wait until it is ready, and to stop it."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness import preparations
from harness.credentials import Credentials, X509
from harness.tools import BenchError, SERVER_CPU, Tools, knows_option, pinned

EXPORT = "disk"
START_PATIENCE_S = 10.0
STOP_PATIENCE_S = 5.0
MOST_FILES = 65536


@dataclass(frozen=True)
class Address:
    """A unix socket path, or a port of the loopback address."""

    path: str | None = None
    port: int = 0

    def load_args(self) -> list[str]:
        return [f"--socket={self.path}"] if self.path else [f"--port={self.port}"]

    def uri(self) -> str:
        return f"nbd+unix:///{EXPORT}?socket={self.path}" if self.path else f"nbd://127.0.0.1:{self.port}/{EXPORT}"

    def connect(self) -> socket.socket:
        family = socket.AF_UNIX if self.path else socket.AF_INET
        client = socket.socket(family, socket.SOCK_STREAM)
        client.settimeout(START_PATIENCE_S)
        client.connect(self.path if self.path else ("127.0.0.1", self.port))
        return client


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Setting:
    """The image and address of a server, and its credentials for TLS, if any.

    `layers`: the number of qcow2 images in the chain of which `image` is the top; 0: a raw image.
    """

    image: Path
    address: Address
    scratch: Path
    control_mode: str = "pread"
    tls: str = ""
    credentials: Credentials | None = None
    layers: int = 0

    def load_args(self) -> list[str]:
        """The options of nbdload for the export."""
        tls = self.credentials.client_args(self.tls) if self.tls else []
        return [*self.address.load_args(), f"--export={EXPORT}", *tls]


@dataclass(frozen=True)
class Server:
    """One server in one configuration. `family` groups the configurations of one program.

    `reactors`: the value of our --reactors; 0: the default. `polling`: the
    value of our --polling; "": the default. `mode`: of the control; "": the cell's. `prepared`: what is
    set up over QMP, a name of preparations.BY_NAME; "": nothing, and there is no monitor. `client`: of a cell that
    copies into a file, "nbdcopy" or "pull". `image`: the name of its image; "": the cell's.
    """

    key: str
    label: str
    family: str
    iothread: bool = False
    aio: str | None = None
    direct: bool = False
    backend: str | None = None
    reactors: int = 0
    polling: str = ""
    mode: str = ""
    prepared: str = ""
    client: str = "nbdcopy"
    image: str = ""
    tree: bool = field(default=False)

    @property
    def opens_qcow2(self) -> bool:
        return self.family in ("ours", "qsd")

    def program(self, tools: Tools) -> str | None:
        return {"ours": tools.ours, "qsd": tools.qsd, "nbdkit": tools.nbdkit, "nbd-server": tools.nbd_server,
                "control": tools.control}[self.family]

    def why_not(self, tools: Tools) -> str | None:
        """The reason why this server can not be started here; None if it can."""
        program = self.program(tools)
        if program is None:
            return "not built" if self.family == "ours" else "not installed"
        if self.reactors and not knows_option(program, "--reactors"):
            return "the program has no option --reactors"
        if self.polling and not knows_option(program, "--polling"):
            return "the program has no option --polling"
        return None

    def command(self, tools: Tools, setting: Setting) -> list[str]:
        program, address = self.program(tools), setting.address
        if self.family == "control":
            tls = setting.credentials.client_args(setting.tls) if setting.tls else []
            mode = self.mode or setting.control_mode
            return [program, f"--mode={mode}", f"--image={setting.image}", *address.load_args(), *tls]
        if self.family == "nbdkit":
            where = ["-U", address.path] if address.path else ["-i", "127.0.0.1", "-p", str(address.port)]
            return [program, "-f", *where, *nbdkit_tls(setting), "file", str(setting.image)]
        if self.family == "nbd-server":
            return [program, "-C", str(write_nbd_server_config(setting)), "-p", str(pid_file(setting.scratch))]
        return self.storage_daemon_command(program, setting)

    def storage_daemon_command(self, program: str, setting: Setting) -> list[str]:
        """The command line that both storage daemons accept."""
        address = setting.address
        prepared = preparations.BY_NAME.get(self.prepared)
        nodes = [node.format(image=setting.image, store=store_path(setting))
                 for node in (prepared.nodes if prepared else preparations.image_nodes(setting.layers))]
        of_files = (f",aio={self.aio}" if self.aio else "") + (",cache.direct=on" if self.direct else "")
        nodes = [node + of_files if node.startswith("file,") else node for node in nodes]
        where = f"addr.type=unix,addr.path={address.path}"
        if not address.path:
            where = f"addr.type=inet,addr.host=127.0.0.1,addr.port={address.port}"
        command = [program]
        if self.backend:
            command += ["--aio-backend", self.backend]
        if self.reactors:
            command += ["--reactors", str(self.reactors)]
        if self.polling:
            command += ["--polling", self.polling]
        if self.iothread:
            command += ["--object", "iothread,id=io"]
        if prepared:
            command += ["--chardev", f"socket,id=monitor,path={monitor_path(setting)},server=on,wait=off",
                        "--monitor", "chardev=monitor"]
        command += storage_daemon_tls(setting)
        for node in nodes:
            command += ["--blockdev", node]
        export = f"nbd,id=e,node-name=disk,name={EXPORT},writable=on" + (",iothread=io" if self.iothread else "")
        tls = ",tls-creds=tls" if setting.tls else ""
        return [*command, "--nbd-server", f"{where},max-connections=0{tls}", "--export", export]


def storage_daemon_tls(setting: Setting) -> list[str]:
    if not setting.tls:
        return []
    if setting.tls == X509:
        return ["--object", f"tls-creds-x509,id=tls,dir={setting.credentials.x509},endpoint=server,verify-peer=off"]
    return ["--object", f"tls-creds-psk,id=tls,dir={setting.credentials.psk},endpoint=server"]


def nbdkit_tls(setting: Setting) -> list[str]:
    if not setting.tls:
        return []
    where = (f"--tls-certificates={setting.credentials.x509}" if setting.tls == X509 else
             f"--tls-psk={setting.credentials.key_file}")
    return ["--tls=require", where]


def write_nbd_server_config(setting: Setting) -> Path:
    """The configuration of nbd-server: its defaults, plus flush and FUA, which it does not offer by default."""
    address = setting.address
    where = f"unixsock = {address.path}\n" if address.path else ""
    config = setting.scratch / "nbd-server.conf"
    config.write_text(f"[generic]\n{where}listenaddr = 127.0.0.1\nport = {address.port or free_port()}\n"
                      f"[{EXPORT}]\nexportname = {setting.image}\nflush = true\nfua = true\n", encoding="utf-8")
    return config


def pid_file(scratch: Path) -> Path:
    return scratch / "nbd-server.pid"


def monitor_path(setting: Setting) -> Path:
    return setting.scratch / "monitor"


def store_path(setting: Setting) -> Path:
    return setting.scratch / "bitmaps"


def prepare(tools: Tools, server: Server, setting: Setting) -> None:
    """Brings a started server into the state that its preparation names."""
    with preparations.Monitor(monitor_path(setting)) as monitor:
        preparations.BY_NAME[server.prepared].apply(
            preparations.Prepared(monitor, tools, setting.scratch, setting.load_args()))


def clean_up(setting: Setting) -> None:
    """Removes files that an earlier server may have left at the same paths."""
    monitor_path(setting).unlink(missing_ok=True)
    store_path(setting).unlink(missing_ok=True)
    if setting.address.path:
        Path(setting.address.path).unlink(missing_ok=True)
    pid_file(setting.scratch).unlink(missing_ok=True)


ALL = (
    Server("ours", "blockexportd", "ours"),
    Server("ours-epoll", "blockexportd, epoll", "ours", backend="epoll"),
    Server("ours-asleep", "blockexportd, no polling", "ours", polling="off"),
    Server("ours-1", "blockexportd, 1 reactor", "ours", reactors=1),
    Server("ours-2", "blockexportd, 2 reactors", "ours", reactors=2),
    Server("ours-iothread", "blockexportd, iothread", "ours", iothread=True),
    Server("qsd", "QSD default", "qsd"),
    Server("qsd-uring", "QSD iothread, io_uring", "qsd", iothread=True, aio="io_uring"),
    Server("qsd-threads", "QSD iothread, threads", "qsd", iothread=True, aio="threads"),
    Server("nbdkit", "nbdkit file", "nbdkit"),
    Server("nbd-server", "nbd-server", "nbd-server", tree=True),
    Server("control", "control", "control"),
    Server("control-mapped", "control, mapped image", "control", mode="mmap"),
    Server("ours-direct", "blockexportd, O_DIRECT", "ours", aio="io_uring", direct=True),
    Server("qsd-direct-uring", "QSD iothread, O_DIRECT, io_uring", "qsd", iothread=True, aio="io_uring", direct=True),
    Server("qsd-direct-native", "QSD iothread, O_DIRECT, native", "qsd", iothread=True, aio="native", direct=True),
    Server("ours-pull", "blockexportd, client blockexport pull", "ours", client="pull"),
    Server("qsd-pull", "QSD, client blockexport pull", "qsd", client="pull"),
    Server("ours-on-raw", "blockexportd, raw image", "ours", image="dense-pages"),
    Server("ours-one-layer", "blockexportd, one layer", "ours", image="qcow2"),
    Server("qsd-one-layer", "QSD, one layer", "qsd", image="qcow2"),
    Server("ours-monitored", "blockexportd", "ours", prepared="monitored"),
    Server("qsd-monitored", "QSD default", "qsd", prepared="monitored"),
    Server("qsd-uring-monitored", "QSD io_uring", "qsd", aio="io_uring", prepared="monitored"),
    Server("ours-bitmap", "blockexportd, 1 dirty bitmap", "ours", prepared="bitmap"),
    Server("qsd-bitmap", "QSD, 1 dirty bitmap", "qsd", prepared="bitmap"),
    Server("ours-4-bitmaps", "blockexportd, 4 dirty bitmaps", "ours", prepared="4-bitmaps"),
    Server("qsd-4-bitmaps", "QSD, 4 dirty bitmaps", "qsd", prepared="4-bitmaps"),
    Server("ours-stored", "blockexportd, dirty bitmap in a store", "ours", prepared="stored"),
    Server("ours-raw", "blockexportd, raw node", "ours", prepared="raw"),
    Server("qsd-raw", "QSD, raw node", "qsd", prepared="raw"),
    Server("ours-frozen", "blockexportd, copy-before-write", "ours", prepared="frozen"),
    Server("qsd-frozen", "QSD, copy-before-write", "qsd", prepared="frozen"),
    Server("ours-copied", "blockexportd, copy-before-write, all copied", "ours", prepared="copied"),
    Server("qsd-copied", "QSD, copy-before-write, all copied", "qsd", prepared="copied"),
    Server("ours-scattered", "blockexportd, 16 TiB, dirty bitmap", "ours", prepared="scattered"),
    Server("qsd-scattered", "QSD, 16 TiB, dirty bitmap", "qsd", prepared="scattered"),
)
BY_KEY = {server.key: server for server in ALL}


@dataclass(frozen=True)
class Running:
    """A started server that has greeted a client."""

    server: Server
    pid: int
    setting: Setting
    process: subprocess.Popen

    @property
    def address(self) -> Address:
        return self.setting.address

    def died(self) -> bool:
        """Whether it has ended by itself (unknown for a server that detached itself)."""
        return self.process.poll() not in (None, 0)

    def load_args(self) -> list[str]:
        measured = [f"--server-pid={self.pid}"] + (["--server-tree"] if self.server.tree else [])
        return [*self.setting.load_args(), *measured]

    def cpu_ns(self) -> int:
        """The CPU clock of the process, all threads; None of its children."""
        process_cpu_clock = (~self.pid << 3) | 2
        return time.clock_gettime_ns(process_cpu_clock)


def allow_many_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def wait_until_greeting(address: Address, process: subprocess.Popen, log: Path, may_detach: bool) -> None:
    deadline = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), address.connect() as client:
            if client.recv(18, socket.MSG_WAITALL)[:8] == b"NBDMAGIC":
                return
        if process.poll() is not None and (process.returncode != 0 or not may_detach):
            break
        time.sleep(0.002)
    lines = log.read_text(errors="replace").strip().splitlines()
    # Without the program's name and the rejected option, which hold paths of this run.
    reason = re.sub(r"^\S+: (--\S+ \S+: )?", "", lines[-1]) if lines else ""
    raise BenchError("did not start to listen" + (f": {reason}" if reason else ""))


def stop(pid: int, process: subprocess.Popen) -> None:
    """Ends exactly the process that was started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + STOP_PATIENCE_S
        while time.monotonic() < deadline:
            process.poll()
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.002)


@contextlib.contextmanager
def running(tools: Tools, server: Server, setting: Setting, *, cpu: int | None = SERVER_CPU,
            before_start: Callable[[], None] = allow_many_files, environment: dict | None = None) -> Iterator[Running]:
    """Starts `server`, waits for its greeting, and stops it at the end, also after an error."""
    address = setting.address
    clean_up(setting)
    command = server.command(tools, setting)
    log = setting.scratch / "server.log"
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(pinned(tools, cpu, command), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   preexec_fn=before_start, env={**os.environ, **(environment or {})})
    pid = process.pid
    try:
        detaches = server.family == "nbd-server"
        wait_until_greeting(address, process, log, detaches)
        if detaches:
            pid = int(pid_file(setting.scratch).read_text())
        if server.prepared:
            prepare(tools, server, setting)
        yield Running(server, pid, setting, process)
    finally:
        stop(pid, process)
        process.wait()

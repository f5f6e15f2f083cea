"""The cells of the benchmark: one workload each, on which servers, in which condition, and the goals set for it."""

from dataclasses import dataclass

STORAGE = ("ours", "ours-epoll", "qsd", "qsd-uring", "qsd-threads", "nbdkit", "nbd-server", "control")
PLAIN = ("ours", "qsd", "qsd-uring", "qsd-threads", "nbdkit", "nbd-server", "control")
DIRECT = ("ours-direct", "qsd-direct-uring", "qsd-direct-native")
SINGLE = ("ours", "qsd", "nbdkit", "nbd-server")
GROWTH = ("ours", "qsd-uring", "control")

CPU = "server_cpu_us"
RATE = "per_second"


@dataclass(frozen=True)
class Goal:
    """`metric` of ours against `peer`: at most (or at least) `limit` times the peer's."""

    peer: str
    limit: float
    metric: str = CPU
    at_least: bool = False


@dataclass(frozen=True)
class Cell:
    """One workload. `unit` is what CPU and rate are counted per; `primary` is the metric that ranks the peers."""

    name: str
    title: str
    kind: str = "load"
    args: tuple[str, ...] = ()
    image: str = "dense"
    condition: str = "cached"
    tcp: bool = False
    pin: bool = True
    unit: str = "op"
    control: str = "pread"
    servers: tuple[str, ...] = STORAGE
    primary: str = CPU
    goals: tuple[Goal, ...] = ()
    extra: bool = False


READ_4K = ("--workload=randread", "--block=4K")
WRITE_4K = ("--workload=randwrite", "--block=4K", "--span=64M")
READ_1M = ("--workload=seqread", "--block=1M", "--depth=4")
WRITE_1M = ("--workload=seqwrite", "--block=1M", "--depth=4", "--span=64M")

READ_4K_GOALS = (Goal("qsd*", 1 / 3), Goal("qsd", 1 / 10), Goal("nbdkit", 1 / 3), Goal("control", 1.25),
                 Goal("qsd*", 3, RATE, True), Goal("peers", 1, "p99_us"))
READ_1M_GOALS = (Goal("qsd*", 1 / 4), Goal("nbdkit", 1 / 2), Goal("control", 1.2), Goal("qsd*", 2.5, RATE, True))
WRITE_4K_GOALS = (Goal("nbdkit", 1 / 3), Goal("qsd*", 1 / 5), Goal("control", 1.3), Goal("peers", 1, "p99_us"))


def less_a_fifth(goals: tuple[Goal, ...]) -> tuple[Goal, ...]:
    """The same goals, a fifth weaker: loopback TCP costs every server the same on top."""
    return tuple(goal if goal.peer == "control" or goal.metric == "p99_us" else
                 Goal(goal.peer, goal.limit * (0.8 if goal.at_least else 1.2), goal.metric, goal.at_least)
                 for goal in goals)


MAIN = (
    Cell("read-4k-qd32", "4 KiB random read, unix, 1 connection, QD 32", args=(*READ_4K, "--depth=32"),
         goals=READ_4K_GOALS),
    Cell("read-4k-qd1", "4 KiB random read, unix, 1 connection, QD 1", args=(*READ_4K, "--depth=1"), primary="p50_us",
         goals=(Goal("qsd", 0.5, "p50_us"), Goal("nbdkit", 0.75, "p50_us"))),
    Cell("write-4k-qd32", "4 KiB random write, unix, 1 connection, QD 32", args=(*WRITE_4K, "--depth=32"),
         condition="dirty:64M", goals=WRITE_4K_GOALS),
    Cell("mix-4k-qd32", "4 KiB, 70 % reads 30 % writes, unix, QD 32",
         args=("--workload=mix", "--block=4K", "--span=64M", "--depth=32"), condition="dirty:64M", servers=PLAIN,
         goals=(Goal("peers", 1, "p99_us"),)),
    Cell("read-1m", "1 MiB sequential read, unix, QD 4", args=READ_1M, control="sendfile", goals=READ_1M_GOALS),
    Cell("write-1m", "1 MiB sequential write, unix, QD 4", args=WRITE_1M, condition="dirty:64M",
         goals=(Goal("qsd*", 1 / 2), Goal("control", 1.15))),
    Cell("many-16x8", "4 KiB random read, unix, 16 connections, QD 8, one processor",
         args=(*READ_4K, "--depth=8", "--connections=16"),
         goals=(Goal("qsd*", 1 / 3), Goal("nbdkit", 1 / 3), Goal("none", 0.5, "slowest_share", True))),
    Cell("many-16x8-free", "4 KiB random read, unix, 16 connections, QD 8, not pinned",
         args=(*READ_4K, "--depth=8", "--connections=16"), pin=False,
         goals=(Goal("qsd*", 1 / 3), Goal("nbdkit", 1 / 3), Goal("none", 0.5, "slowest_share", True))),
    Cell("tcp-read-4k-qd32", "4 KiB random read, loopback TCP, QD 32", args=(*READ_4K, "--depth=32"), tcp=True,
         servers=PLAIN, goals=less_a_fifth(READ_4K_GOALS)),
    Cell("tcp-read-1m", "1 MiB sequential read, loopback TCP, QD 4", args=READ_1M, tcp=True, servers=PLAIN,
         control="sendfile", goals=less_a_fifth(READ_1M_GOALS)),
    Cell("tcp-write-4k-qd32", "4 KiB random write, loopback TCP, QD 32", args=(*WRITE_4K, "--depth=32"), tcp=True,
         condition="dirty:64M", servers=PLAIN, goals=less_a_fifth(WRITE_4K_GOALS)),
    Cell("direct-qd128", "4 KiB random read, O_DIRECT, unix, 1 connection, QD 128", args=(*READ_4K, "--depth=128"),
         condition="uncached", servers=DIRECT, primary=RATE, goals=(Goal("qsd*", 1.5, RATE, True),)),
    Cell("sync-4x4", "4 KiB write and flush in turn, unix, 4 connections, QD 4",
         args=("--workload=flushedwrite", "--block=4K", "--span=64M", "--depth=4", "--connections=4"),
         condition="dirty:64M", servers=PLAIN, primary=RATE),
    Cell("map-cold", "block status, first pass", kind="map", image="extents", unit="extent", servers=PLAIN,
         goals=(Goal("qsd*", 1 / 4),)),
    Cell("map-warm", "block status, further passes", kind="map", args=("--passes=4",), image="extents", unit="extent",
         servers=PLAIN, goals=(Goal("qsd*", 1 / 15),)),
    Cell("copy-dense", "nbdcopy of the whole dense image to null:", kind="copy", unit="copy", servers=PLAIN,
         control="sendfile", primary="wall_ms",
         goals=(Goal("qsd*", 0.5, "wall_ms"), Goal("nbdkit", 0.9, "wall_ms"))),
    Cell("copy-sparse", "nbdcopy of the 90 % sparse image to null:", kind="copy", image="sparse", unit="copy",
         servers=PLAIN, control="sendfile", primary="wall_ms",
         goals=(Goal("qsd*", 0.5, "wall_ms"), Goal("nbdkit", 0.5, "wall_ms"))),
    Cell("connect", "connect, negotiate, one read, close; one client", kind="rate", unit="connection", servers=PLAIN,
         primary=RATE, goals=(Goal("qsd", 3, RATE, True), Goal("nbdkit", 3, RATE, True))),
    Cell("connect-8", "connect, negotiate, one read, close; 8 clients", kind="rate", args=("--connections=8",),
         unit="connection", servers=PLAIN, primary=RATE),
    Cell("start", "start to the first greeting", kind="start", args=("--passes=5",), unit="start", servers=SINGLE,
         primary="start_ms", goals=(Goal("qsd", 1, "start_ms"), Goal("qsd", 1, "resident_kb"))),
    Cell("idle", "500 negotiated connections at rest", kind="idle", args=("--connections=500",), unit="connection",
         servers=SINGLE, primary="kb_per_connection", goals=(Goal("none", 6, "kb_per_connection"),)),
    Cell("silent", "500 connections that never say a word, then a good client", kind="silent",
         args=("--connections=500",), unit="connection", servers=SINGLE, primary="newcomer_us"),
    Cell("fair", "one client at 1 MiB beside one at 4 KiB: the share that each keeps", kind="fair", unit="op",
         servers=SINGLE, primary="smaller_share", goals=(Goal("none", 0.5, "smaller_share", True),)),
)

GROW_CONNECTIONS = tuple(
    Cell(f"grow-{count}", f"4 KiB random read, {count} connections, {depth} in flight on each",
         args=(*READ_4K, f"--depth={depth}", f"--connections={count}"), servers=GROWTH, extra=True)
    for count, depth in ((1, 32), (10, 8), (100, 1), (1000, 1), (10_000, 1)))

GROW_SIZES = tuple(
    Cell(f"grow-{size}", f"4 KiB random read, QD 32, empty image of {size.removesuffix('G').removesuffix('T')} "
         f"{size[-1]}iB", args=(*READ_4K, "--depth=32", "--check-every=0", "--allow-zeroes"), image=f"empty-{size}",
         condition="as-is", servers=GROWTH, extra=True)
    for size in ("1G", "64G", "1T", "16T"))

ALL = MAIN + GROW_CONNECTIONS + GROW_SIZES

SMOKE = ("read-4k-qd32", "write-4k-qd32", "read-1m", "map-warm", "connect", "start", "copy-sparse")
QUICK = ("read-4k-qd32", "read-4k-qd1", "write-4k-qd32", "read-1m", "write-1m", "many-16x8", "tcp-read-4k-qd32",
         "direct-qd128", "map-cold", "map-warm", "copy-dense", "copy-sparse", "connect", "start", "idle")


def select(names: list[str]) -> list[Cell]:
    """Cells by name; a name that ends in '*' stands for all that begin with it."""
    chosen = []
    for name in names:
        found = [cell for cell in ALL if cell.name == name or (name.endswith("*") and cell.name.startswith(name[:-1]))]
        if not found:
            raise SystemExit(f"no such cell: {name}; there are: {', '.join(cell.name for cell in ALL)}")
        chosen += [cell for cell in found if cell not in chosen]
    return chosen

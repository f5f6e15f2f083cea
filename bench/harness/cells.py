"""The cells of the benchmark on plain sockets, and the list of all cells."""

from harness.cell import (Cell, Goal, PLAIN, RATE, READ_1M, READ_4K, SINGLE, STORAGE, WRITE_1M, WRITE_4K,
                          epoll_keeps_up, less_a_fifth, no_slower_tail)
from harness.backup_cells import BACKUP_CELLS
from harness.depth_cells import DEPTH_CELLS
from harness.growth_cells import GROWTH_CELLS
from harness.qcow2_cells import QCOW2_CELLS
from harness.tls_cells import TLS_CELLS

DIRECT = ("ours-direct", "qsd-direct-uring", "qsd-direct-native")
REACTORS = ("ours-2", "ours-1", *PLAIN[1:])

READ_4K_GOALS = (Goal("qsd*", 1 / 3), Goal("qsd", 1 / 10), Goal("nbdkit", 1 / 3), Goal("control", 1.25),
                 Goal("qsd*", 3, RATE, True), no_slower_tail(), epoll_keeps_up())
READ_1M_GOALS = (Goal("qsd*", 1 / 4), Goal("nbdkit", 1 / 2), Goal("control", 1.2), Goal("qsd*", 2.5, RATE, True),
                 epoll_keeps_up())
WRITE_4K_GOALS = (Goal("nbdkit", 1 / 3), Goal("qsd*", 1 / 5), Goal("control", 1.3), no_slower_tail(), epoll_keeps_up())
MANY_GOALS = (Goal("qsd*", 1 / 3), Goal("nbdkit", 1 / 3), Goal("none", 0.5, "slowest_share", True))

STREAMS = (
    Cell("read-4k-qd32", "4 KiB random read, unix, 1 connection, QD 32", args=(*READ_4K, "--depth=32"),
         servers=(*STORAGE, "control-mapped"), goals=READ_4K_GOALS),
    Cell("read-1m", "1 MiB sequential read, unix, QD 4", args=READ_1M, control="sendfile", goals=READ_1M_GOALS),
    Cell("write-4k-qd32", "4 KiB random write, unix, 1 connection, QD 32", args=(*WRITE_4K, "--depth=32"),
         condition="dirty:64M", goals=WRITE_4K_GOALS),
    Cell("write-1m", "1 MiB sequential write, unix, QD 4", args=WRITE_1M, condition="dirty:64M",
         goals=(Goal("qsd*", 1 / 2), Goal("control", 1.15), epoll_keeps_up())),
    Cell("write-64k-qd8", "64 KiB random write, unix, 1 connection, QD 8",
         args=("--workload=randwrite", "--block=64K", "--span=64M", "--depth=8"), condition="dirty:64M", servers=PLAIN,
         goals=(Goal("qsd*", 1), Goal("nbdkit", 1))),
    Cell("mix-4k-qd32", "4 KiB, 70 % reads 30 % writes, unix, QD 32",
         args=("--workload=mix", "--block=4K", "--span=64M", "--depth=32"), condition="dirty:64M", servers=PLAIN,
         goals=(no_slower_tail(),)),
    Cell("many-16x8", "4 KiB random read, unix, 16 connections, QD 8, one processor",
         args=(*READ_4K, "--depth=8", "--connections=16"), goals=(*MANY_GOALS, epoll_keeps_up())),
    Cell("many-16x8-free", "4 KiB random read, unix, 16 connections, QD 8, not pinned: two reactors and one",
         args=(*READ_4K, "--depth=8", "--connections=16"), pin=False, servers=REACTORS,
         goals=(*MANY_GOALS, Goal("ours-1", 1.6, RATE, True, subject="ours-2"))),
    Cell("tcp-read-4k-qd32", "4 KiB random read, loopback TCP, QD 32", args=(*READ_4K, "--depth=32"), tcp=True,
         servers=PLAIN, goals=less_a_fifth(READ_4K_GOALS)),
    Cell("tcp-read-1m", "1 MiB sequential read, loopback TCP, QD 4", args=READ_1M, tcp=True, servers=PLAIN,
         control="sendfile", goals=less_a_fifth(READ_1M_GOALS)),
    Cell("tcp-write-4k-qd32", "4 KiB random write, loopback TCP, QD 32", args=(*WRITE_4K, "--depth=32"), tcp=True,
         condition="dirty:64M", servers=PLAIN, goals=less_a_fifth(WRITE_4K_GOALS)),
    Cell("direct-qd128", "4 KiB random read, O_DIRECT, unix, 1 connection, QD 128", args=(*READ_4K, "--depth=128"),
         condition="uncached", servers=DIRECT, primary=RATE, goals=(Goal("qsd*", 1.5, RATE, True),)),
    Cell("direct-read-qd32", "4 KiB random read, O_DIRECT, unix, 1 connection, QD 32", args=(*READ_4K, "--depth=32"),
         condition="uncached", servers=DIRECT, primary=RATE, goals=(Goal("qsd*", 1, RATE, True),)),
    Cell("direct-write-qd32", "4 KiB random write, O_DIRECT, unix, 1 connection, QD 32",
         args=(*WRITE_4K, "--depth=32"), condition="uncached", servers=DIRECT, primary=RATE,
         goals=(Goal("qsd*", 1, RATE, True),)),
    Cell("direct-read-1m", "1 MiB sequential read, O_DIRECT, unix, QD 4", args=READ_1M, condition="uncached",
         servers=DIRECT, goals=(Goal("qsd*", 1),)),
    Cell("direct-write-1m", "1 MiB sequential write, O_DIRECT, unix, QD 4", args=WRITE_1M, condition="uncached",
         servers=DIRECT, goals=(Goal("qsd*", 1),)),
)

DURABLE = (
    Cell("sync-4x4", "4 KiB write and flush in turn, unix, 4 connections, QD 4",
         args=("--workload=flushedwrite", "--block=4K", "--span=64M", "--depth=4", "--connections=4"),
         condition="dirty:64M", servers=PLAIN, primary=RATE, goals=(Goal("peers", 1, RATE, True),)),
    Cell("sync-16", "4 KiB write and flush in turn, unix, 16 connections, QD 1",
         args=("--workload=flushedwrite", "--block=4K", "--span=64M", "--depth=1", "--connections=16"),
         condition="dirty:64M", servers=PLAIN, primary=RATE, goals=(Goal("peers", 1, RATE, True),)),
    Cell("fua-16", "4 KiB random write with FUA, unix, 16 connections, QD 1",
         args=(*WRITE_4K, "--fua", "--depth=1", "--connections=16"), condition="dirty:64M",
         servers=tuple(key for key in PLAIN if key != "control"), primary=RATE,
         goals=(Goal("peers", 1, RATE, True),)),
)

COPIES = (
    Cell("map-cold", "block status over 262,144 extents, first pass", kind="map", image="extents", unit="extent",
         servers=PLAIN, goals=(Goal("qsd*", 1 / 4),)),
    Cell("map-warm", "block status over 262,144 extents, further passes", kind="map", args=("--passes=4",),
         image="extents", unit="extent", servers=PLAIN, goals=(Goal("qsd*", 1 / 15),)),
    Cell("copy-dense", "nbdcopy of the whole dense image to null:", kind="copy", unit="copy", servers=PLAIN,
         control="sendfile", primary="wall_ms",
         goals=(Goal("qsd*", 0.5, "wall_ms"), Goal("nbdkit", 0.9, "wall_ms"))),
    Cell("copy-sparse", "nbdcopy of the 90 % sparse image to null:", kind="copy", image="sparse", unit="copy",
         servers=PLAIN, control="sendfile", primary="wall_ms",
         goals=(Goal("qsd*", 0.5, "wall_ms"), Goal("nbdkit", 0.5, "wall_ms"))),
)

LIFE = (
    Cell("connect", "connect, negotiate, one read, close; one client", kind="rate", unit="connection", servers=PLAIN,
         primary=RATE, goals=(Goal("qsd*", 3, RATE, True), Goal("nbdkit", 3, RATE, True))),
    Cell("connect-8", "connect, negotiate, one read, close; 8 clients", kind="rate", args=("--connections=8",),
         unit="connection", servers=PLAIN, primary=RATE),
    Cell("start", "start to the first greeting", kind="start", args=("--passes=5",), unit="start", servers=SINGLE,
         primary="start_ms", goals=(Goal("qsd", 1, "start_ms"), Goal("qsd", 1, "resident_kb"))),
    Cell("idle", "500 idle negotiated connections", kind="idle", args=("--connections=500",), unit="connection",
         servers=SINGLE, primary="kb_per_connection", goals=(Goal("none", 6, "kb_per_connection"),)),
    Cell("silent", "500 connections that never send a byte, then a normal client", kind="silent",
         args=("--connections=500",), unit="connection", servers=SINGLE, primary="newcomer_us"),
    Cell("fair", "one client at 1 MiB beside one at 4 KiB, one processor: the share that each keeps", kind="fair",
         servers=(*SINGLE, "control"), control="sendfile", primary="smaller_share",
         goals=(Goal("none", 0.5, "smaller_share", True),)),
    Cell("fair-free", "one client at 1 MiB beside one at 4 KiB, not pinned, two reactors: the share that each keeps",
         kind="fair", pin=False, servers=("ours-2", "ours-1", *SINGLE[1:]), primary="smaller_share",
         goals=(Goal("none", 0.5, "smaller_share", True, subject="ours-2"),)),
)

ALL = (*STREAMS, *DEPTH_CELLS, *DURABLE, *COPIES, *LIFE, *TLS_CELLS, *BACKUP_CELLS, *QCOW2_CELLS, *GROWTH_CELLS)

SMOKE = ("read-4k-qd32", "write-4k-qd32", "read-1m", "map-warm", "connect", "start", "copy-sparse", "tls-read-4k-qd32",
         *(cell.name for cell in QCOW2_CELLS))
QUICK = ("read-4k-qd32", "read-4k-qd1", "write-4k-qd32", "read-1m", "write-1m", "many-16x8", "tcp-read-4k-qd32",
         "direct-qd128", "map-cold", "map-warm", "copy-dense", "copy-sparse", "connect", "start", "idle",
         "tls-read-1m", "tls-read-4k-qd32")


def select(names: list[str]) -> list[Cell]:
    """Cells by name; a name that ends in '*' selects all cells with that prefix."""
    chosen = []
    for name in names:
        found = [cell for cell in ALL if cell.name == name or (name.endswith("*") and cell.name.startswith(name[:-1]))]
        if not found:
            raise SystemExit(f"no such cell: {name}; there are: {', '.join(cell.name for cell in ALL)}")
        chosen += [cell for cell in found if cell not in chosen]
    return chosen

"""The cells with one request at a time, in which nearly all of the time is that of wake-ups.

"ours-asleep" is blockexportd without polling: the goals compare with it where polling must cost nothing.
"""

from harness.cell import Cell, CPU, Goal, READ_4K, WRITE_4K, epoll_keeps_up
from harness.credentials import X509

ONE = "--depth=1"
LATENCY = "p50_us"
SERVERS = ("ours", "ours-asleep", "ours-epoll", "ours-iothread", "qsd", "qsd-uring", "qsd-threads", "nbdkit",
           "nbd-server", "control")
TLS_SERVERS = tuple(key for key in SERVERS if key != "nbd-server")
SHARED = ("ours", "ours-asleep", "qsd", "nbdkit", "control")
# Not slower than the peers, and without polling not slower than with it.
AS_FAST_AS_PEERS = (Goal("qsd*", 1, LATENCY), Goal("nbdkit", 1, LATENCY))
AS_ASLEEP = (Goal("ours-asleep", 1.02, LATENCY), Goal("ours-asleep", 1.02, CPU))

DEPTH_CELLS = (
    Cell("read-4k-qd1", "4 KiB random read, unix, 1 connection, QD 1", args=(*READ_4K, ONE), primary=LATENCY,
         servers=SERVERS,
         goals=(Goal("nbdkit", 0.9, LATENCY), Goal("qsd*", 0.75, LATENCY), Goal("ours-asleep", 1.1, CPU),
                epoll_keeps_up(LATENCY))),
    Cell("tcp-read-4k-qd1", "4 KiB random read, loopback TCP, 1 connection, QD 1", args=(*READ_4K, ONE), tcp=True,
         primary=LATENCY, servers=SERVERS, goals=AS_FAST_AS_PEERS),
    Cell("tls-read-4k-qd1", "4 KiB random read, TLS with certificates, unix, 1 connection, QD 1",
         args=(*READ_4K, ONE), tls=X509, primary=LATENCY, servers=TLS_SERVERS, goals=AS_FAST_AS_PEERS),
    Cell("write-4k-qd1", "4 KiB random write, unix, 1 connection, QD 1", args=(*WRITE_4K, ONE), condition="dirty:64M",
         primary=LATENCY, servers=SERVERS, goals=AS_FAST_AS_PEERS),
    Cell("sync-qd1", "4 KiB write and flush in turn, unix, 1 connection, QD 1",
         args=("--workload=flushedwrite", "--block=4K", "--span=64M", ONE), condition="dirty:64M", primary=LATENCY,
         servers=SERVERS, goals=AS_FAST_AS_PEERS),
    Cell("read-4k-qd1-beside", "4 KiB random read, unix, QD 1, client on the server's processor", args=(*READ_4K, ONE),
         client_beside=True, primary=LATENCY, servers=SHARED, goals=AS_ASLEEP),
    Cell("read-4k-qd1-free", "4 KiB random read, unix, 1 connection, QD 1, not pinned", args=(*READ_4K, ONE), pin=False,
         primary=LATENCY, servers=SHARED),
    Cell("read-4k-16x1", "4 KiB random read, unix, 16 connections, QD 1, one processor",
         args=(*READ_4K, ONE, "--connections=16"), servers=SHARED, goals=(Goal("ours-asleep", 1.05, CPU),)),
)

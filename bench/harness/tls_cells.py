"""The TLS cells. The table shows the negotiated cipher beside each server."""

from harness.cell import Cell, Goal, RATE, READ_1M, READ_4K, no_slower_tail
from harness.credentials import PSK, X509

PEERS = ("ours", "qsd", "qsd-uring", "qsd-threads", "nbdkit", "control")
ONE_EACH = ("ours", "qsd", "nbdkit")
# Forces the same cipher for all servers.
AES_256 = "--tls-priority=NORMAL:-CIPHER-ALL:+AES-256-GCM"

TLS_CELLS = (
    Cell("tls-read-1m", "1 MiB sequential read, TLS with certificates, AES-256-GCM, unix, QD 4",
         args=(*READ_1M, AES_256), tls=X509, servers=PEERS, goals=(Goal("qsd*", 0.6), Goal("nbdkit", 0.6))),
    Cell("tls-read-4k-qd32", "4 KiB random read, TLS with certificates, AES-256-GCM, unix, QD 32",
         args=(*READ_4K, "--depth=32", AES_256), tls=X509, servers=PEERS,
         goals=(Goal("qsd*", 1 / 3), Goal("nbdkit", 1 / 2), no_slower_tail())),
    Cell("tls-psk-read-1m", "1 MiB sequential read, TLS with a shared key, the client's default priorities, unix, QD 4",
         args=READ_1M, tls=PSK, servers=PEERS, goals=(Goal("qsd*", 1 / 4), Goal("nbdkit", 1 / 4))),
    Cell("tls-connect", "connect, TLS handshake with certificates, negotiate, one read, close; one client", kind="rate",
         tls=X509, unit="connection", servers=(*ONE_EACH, "control"), primary=RATE,
         goals=(Goal("peers", 1, RATE, True),)),
    Cell("tls-start", "start with certificates to the first greeting", kind="start", args=("--passes=3",), tls=X509,
         unit="start", servers=ONE_EACH, primary="start_ms", goals=(Goal("qsd", 0.1, "start_ms"),)),
    Cell("tls-idle", "200 idle negotiated TLS connections", kind="idle", args=("--connections=200",), tls=X509,
         unit="connection", servers=ONE_EACH, primary="kb_per_connection",
         goals=(Goal("none", 27, "kb_per_connection"),)),
)

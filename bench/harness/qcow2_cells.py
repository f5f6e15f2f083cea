"""The cells of qcow2 images. Each storage daemon opens an image with its driver; nbdkit and nbd-server have none."""

from harness.cell import Cell, Goal, RATE, READ_4K, WRITE_4K

DAEMONS = ("ours", "qsd", "qsd-uring", "qsd-threads")
# Ours on the raw image with the same content, and the control, which serves that one too.
BESIDE_RAW = ("ours", "ours-on-raw", *DAEMONS[1:], "control")
LAYERED = ("ours", "ours-one-layer", *DAEMONS[1:], "qsd-one-layer", "control")
OPENERS = ("ours-monitored", "qsd-monitored", "qsd-uring-monitored")
READ_64K = ("--workload=randread", "--block=64K")
READ_HOLES = (*READ_4K, "--depth=32", "--check-every=0", "--allow-zeroes")
HALF_AGAIN = (Goal("qsd*", 1.5, RATE, True),)
# The span of the writes, and the metadata of the image before and between it.
OVERWRITTEN = "dirty:66M"
ALLOCATIONS = 8192

QCOW2_CELLS = (
    Cell("qcow2-read-4k-qd32", "qcow2: 4 KiB random read of allocated clusters, unix, 1 connection, QD 32",
         args=(*READ_4K, "--depth=32"), image="qcow2", servers=BESIDE_RAW,
         goals=(Goal("ours-on-raw", 1.15), Goal("qsd*", 1 / 3))),
    Cell("qcow2-write-4k-qd32", "qcow2: 4 KiB random overwrite of allocated clusters, unix, 1 connection, QD 32",
         args=(*WRITE_4K, "--depth=32"), image="qcow2", condition=OVERWRITTEN, servers=BESIDE_RAW,
         goals=(Goal("qsd*", 1 / 4),)),
    Cell("qcow2-many-16x8", "qcow2: 4 KiB random read, unix, 16 connections, QD 8, one processor",
         args=(*READ_4K, "--depth=8", "--connections=16"), image="qcow2", servers=BESIDE_RAW, primary=RATE,
         goals=(Goal("qsd*", 2.5, RATE, True),)),
    Cell("qcow2-allocate-64k", f"qcow2: the first {ALLOCATIONS:,} writes of 64 KiB, in order, unix, QD 8",
         args=("--workload=seqwrite", "--block=64K", "--depth=8", f"--ops={ALLOCATIONS}"), image="qcow2-empty",
         condition="new", servers=DAEMONS, primary=RATE, goals=HALF_AGAIN),
    Cell("qcow2-1t", "qcow2: 4 KiB random read on 1 TiB, a new server, tables in the page cache, unix, QD 32",
         args=READ_HOLES, image="qcow2-1T", condition="as-is", servers=DAEMONS, primary=RATE, goals=HALF_AGAIN),
    Cell("qcow2-1t-uncached", "qcow2: 4 KiB random read on 1 TiB, a new server, tables on the disk, unix, QD 32",
         args=READ_HOLES, image="qcow2-1T", condition="uncached", servers=DAEMONS, primary=RATE, goals=HALF_AGAIN),
    Cell("qcow2-compressed", "qcow2: 64 KiB random read of compressed clusters, unix, QD 8, not pinned",
         args=(*READ_64K, "--depth=8", "--vocabulary=256"), image="qcow2-compressed", pin=False, servers=DAEMONS,
         primary=RATE, goals=HALF_AGAIN),
    Cell("qcow2-compressed-4", "qcow2: 64 KiB random read of compressed clusters, 4 connections, QD 4, not pinned",
         args=(*READ_64K, "--depth=4", "--connections=4", "--vocabulary=256"), image="qcow2-compressed", pin=False,
         servers=DAEMONS, primary=RATE, goals=HALF_AGAIN),
    Cell("qcow2-chain-4", "qcow2: 4 KiB random read of a chain of 4 images, unix, 1 connection, QD 32",
         args=(*READ_4K, "--depth=32"), image="qcow2-chain", servers=LAYERED, goals=(Goal("ours-one-layer", 1.3),)),
    Cell("qcow2-open", "qcow2: blockdev-add of an image of 1 TiB over QMP", kind="open", image="qcow2-1T",
         condition="as-is", unit="open", servers=OPENERS, primary="open_ms", goals=(Goal("qsd*", 1, "open_ms"),)),
)

"""The cells of backups: dirty bitmaps, their map, and copy-before-write. Servers are prepared over QMP."""

from harness.cell import Cell, Goal, WRITE_4K
from harness.preparations import BITMAP, SCATTERED_WRITES

BITMAPS = ("ours", "ours-bitmap", "ours-4-bitmaps", "ours-stored", "qsd", "qsd-bitmap", "qsd-4-bitmaps")
BITMAP_GOALS = (Goal("ours", 1.02, subject="ours-bitmap"), Goal("ours", 1.04, subject="ours-4-bitmaps"),
                Goal("ours", 1.05, subject="ours-stored"))
FROZEN = ("ours-raw", "ours-frozen", "qsd-raw", "qsd-frozen")
COPIED = ("ours-raw", "ours-copied", "qsd-raw", "qsd-copied")
COPIES = 8192
FETCHED = ("ours", "ours-pull", "qsd", "qsd-pull")

BACKUP_CELLS = (
    Cell("bitmap-write-4k", "4 KiB random write, unix, 1 connection, QD 32: no dirty bitmap, one, four",
         args=(*WRITE_4K, "--depth=32"), condition="dirty:64M", servers=BITMAPS,
         goals=BITMAP_GOALS),
    Cell("bitmap-write-4x8", "4 KiB random write, unix, 4 connections, QD 8: no dirty bitmap, one, four",
         args=(*WRITE_4K, "--depth=8", "--connections=4"), condition="dirty:64M", servers=BITMAPS,
         goals=BITMAP_GOALS),
    Cell("bitmap-map", f"block status of a dirty bitmap: 16 TiB, 64 KiB granules, {SCATTERED_WRITES:,} random writes",
         kind="map", args=(f"--context=qemu:dirty-bitmap:{BITMAP}", "--passes=4"), condition="as-is", unit="extent",
         servers=("ours-scattered", "qsd-scattered"), goals=(Goal("qsd-scattered", 1),)),
    Cell("frozen-copy", "64 KiB sequential write, unix, QD 4: each write copies a cluster before it, or nothing",
         args=("--workload=seqwrite", "--block=64K", "--depth=4", f"--ops={COPIES}"), condition="dirty:512M",
         servers=FROZEN, goals=(Goal("qsd-frozen", 0.5, subject="ours-frozen"),
                                Goal("qsd-frozen", 1, "p99_us", subject="ours-frozen"))),
    Cell("frozen-again", "4 KiB random write, unix, QD 32, of clusters that were copied, or without copy-before-write",
         args=(*WRITE_4K, "--depth=32"), condition="dirty:64M", servers=COPIED,
         goals=(Goal("ours-raw", 1.02, subject="ours-copied"), Goal("qsd-copied", 0.5, subject="ours-copied"))),
    Cell("pull", "the dense image into a new file, synced: nbdcopy, and blockexport pull with checksums; not pinned",
         kind="fetch", pin=False, unit="copy", servers=FETCHED, primary="wall_ms",
         goals=(Goal("ours", 1.5, "wall_ms", subject="ours-pull"),)),
)

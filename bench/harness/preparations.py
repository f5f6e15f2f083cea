"""States that a storage daemon is brought into over QMP before a measurement: dirty bitmaps, a point in time."""

import json
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.tools import BenchError, Tools

PATIENCE_S = 60.0
HUGE = 16 << 40
GRANULARITY = 64 << 10
# Writes at random blocks of the huge disk; hardly any two fall into one granule.
SCATTERED_WRITES = 131_072
BITMAP = "bitmap0"


class Monitor:
    """A QMP client that awaits the reply to each command."""

    def __init__(self, path: Path):
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(PATIENCE_S)
        self.connection.connect(str(path))
        self.lines = self.connection.makefile("rw", encoding="utf-8")
        self.events: list[str] = []
        self.lines.readline()
        self.execute("qmp_capabilities")

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_) -> None:
        self.lines.close()
        self.connection.close()

    def read(self, what_for: str) -> dict:
        try:
            line = self.lines.readline()
        except TimeoutError as error:
            raise BenchError(f"{what_for}: no answer within {PATIENCE_S:.0f} s") from error
        if not line:
            raise BenchError(f"{what_for}: the monitor was closed")
        return json.loads(line)

    def execute(self, command: str, **arguments) -> object:
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.lines.write(json.dumps({"execute": command, "arguments": named}) + "\n")
        self.lines.flush()
        while "return" not in (reply := self.read(command)):
            if "error" in reply:
                raise BenchError(f"{command}: {reply['error']['desc']}")
            self.events.append(reply.get("event"))
        return reply["return"]

    def wait_event(self, name: str) -> None:
        while name not in self.events:
            self.events.append(self.read(name).get("event"))


@dataclass(frozen=True)
class Prepared:
    """The means of a preparation: the server's monitor, the tools, a folder, and the options of nbdload."""

    monitor: Monitor
    tools: Tools
    scratch: Path
    load_args: list[str]

    def load(self, *args: str) -> None:
        done = subprocess.run([self.tools.nbdload, *self.load_args, *args], capture_output=True, text=True,
                              timeout=PATIENCE_S, check=False)
        if done.returncode != 0:
            raise BenchError(f"nbdload: {done.stderr.strip()}")


@dataclass(frozen=True)
class Preparation:
    """The block nodes, the last of which is called `disk`, and what follows over QMP.

    In a node {image} is the path of the image, and {store} that of a bitmap store that does not exist yet.
    """

    nodes: tuple[str, ...]
    apply: Callable[[Prepared], None]


def add_bitmaps(count: int) -> Callable[[Prepared], None]:
    def apply(prepared: Prepared) -> None:
        for number in range(count):
            prepared.monitor.execute("block-dirty-bitmap-add", node="disk", name=f"bitmap{number}",
                                     granularity=GRANULARITY)
    return apply


def add_stored_bitmap(prepared: Prepared) -> None:
    prepared.monitor.execute("block-dirty-bitmap-add", node="disk", name=BITMAP, granularity=GRANULARITY,
                             persistent=True)


def freeze(prepared: Prepared) -> None:
    """Begins a point in time of the disk, with an empty scratch file."""
    scratch = prepared.scratch / "frozen.img"
    size = prepared.monitor.execute("query-named-block-nodes")[0]["image"]["virtual-size"]
    with open(scratch, "wb") as file:
        file.truncate(size)
    monitor = prepared.monitor
    monitor.execute("blockdev-add", driver="file", node_name="scratch", filename=str(scratch))
    scratch.unlink()
    monitor.execute("blockdev-add", driver="copy-before-write", node_name="frozen", file="image", target="scratch",
                    on_cbw_error="break-snapshot")
    monitor.execute("blockdev-reopen", options=[{"driver": "raw", "node-name": "disk", "file": "frozen"}])


def freeze_and_copy(prepared: Prepared) -> None:
    """A point in time with a first change of every cluster of the part that write cells use."""
    freeze(prepared)
    prepared.load("--workload=seqwrite", "--block=64K", "--span=64M", "--depth=8", "--ops=1024")


def scatter(prepared: Prepared) -> None:
    """Writes at random blocks of the huge disk, and exports the bitmap that has recorded them."""
    monitor = prepared.monitor
    add_bitmaps(1)(prepared)
    prepared.load("--workload=randwrite", "--block=4K", "--depth=64", f"--ops={SCATTERED_WRITES}")
    monitor.execute("block-export-del", id="e", mode="hard")
    monitor.wait_event("BLOCK_EXPORT_DELETED")
    monitor.execute("block-dirty-bitmap-disable", node="disk", name=BITMAP)
    monitor.execute("block-export-add", type="nbd", id="e", node_name="disk", name="disk", bitmaps=[BITMAP])


def qcow2_nodes(layers: int) -> tuple[str, ...]:
    """The nodes of a chain of qcow2 images, the bottom first. The files of the layers below the top have numbers."""
    nodes: list[str] = []
    for number in reversed(range(layers)):
        suffix = f".{number}" if number else ""
        name, backing = f"layer{number}" if number else "disk", f",backing=layer{number + 1}"
        nodes += [f"file,node-name=file{number},filename={{image}}{suffix}",
                  f"qcow2,node-name={name},file=file{number}" + (backing if number + 1 < layers else "")]
    return tuple(nodes)


def image_nodes(layers: int) -> tuple[str, ...]:
    """The nodes of an image of that many qcow2 layers; of a raw image, if there are none."""
    return qcow2_nodes(layers) if layers else FILE


FILE = ("file,node-name=disk,filename={image}",)
# A node to export while others are opened.
NULL = (f"null-co,node-name=disk,size={1 << 20}",)
RAW = ("file,node-name=image,filename={image}", "raw,node-name=disk,file=image")

BY_NAME = {
    "bitmap": Preparation(FILE, add_bitmaps(1)),
    "4-bitmaps": Preparation(FILE, add_bitmaps(4)),
    "stored": Preparation((FILE[0] + ",bitmap-store.filename={store}",), add_stored_bitmap),
    "monitored": Preparation(NULL, lambda prepared: None),
    "raw": Preparation(RAW, lambda prepared: None),
    "frozen": Preparation(RAW, freeze),
    "copied": Preparation(RAW, freeze_and_copy),
    "scattered": Preparation((f"null-co,node-name=disk,size={HUGE}",), scatter),
}

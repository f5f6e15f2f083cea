"""Images that the servers export: created once per run, with a defined page cache state before every measurement.

Raw images are written by bench_image. qcow2 images are made by qemu-img, from a raw image with the same content.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.machine import wait_until_quiet
from harness.tools import BenchError, Tools

MIB = 1 << 20
CLUSTER = 64 << 10
CREATION_PATIENCE_S = 300.0
MADE = "made.img"
PART = "part.img"


@dataclass(frozen=True)
class Layout:
    """Size in bytes and, for an image with holes, the length of the data before each hole.

    `vocabulary`: the number of different words of 8 bytes in the content; 0: it can not be compressed. `layers`: the
    number of qcow2 images in the chain; 0: a raw image. A qcow2 image has the content of the raw image `source`; "": it
    is empty. A chain has each cluster in one of its layers, in turn. `allocated`: the empty image has all clusters.
    `single_pages`: a new raw image is read into the page cache in single pages, as all of qcow2 are.
    """

    size: int
    data: int = 0
    hole: int = 0
    vocabulary: int = 0
    layers: int = 0
    source: str = ""
    compressed: bool = False
    allocated: bool = False
    single_pages: bool = False

    def words(self) -> str:
        if self.layers:
            return self.qcow2_words()
        if self.vocabulary:
            return f"{self.size // MIB} MiB, dense, compressible"
        if self.hole == 0:
            return f"{self.size // MIB} MiB, dense"
        if self.hole >= self.size:
            return f"{self.size // MIB:,} MiB, all hole but its first {self.data >> 10} KiB"
        kind = f"{self.data >> 10} KiB of data before every {self.hole >> 10} KiB of hole"
        return f"{self.size // MIB} MiB, {kind}"

    def qcow2_words(self) -> str:
        size = f"qcow2, {self.size // MIB:,} MiB"
        if self.allocated:
            return f"{size}, all clusters allocated, no data"
        if not self.source:
            return f"{size}, empty"
        kind = "compressed with zlib" if self.compressed else "dense"
        return f"{size}, {kind}" + (f", in turn in {self.layers} layers" if self.layers > 1 else "")


def layouts(small: bool) -> dict[str, Layout]:
    """All images by name; `small` for runs that only test the harness."""
    extents = 16_384 if small else 262_144
    huge = {f"empty-{name}": Layout(size, data=4096, hole=size) for name, size in
            (("1G", 1 << 30), ("64G", 64 << 30), ("1T", 1 << 40), ("16T", (16 << 40) - MIB))}
    return {
        "dense": Layout((64 if small else 512) * MIB),
        "sparse": Layout((128 if small else 1024) * MIB, data=MIB, hole=9 * MIB),
        "extents": Layout(extents * 4096, data=4096, hole=4096),
        # For runs under strace.
        "few-extents": Layout(1024 * 4096, data=4096, hole=4096),
        **huge,
        **qcow2_layouts(small),
    }


def qcow2_layouts(small: bool) -> dict[str, Layout]:
    """The qcow2 images, and the raw ones that only they need."""
    dense = (64 if small else 512) * MIB
    words = (16 if small else 128) * MIB
    return {
        "words": Layout(words, vocabulary=256),
        "dense-pages": Layout(dense, single_pages=True),
        "qcow2": Layout(dense, layers=1, source="dense-pages"),
        "qcow2-chain": Layout(dense, layers=4, source="dense-pages"),
        "qcow2-compressed": Layout(words, layers=1, source="words", compressed=True),
        "qcow2-empty": Layout(1 << 30, layers=1),
        "qcow2-1T": Layout((64 << 30) if small else (1 << 40), layers=1, allocated=True),
    }


def layer_path(top: Path, number: int) -> Path:
    """The file of a layer of a chain: 0 is the top, which the servers are given."""
    return top.with_name(f"{top.name}.{number}") if number else top


class Images:
    """Creates images in a folder on first use, and removes them at the end."""

    def __init__(self, tools: Tools, folder: Path, small: bool):
        self.tools = tools
        self.folder = folder
        self.layouts = layouts(small)
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        path = self.folder / f"{name}.img"
        layout = self.layouts[name]
        if path.exists():
            return path
        # An image has its name only when it is complete.
        made = self.folder / MADE
        try:
            if layout.layers:
                self.make_qcow2(path, layout, made)
            else:
                self.call(made, f"--size={layout.size}", f"--vocabulary={layout.vocabulary}",
                          *([f"--data={layout.data}", f"--hole={layout.hole}"] if layout.hole else []))
                made.rename(path)
            # The kernel's work depends on how pages came into its cache, and each tool writes an image in its own way.
            if layout.layers or layout.single_pages:
                self.call_each(self.files(name), "--reload")
        finally:
            made.unlink(missing_ok=True)
            (self.folder / PART).unlink(missing_ok=True)
        return path

    def readable(self, name: str, opens_qcow2: bool) -> str:
        """The name of the image, or of the raw one with its content for a server that can not open qcow2."""
        return name if opens_qcow2 else self.layouts[name].source or name

    def make_qcow2(self, path: Path, layout: Layout, made: Path) -> None:
        """Makes the bottom first, and the top last, so that a top that exists has all layers."""
        for number in reversed(range(layout.layers)):
            if layout.source:
                source = self.part(layout, number) if layout.layers > 1 else self.path(layout.source)
                self.qemu_img("convert", "-f", "raw", "-O", "qcow2", *(["-c"] if layout.compressed else []),
                              str(source), str(made))
            else:
                allocation = "metadata" if layout.allocated else "off"
                self.qemu_img("create", "-f", "qcow2", "-o", f"preallocation={allocation}", str(made),
                              str(layout.size))
            if number + 1 < layout.layers:
                below = str(layer_path(path, number + 1))
                self.qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", below, str(made))
            made.rename(layer_path(path, number))

    def part(self, layout: Layout, number: int) -> Path:
        """A raw image with the clusters of one layer, and holes for those of the others."""
        part = self.folder / PART
        self.call(part, f"--size={layout.size}", f"--first={number * CLUSTER}", f"--data={CLUSTER}",
                  f"--hole={(layout.layers - 1) * CLUSTER}")
        return part

    def files(self, name: str) -> list[Path]:
        """All files of an image, which need not exist."""
        top = self.folder / f"{name}.img"
        return [layer_path(top, number) for number in range(max(1, self.layouts[name].layers))]

    def prepare(self, name: str, condition: str) -> bool:
        """Brings an image into `condition`: 'as-is', 'cached', 'uncached', 'dirty:SIZE', or 'new', which makes it anew.

        False if the disk did not become idle before a measurement that writes or reads uncached.
        """
        if condition == "new":
            self.remove_image(name)
        self.path(name)
        files = self.files(name)
        if condition == "as-is":
            return True
        if condition == "cached":
            self.call_each(files, "--touch")
            return True
        self.call_each(files)
        quiet = wait_until_quiet()
        if condition == "uncached":
            self.call_each(files, "--drop")
        elif condition != "new":
            self.call_each(files, f"--dirty={condition.removeprefix('dirty:')}")
        return quiet

    def call_each(self, paths: list[Path], *options: str) -> None:
        for path in paths:
            self.call(path, *options)

    def call(self, path: Path, *options: str) -> None:
        done = subprocess.run([self.tools.image, f"--path={path}", *options], capture_output=True, text=True,
                              timeout=120, check=False)
        if done.returncode != 0:
            raise BenchError(done.stderr.strip())

    def qemu_img(self, verb: str, *words: str) -> None:
        if self.tools.qemu_img is None:
            raise BenchError("qemu-img is not installed")
        done = subprocess.run([self.tools.qemu_img, verb, "-q", *words], capture_output=True, text=True,
                              timeout=CREATION_PATIENCE_S, check=False)
        if done.returncode != 0:
            raise BenchError(f"qemu-img {verb}: {done.stderr.strip()}")

    def remove_image(self, name: str) -> None:
        for path in self.files(name):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        for name in self.layouts:
            self.remove_image(name)

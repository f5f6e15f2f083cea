"""Images that the servers export: created once per run, with a defined page cache state before every measurement."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.machine import wait_until_quiet
from harness.tools import BenchError, Tools

MIB = 1 << 20


@dataclass(frozen=True)
class Layout:
    """Size in bytes and, for an image with holes, the length of the data before each hole."""

    size: int
    data: int = 0
    hole: int = 0

    def words(self) -> str:
        if self.hole == 0:
            return f"{self.size // MIB} MiB, dense"
        if self.hole >= self.size:
            return f"{self.size // MIB:,} MiB, all hole but its first {self.data >> 10} KiB"
        kind = f"{self.data >> 10} KiB of data before every {self.hole >> 10} KiB of hole"
        return f"{self.size // MIB} MiB, {kind}"


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
    }


class Images:
    """Creates images in a folder on first use, and removes them at the end."""

    def __init__(self, tools: Tools, folder: Path, small: bool):
        self.tools = tools
        self.folder = folder
        self.layouts = layouts(small)
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        path = self.folder / f"{name}.img"
        if not path.exists():
            layout = self.layouts[name]
            self.call(path, f"--size={layout.size}", *([f"--data={layout.data}", f"--hole={layout.hole}"]
                                                       if layout.hole else []))
        return path

    def prepare(self, name: str, condition: str) -> bool:
        """Brings an image into `condition`: 'as-is', 'cached', 'uncached', or 'dirty:SIZE'.

        False if the disk did not become idle before a measurement that writes or reads uncached.
        """
        path = self.path(name)
        if condition == "as-is":
            return True
        if condition == "cached":
            self.call(path, "--touch")
            return True
        self.call(path)
        quiet = wait_until_quiet()
        if condition == "uncached":
            self.call(path, "--drop")
        else:
            self.call(path, f"--dirty={condition.removeprefix('dirty:')}")
        return quiet

    def call(self, path: Path, *options: str) -> None:
        done = subprocess.run([self.tools.image, f"--path={path}", *options], capture_output=True, text=True,
                              timeout=120, check=False)
        if done.returncode != 0:
            raise BenchError(done.stderr.strip())

    def remove(self) -> None:
        for name in self.layouts:
            (self.folder / f"{name}.img").unlink(missing_ok=True)

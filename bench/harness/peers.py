"""Peers to measure: the newest available ones, in a separate folder, or the installed ones."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 1200.0
INSTALLED = "installed"


@dataclass(frozen=True)
class Peers:
    """`folder` holds their commands, None for the search path; `what` is a short description."""

    folder: Path | None
    what: str

    def find(self, name: str, on_path: str | None) -> str | None:
        """The path of the peer of that name in the folder; else the one from the search path."""
        path = shutil.which(name, path=str(self.folder)) if self.folder else None
        return path or on_path


def installed(reason: str = "") -> Peers:
    return Peers(None, "those that are installed" + (f" ({reason})" if reason else ""))


def newest(tool: Path) -> Peers:
    """The peers that tools/peer_root.sh fetches or has fetched; if it fails, the installed ones, with its reason."""
    try:
        done = subprocess.run([str(tool)], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return installed(f"the newest cannot be had: {type(error).__name__}")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return installed(said[-1].removeprefix("peer_root: ") if said else "the newest cannot be had")
    return of_folder(Path(done.stdout.strip()))


def of_folder(folder: Path) -> Peers:
    """The peers in a folder of tools/peer_root.sh, described by its VERSIONS."""
    versions = (folder / "VERSIONS").read_text(encoding="utf-8").split("\n")
    return Peers(folder, "the newest that Debian has: " + ", ".join(line for line in versions if line))

"""Which peers are measured: the newest that can be had, in a folder of their own, or those that are installed."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 1200.0
INSTALLED = "installed"


@dataclass(frozen=True)
class Peers:
    """`folder` holds their commands, None for the search path; `what` says in a few words which they are."""

    folder: Path | None
    what: str

    def find(self, name: str, on_path: str | None) -> str | None:
        """The peer of that name, if it is of these; else the one that was found on the search path."""
        path = shutil.which(name, path=str(self.folder)) if self.folder else None
        return path or on_path


def installed(reason: str = "") -> Peers:
    return Peers(None, "those that are installed" + (f" ({reason})" if reason else ""))


def newest(tool: Path) -> Peers:
    """What tools/peer_root.sh fetches or has fetched; if it can not, the installed ones, with its reason."""
    try:
        done = subprocess.run([str(tool)], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return installed(f"the newest cannot be had: {type(error).__name__}")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return installed(said[-1].removeprefix("peer_root: ") if said else "the newest cannot be had")
    return of_folder(Path(done.stdout.strip()))


def of_folder(folder: Path) -> Peers:
    """Those of a folder made by tools/peer_root.sh, named as its VERSIONS does."""
    versions = (folder / "VERSIONS").read_text(encoding="utf-8").split("\n")
    return Peers(folder, "the newest that Debian has: " + ", ".join(line for line in versions if line))

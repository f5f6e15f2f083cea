"""Description of the machine: processor, memory, kernel, file system, versions. No host names, no paths."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

from harness.tools import Tools

QUIET_BYTES = 16 << 20
QUIET_PATIENCE_S = 10.0


def first_match(path: str, pattern: str) -> str:
    try:
        found = re.search(pattern, Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return "unknown"
    return found.group(1).strip() if found else "unknown"


def version_of(program: str | None, option: str = "--version") -> str:
    """The first line of a program's version output."""
    if program is None:
        return "not installed"
    try:
        done = subprocess.run([program, option], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


def file_system_of(folder: Path) -> str:
    """The type of the file system that holds `folder`."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, name, *_ = line.split()
        inside = str(folder.resolve()).startswith(mount.rstrip("/") + "/") or mount == "/"
        if inside and len(mount) >= len(best):
            best, kind = mount, name
    return kind


def describe(tools: Tools, folder: Path) -> dict[str, str]:
    memory_kib = int(first_match("/proc/meminfo", r"^MemTotal:\s+(\d+)") or 0)
    return {
        "processor": first_match("/proc/cpuinfo", r"^model name\s*:\s*(.*)$"),
        "processors": str(os.cpu_count()),
        "memory": f"{memory_kib / (1 << 20):.0f} GiB",
        "kernel": f"Linux {platform.release()}",
        "virtual machine": "yes" if "hypervisor" in first_match("/proc/cpuinfo", r"^flags\s*:\s*(.*)$") else "no",
        "file system": file_system_of(folder),
        "peers": tools.peers,
        "blockexportd": version_of(tools.ours),
        "qemu-storage-daemon": version_of(tools.qsd),
        "nbdkit": version_of(tools.nbdkit),
        "nbd-server": version_of(tools.nbd_server, "-V"),
        "nbdcopy": version_of(tools.nbdcopy),
    }


def unwritten_bytes() -> int:
    dirty = first_match("/proc/meminfo", r"^Dirty:\s+(\d+)")
    writeback = first_match("/proc/meminfo", r"^Writeback:\s+(\d+)")
    return (int(dirty) + int(writeback)) << 10


def wait_until_quiet() -> bool:
    """Waits until writeback is nearly complete; False if that takes too long."""
    deadline = time.monotonic() + QUIET_PATIENCE_S
    while unwritten_bytes() > QUIET_BYTES:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True

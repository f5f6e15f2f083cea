#!/usr/bin/env python3
"""The benchmark's own test: the load generator against every control for a moment, and its checks against wrong data.

    bench/smoke_test.py NBDLOAD CONTROL IMAGE_TOOL
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE_S = 30
LOADS = (
    ["--workload=randread", "--depth=32"],
    ["--workload=randread", "--depth=32", "--replies=simple"],
    ["--workload=mix", "--depth=8", "--connections=4", "--block=64K"],
    ["--workload=seqread", "--depth=4", "--block=1M"],
    ["--workload=seqwrite", "--depth=4", "--block=1M"],
    ["--workload=randread", "--depth=16", "--ops=4096", "--lockstep", "--check-every=1"],
)


def load(nbdload: str, socket: Path, *options: str) -> dict:
    done = subprocess.run([nbdload, f"--socket={socket}", *options], capture_output=True, text=True,
                          timeout=PATIENCE_S, check=False)
    if not done.stdout.strip():
        raise AssertionError(done.stderr.strip())
    result = json.loads(done.stdout)
    if (result["errors"] == 0) != (done.returncode == 0):
        raise AssertionError(f"status {done.returncode} with {result['errors']} errors")
    return result


def wait_for(socket: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not socket.exists() and time.monotonic() < deadline:
        time.sleep(0.005)


def exercise(nbdload: str, control: str, image: Path, mode: str, socket: Path) -> None:
    """Every workload against one control; each must give operations and no errors."""
    with subprocess.Popen([control, f"--mode={mode}", f"--image={image}", f"--socket={socket}"]) as server:
        try:
            wait_for(socket)
            measured = [f"--server-pid={server.pid}", "--latency", "--ms=30"]
            for options in LOADS:
                # The memory control serves no pattern.
                blind = ["--check-every=0"] if mode == "memory" else []
                result = load(nbdload, socket, *measured, *options, *blind)
                assert result["errors"] == 0, result
                assert result["ops"] > 0 and result["server_cpu_ns_per_op"] > 0, result
                assert result["p50_us"] <= result["p99_us"], result
            assert load(nbdload, socket, "--mode=map", "--passes=2", "--expect-extents=1")["errors"] == 0
            if mode != "memory":
                assert load(nbdload, socket, "--mode=rate", "--ms=30")["connections"] > 0
                assert load(nbdload, socket, "--mode=idle", "--ms=1", "--connections=20")["newcomer_served"] == 1
        finally:
            server.terminate()


def catches_wrong_data(nbdload: str, control: str, image: Path, socket: Path) -> None:
    """One wrong byte is found; writes of another salt arrive."""
    with open(image, "r+b") as file:
        file.seek(5 * 4096 + 100)
        byte = file.read(1)[0]
        file.seek(5 * 4096 + 100)
        file.write(bytes([byte ^ 1]))
    with subprocess.Popen([control, f"--image={image}", f"--socket={socket}"]) as server:
        try:
            wait_for(socket)
            whole = ["--depth=8", f"--ops={image.stat().st_size // 4096}", "--check-every=1"]
            assert load(nbdload, socket, "--workload=seqread", *whole)["wrong_data"] == 1
            assert load(nbdload, socket, "--workload=seqwrite", "--salt=7", *whole)["errors"] == 0
            assert load(nbdload, socket, "--workload=seqread", "--salt=7", *whole)["errors"] == 0
            assert load(nbdload, socket, "--workload=seqread", *whole)["wrong_data"] > 0
        finally:
            server.terminate()


def main(nbdload: str, control: str, image_tool: str) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-smoke-") as folder:
        image = Path(folder) / "image"
        subprocess.run([image_tool, f"--path={image}", "--size=8M"], check=True, timeout=PATIENCE_S)
        for mode in ("pread", "mmap", "sendfile", "memory"):
            exercise(nbdload, control, image, mode, Path(folder) / f"{mode}.sock")
        catches_wrong_data(nbdload, control, image, Path(folder) / "wrong.sock")


if __name__ == "__main__":
    main(*sys.argv[1:])

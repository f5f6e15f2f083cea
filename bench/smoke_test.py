#!/usr/bin/env python3
"""Test of the benchmark: runs the load generator briefly against every control, and tests its checks with wrong data.

    bench/smoke_test.py NBDLOAD CONTROL IMAGE_TOOL
"""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness.credentials import PSK, X509, make_credentials_with  # noqa: E402

PATIENCE_S = 30
LOADS = (
    ["--workload=randread", "--depth=32"],
    ["--workload=randread", "--depth=32", "--replies=simple"],
    ["--workload=mix", "--depth=8", "--connections=4", "--block=64K"],
    ["--workload=seqread", "--depth=4", "--block=1M"],
    ["--workload=seqwrite", "--depth=4", "--block=1M"],
    ["--workload=randread", "--depth=16", "--ops=4096", "--lockstep", "--check-every=1"],
)


def load(nbdload: str, path: Path, *options: str) -> dict:
    done = subprocess.run([nbdload, f"--socket={path}", *options], capture_output=True, text=True,
                          timeout=PATIENCE_S, check=False)
    if not done.stdout.strip():
        raise AssertionError(done.stderr.strip())
    result = json.loads(done.stdout)
    if (result["errors"] == 0) != (done.returncode == 0):
        raise AssertionError(f"status {done.returncode} with {result['errors']} errors")
    return result


def wait_for(path: Path) -> None:
    """Waits until the server listens; the path of a Unix socket exists a moment earlier."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            return
        time.sleep(0.005)
    raise AssertionError(f"nobody listens on {path}")


def exercise(nbdload: str, control: str, image: Path, mode: str, path: Path) -> None:
    """Runs every workload against one control; each must complete operations without errors."""
    with subprocess.Popen([control, f"--mode={mode}", f"--image={image}", f"--socket={path}"]) as server:
        try:
            wait_for(path)
            measured = [f"--server-pid={server.pid}", "--latency"]
            cpu_ns = 0
            for options in LOADS:
                # The memory control does not serve the pattern.
                blind = ["--check-every=0"] if mode == "memory" else []
                result = load(nbdload, path, "--ops=64", *measured, *options, *blind)
                assert result["errors"] == 0, result
                assert result["ops"] > 0, result
                assert result["p50_us"] <= result["p99_us"], result
                cpu_ns += result["server_cpu_ns"]
            # The kernel counts the time of a thread that keeps running only at the next tick: a load may see none.
            assert cpu_ns > 0, mode
            # In so short a time there may be no operation, since a busy machine may not schedule this test.
            timed = load(nbdload, path, "--ms=30", "--check-every=0")
            assert timed["errors"] == 0 and timed["seconds"] >= 0.03, timed
            assert load(nbdload, path, "--mode=map", "--passes=2", "--expect-extents=1")["errors"] == 0
            if mode != "memory":
                assert load(nbdload, path, "--mode=rate", "--ms=30")["connections"] > 0
                assert load(nbdload, path, "--mode=idle", "--ms=1", "--connections=20")["newcomer_served"] == 1
        finally:
            server.terminate()


def catches_wrong_data(nbdload: str, control: str, image: Path, path: Path) -> None:
    """Tests that one wrong byte is detected, and that writes with another salt reach the image."""
    with open(image, "r+b") as file:
        file.seek(5 * 4096 + 100)
        byte = file.read(1)[0]
        file.seek(5 * 4096 + 100)
        file.write(bytes([byte ^ 1]))
    with subprocess.Popen([control, f"--image={image}", f"--socket={path}"]) as server:
        try:
            wait_for(path)
            whole = ["--depth=8", f"--ops={image.stat().st_size // 4096}", "--check-every=1"]
            assert load(nbdload, path, "--workload=seqread", *whole)["wrong_data"] == 1
            assert load(nbdload, path, "--workload=seqwrite", "--salt=7", *whole)["errors"] == 0
            assert load(nbdload, path, "--workload=seqread", "--salt=7", *whole)["errors"] == 0
            assert load(nbdload, path, "--workload=seqread", *whole)["wrong_data"] > 0
        finally:
            server.terminate()


def makes_images(nbdload: str, control: str, image_tool: str, folder: Path) -> None:
    """Tests the images of the qcow2 cells: pieces that start later, compressible content, and a rewrite in place."""
    def make(name: str, *options: str) -> Path:
        path = folder / name
        subprocess.run([image_tool, f"--path={path}", *options], check=True, timeout=PATIENCE_S)
        return path

    dense = make("dense", "--size=1M").read_bytes()
    parts = [make("part", "--size=1M", f"--first={64 * number}K", "--data=64K", "--hole=192K").read_bytes()
             for number in range(4)]
    piece = 64 << 10
    for at in range(0, 1 << 20, piece):
        for number, part in enumerate(parts):
            mine = at // piece % 4 == number
            assert part[at:at + piece] == (dense[at:at + piece] if mine else bytes(piece)), (at, number)

    words = make("words", "--size=1M", "--vocabulary=256")
    before = words.read_bytes()
    assert len(before) == 1 << 20 and before != dense
    assert len(zlib.compress(dense)) > 1 << 20 and len(zlib.compress(before)) < 1 << 19
    assert make("words", "--dirty=300K").read_bytes() == before
    path = folder / "words.sock"
    with subprocess.Popen([control, f"--image={words}", f"--socket={path}"]) as server:
        try:
            wait_for(path)
            reads = ["--depth=8", "--ops=256", "--check-every=1"]
            assert load(nbdload, path, "--vocabulary=256", *reads)["errors"] == 0
            assert load(nbdload, path, *reads)["wrong_data"] == 256
        finally:
            server.terminate()


def exercise_tls(nbdload: str, control: str, image: Path, folder: Path) -> None:
    """Runs every workload with TLS against the control and an independent server, with both kinds of credentials."""
    nbdkit, certtool = shutil.which("nbdkit"), shutil.which("certtool")
    if not certtool:
        print("TLS is not tried: certtool is not installed")
        return
    made = make_credentials_with(certtool, folder)
    path = folder / "tls.sock"
    for kind, option in ((X509, f"--tls-certificates={made.x509}"), (PSK, f"--tls-psk={made.key_file}")):
        tls = made.client_args(kind)
        exercise_tls_on([control, f"--image={image}", f"--socket={path}", *tls], nbdload, path, tls)
        if nbdkit:
            command = [nbdkit, "-f", "-U", str(path), "--tls=require", option, "file", str(image)]
            exercise_tls_on(command, nbdload, path, tls)
        else:
            print("TLS is tried with the control alone: nbdkit is not installed")


def exercise_tls_on(command: list[str], nbdload: str, path: Path, tls: list[str]) -> None:
    """Runs every workload with TLS against one server."""
    path.unlink(missing_ok=True)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(path)
            for options in LOADS:
                result = load(nbdload, path, "--export=disk", "--ops=64", "--check-every=1", *tls, *options)
                assert result["ops"] > 0 and result["cipher"].startswith("TLS1.3 "), result
            one = load(nbdload, path, "--export=disk", "--ops=64", *tls,
                       "--tls-priority=NORMAL:+PSK:-CIPHER-ALL:+AES-128-GCM")
            assert one["cipher"] == "TLS1.3 AES-128-GCM", one
            assert load(nbdload, path, "--export=disk", "--mode=rate", "--ms=30", *tls)["connections"] > 0
            idle = load(nbdload, path, "--export=disk", "--mode=idle", "--ms=1", "--connections=5", *tls)
            assert idle["newcomer_served"] == 1, idle
        finally:
            server.terminate()


def refuses_tls_that_is_not_there(nbdload: str, control: str, image: Path, folder: Path) -> None:
    """Tests that a server without TLS is an error, not measured without encryption."""
    keys = folder / "keys.psk"
    keys.write_text("bench:00112233\n", encoding="ascii")
    path = folder / "plain.sock"
    with subprocess.Popen([control, f"--image={image}", f"--socket={path}"]) as server:
        try:
            wait_for(path)
            done = subprocess.run([nbdload, f"--socket={path}", f"--tls-psk={keys}"], capture_output=True, text=True,
                                  timeout=PATIENCE_S, check=False)
            assert done.returncode == 2 and "TLS" in done.stderr, done
        finally:
            server.terminate()


def main(nbdload: str, control: str, image_tool: str) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-smoke-") as folder:
        image = Path(folder) / "image"
        subprocess.run([image_tool, f"--path={image}", "--size=8M"], check=True, timeout=PATIENCE_S)
        for mode in ("pread", "mmap", "sendfile", "memory"):
            exercise(nbdload, control, image, mode, Path(folder) / f"{mode}.sock")
        exercise_tls(nbdload, control, image, Path(folder))
        makes_images(nbdload, control, image_tool, Path(folder))
        refuses_tls_that_is_not_there(nbdload, control, image, Path(folder))
        catches_wrong_data(nbdload, control, image, Path(folder) / "wrong.sock")


if __name__ == "__main__":
    main(*sys.argv[1:])

#!/usr/bin/env python3
"""The benchmark's own test: the load generator against every control for a moment, and its checks against wrong data.

    bench/smoke_test.py NBDLOAD CONTROL IMAGE_TOOL
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
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


def exercise_tls(nbdload: str, control: str, image: Path, folder: Path) -> None:
    """Every workload under TLS, against the control and a server that other people wrote; both kinds of credentials."""
    nbdkit, certtool = shutil.which("nbdkit"), shutil.which("certtool")
    if not certtool:
        print("TLS is not tried: certtool is not installed")
        return
    made = make_credentials_with(certtool, folder)
    socket = folder / "tls.sock"
    for kind, option in ((X509, f"--tls-certificates={made.x509}"), (PSK, f"--tls-psk={made.key_file}")):
        tls = made.client_args(kind)
        exercise_tls_on([control, f"--image={image}", f"--socket={socket}", *tls], nbdload, socket, tls)
        if nbdkit:
            command = [nbdkit, "-f", "-U", str(socket), "--tls=require", option, "file", str(image)]
            exercise_tls_on(command, nbdload, socket, tls)
        else:
            print("TLS is tried with the control alone: nbdkit is not installed")


def exercise_tls_on(command: list[str], nbdload: str, socket: Path, tls: list[str]) -> None:
    """Every workload under TLS against one server."""
    socket.unlink(missing_ok=True)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(socket)
            for options in LOADS:
                result = load(nbdload, socket, "--export=disk", "--ops=64", "--check-every=1", *tls, *options)
                assert result["ops"] > 0 and result["cipher"].startswith("TLS1.3 "), result
            one = load(nbdload, socket, "--export=disk", "--ops=64", *tls,
                       "--tls-priority=NORMAL:+PSK:-CIPHER-ALL:+AES-128-GCM")
            assert one["cipher"] == "TLS1.3 AES-128-GCM", one
            assert load(nbdload, socket, "--export=disk", "--mode=rate", "--ms=30", *tls)["connections"] > 0
            idle = load(nbdload, socket, "--export=disk", "--mode=idle", "--ms=1", "--connections=5", *tls)
            assert idle["newcomer_served"] == 1, idle
        finally:
            server.terminate()


def refuses_tls_that_is_not_there(nbdload: str, control: str, image: Path, folder: Path) -> None:
    """A server without TLS is named as one, not measured in clear."""
    keys = folder / "keys.psk"
    keys.write_text("bench:00112233\n", encoding="ascii")
    socket = folder / "plain.sock"
    with subprocess.Popen([control, f"--image={image}", f"--socket={socket}"]) as server:
        try:
            wait_for(socket)
            done = subprocess.run([nbdload, f"--socket={socket}", f"--tls-psk={keys}"], capture_output=True, text=True,
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
        refuses_tls_that_is_not_there(nbdload, control, image, Path(folder))
        catches_wrong_data(nbdload, control, image, Path(folder) / "wrong.sock")


if __name__ == "__main__":
    main(*sys.argv[1:])

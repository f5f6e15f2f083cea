#!/usr/bin/env python3
"""The cost of reads of a LUKS disk: processor time of the server per MiB, beside its parts.

    bench/luks_cost.py --build build                prints a line for each state, in microseconds per MiB
    bench/luks_cost.py --build build --rounds 40    with narrower intervals

One process exports the same bytes three times: "sent", a raw image, whose bytes the kernel sends straight from the page
cache; "copied", a qcow2 image, whose bytes are read into memory and sent from there; and "luks", with AES-256 in the
mode XTS. "cipher" is the cipher alone, in memory that the processor's caches hold (bench_cipher). They are measured in
turn, in another order every round; the ratios are medians of ratios within a round:

    luks / (cipher + sent)      the goal is 1.1, which no server can reach that reads bytes in order to decrypt them
    luks / (cipher + copied)    what our path adds to a read into memory, the cipher and a send from memory
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness.machine import describe  # noqa: E402
from harness.stats import ratio_of  # noqa: E402
from harness.tools import BenchError, CLIENT_CPU, SERVER_CPU, Tools, find_tools, pinned, run_json  # noqa: E402

FOLDER = Path(__file__).resolve().parent
MEMORY = "/dev/shm"
PATIENCE_S = 30.0
SEED = 20
PASSPHRASE = "passphrase of the benchmark"
EXPORTS = ("sent", "copied", "luks")
MIB = 1 << 20


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=FOLDER.parent / "build")
    parser.add_argument("--ours", help="the blockexportd to measure")
    parser.add_argument("--folder", default=MEMORY, help="where the images are made")
    parser.add_argument("--mib", type=int, default=256, help="size of each image, and length of a measurement")
    parser.add_argument("--block", default="1M", help="length of a read")
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    return parser.parse_args(arguments)


def fill(path: Path, mib: int, seed: int) -> None:
    chance = random.Random(seed)
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(chance.randbytes(MIB))


class Server:
    """The server with its three exports."""

    def __init__(self, tools: Tools, folder: Path, mib: int):
        self.socket = folder / "socket"
        images = {name: folder / name for name in EXPORTS}
        fill(images["sent"], mib, SEED)
        self.run(tools.qemu_img, "convert", "-q", "-O", "qcow2", str(images["sent"]), str(images["copied"]))
        key = folder / "key"
        key.touch(mode=0o600)
        key.write_text(PASSPHRASE, encoding="ascii")
        # Its sectors have any content: a disk of random bytes is one like every other.
        self.run(tools.qemu_img, "create", "-q", "-f", "luks", "--object", f"secret,id=key,file={key}", "-o",
                 "key-secret=key,iter-time=200,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64",
                 str(images["luks"]), f"{mib}M")
        header_bytes = images["luks"].stat().st_size - mib * MIB
        with open(images["luks"], "r+b") as file:
            file.seek(header_bytes)
            file.write(images["sent"].read_bytes())
        command = [tools.ours, "--object", f"secret,id=key,file={key}",
                   "--blockdev", f"driver=file,node-name=sent,filename={images['sent']}",
                   "--blockdev", f"driver=qcow2,node-name=copied,file.driver=file,file.filename={images['copied']}",
                   "--blockdev", f"driver=file,node-name=encrypted,filename={images['luks']}",
                   "--blockdev", "driver=luks,node-name=luks,key-secret=key,file=encrypted",
                   "--nbd-server", f"addr.type=unix,addr.path={self.socket}"]
        for name in EXPORTS:
            command += ["--export", f"type=nbd,id={name},node-name={name},name={name}"]
        self.process = subprocess.Popen(pinned(tools, SERVER_CPU, command), stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_S
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise BenchError("blockexportd did not start")
            time.sleep(0.01)

    @staticmethod
    def run(program: str | None, *args: str) -> None:
        if program is None:
            raise BenchError("qemu-img is not installed")
        done = subprocess.run([program, *args], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(done.stderr.strip())

    def measure(self, tools: Tools, name: str, options: argparse.Namespace) -> dict:
        return run_json(pinned(tools, CLIENT_CPU, [
            tools.nbdload, f"--socket={self.socket}", f"--export={name}", "--workload=randread",
            f"--block={options.block}", f"--depth={options.depth}", f"--ops={options.mib}", "--check-every=0",
            "--allow-zeroes", f"--server-pid={self.process.pid}"]), PATIENCE_S)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def cost_us(result: dict) -> float:
    """Processor time of the server in microseconds per MiB."""
    bytes_all = result["megabytes_per_second"] * 1e6 * result["seconds"]
    return result["server_cpu_ns"] / 1e3 / (bytes_all / MIB)


def measure_all(server: Server, tools: Tools, cipher: str, options: argparse.Namespace) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in (*EXPORTS, "cipher")}
    order = list(found)
    chance = random.Random(SEED)
    for _ in range(options.rounds):
        chance.shuffle(order)
        for name in order:
            if name == "cipher":
                found[name].append(run_json(pinned(tools, SERVER_CPU, [cipher, f"--mib={options.mib}"]),
                                            PATIENCE_S)["cpu_us_per_mib"])
            else:
                found[name].append(cost_us(server.measure(tools, name, options)))
    return found


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    tools = find_tools(options.build.resolve(), options.ours)
    cipher = options.build.resolve() / "bench" / "bench_cipher"
    if not cipher.exists():
        raise BenchError("bench_cipher is not built: it needs GnuTLS")
    with tempfile.TemporaryDirectory(prefix="luks-cost-", dir=options.folder) as name:
        machine = describe(tools, Path(name))
        print(", ".join(f"{what}: {machine[what]}" for what in ("processor", "processors", "kernel", "blockexportd")))
        server = Server(tools, Path(name), options.mib)
        try:
            found = measure_all(server, tools, str(cipher), options)
        finally:
            server.end()
    for state, values in found.items():
        print(f"{state + ':':8} {statistics.median(values):7.1f} us per MiB")
    for other in ("sent", "copied"):
        parts = [one + rest for one, rest in zip(found["cipher"], found[other], strict=True)]
        ratio = ratio_of(found["luks"], parts)
        print(f"luks / (cipher + {other}): {ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchError as error:
        sys.exit(f"bench: {error}")

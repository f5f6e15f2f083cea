#!/usr/bin/env python3
"""Draws docs/top.svg: what `blockexport top` shows of a real daemon with real clients, as a terminal shows it.

tools/record_top.py [--programs build] [--output docs/top.svg]

It starts a daemon with three images, lets fio read and write them, runs `blockexport top` in a terminal of its own for
a few seconds, and draws the last screen. It needs fio with its nbd engine. Nothing in the picture is invented: each run
gives the numbers of that run.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import html
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COLUMNS, ROWS = 110, 16
SECONDS = 6.0
# Time for a process to end when it is asked to.
PATIENCE_S = 10.0
# Export, and what its client does: pattern, block size, depth and limit of its rate.
LOADS = (("vm1-vda", "randread", "16k", 16, "60m"), ("vm1-vda", "randwrite", "8k", 4, "6m"),
         ("vm2-vda", "write", "256k", 4, "35m"), ("backup", "read", "1m", 2, "90m"))
IMAGE_BYTES = 256 << 20


class Screen:
    """What a terminal shows after the sequences that the tool writes: home, erasing, and the two screens."""

    def __init__(self) -> None:
        self.lines = [[" "] * COLUMNS for _ in range(ROWS)]
        self.row = self.column = 0

    def write(self, text: str) -> None:
        """Takes output of the tool."""
        for part in re.findall(r"\x1b\[\??[0-9;]*[A-Za-z]|.", text, re.S):
            if part == "\x1b[H":
                self.row = self.column = 0
            elif part == "\x1b[K":
                self.lines[self.row][self.column:] = [" "] * (COLUMNS - self.column)
            elif part == "\x1b[J":
                self.lines[self.row][self.column:] = [" "] * (COLUMNS - self.column)
                self.lines[self.row + 1:] = [[" "] * COLUMNS for _ in range(ROWS - self.row - 1)]
            elif part == "\r":
                self.column = 0
            elif part == "\n":
                self.row = min(self.row + 1, ROWS - 1)
            elif not part.startswith("\x1b") and self.column < COLUMNS:
                self.lines[self.row][self.column] = part
                self.column += 1

    def text(self) -> list[str]:
        """Its lines without blanks at the end."""
        return ["".join(line).rstrip() for line in self.lines]


def show_top(program: str, monitor: str) -> list[str]:
    """Runs the tool in a terminal for SECONDS, ends it with the key q, and returns its last screen."""
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.execv(program, [program, "top", "--monitor", monitor])
    screen, seen, deadline, is_asked = Screen(), [], time.monotonic() + SECONDS, False
    with contextlib.suppress(OSError):  # the terminal's other end is closed
        while True:
            ready, _, _ = select.select([terminal], [], [], 0.1)
            if ready:
                data = os.read(terminal, 1 << 16)
                if not data:
                    break
                text = data.decode(errors="replace")
                # The end restores the other screen: what was shown before is meant.
                screen.write(text.split("\x1b[?25h")[0])
                seen = screen.text()
            if time.monotonic() >= deadline and not is_asked:
                os.write(terminal, b"q")
                is_asked = True
            if time.monotonic() >= deadline + PATIENCE_S:
                os.kill(child, signal.SIGKILL)
    os.close(terminal)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        raise SystemExit("blockexport top failed:\n" + "\n".join(seen))
    return seen


def draw(lines: list[str], command: str) -> str:
    """The screen as SVG."""
    width, height, line = COLUMNS * 8 + 40, (len(lines) + 2) * 19 + 34, 19
    rows = [f"$ {command}", *lines]
    texts = "\n".join(
        f'<text x="20" y="{46 + number * line}"{" class=" + chr(34) + "head" + chr(34) if is_head(row) else ""}>'
        f"{html.escape(row).replace(' ', '&#160;')}</text>"
        for number, row in enumerate(rows) if row)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<title>blockexport top</title>
<style>
rect {{ fill: #ffffff; stroke: #c8c8c8 }}
text {{ font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1f2328 }}
.head {{ font-weight: bold }}
@media (prefers-color-scheme: dark) {{
  rect {{ fill: #0d1117; stroke: #3d444d }}
  text {{ fill: #d1d7e0 }}
}}
</style>
<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>
{texts}
</svg>
"""


def is_head(row: str) -> bool:
    """Whether it is the head of a table."""
    return re.match(r"(EXPORT|CLIENT) ", row.strip()) is not None


def start(arguments: list[str], folder: str) -> subprocess.Popen:
    """A process without a terminal, in a group of its own: fio's jobs are processes too, and it changes a terminal."""
    with open(os.path.join(folder, "log"), "ab") as log:
        return subprocess.Popen(arguments, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                start_new_session=True)


def end(process: subprocess.Popen) -> None:
    """Ends a process and its children, by force when it does not end by itself."""
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        print(f"{process.args[0]} did not end", file=sys.stderr)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def start_daemon(programs: str, folder: str) -> subprocess.Popen:
    """A daemon with three exports; it is ready when this returns."""
    arguments = [os.path.join(programs, "blockexportd"), "--chardev", "socket,id=m,path=qmp.sock,server=on,wait=off",
                 "--monitor", "m", "--nbd-server", "addr.type=unix,addr.path=nbd.sock", "--pidfile", "daemon.pid"]
    for name in sorted({load[0] for load in LOADS}):
        with open(os.path.join(folder, f"{name}.img"), "wb") as file:
            file.truncate(IMAGE_BYTES)
        arguments += ["--blockdev", f"file,node-name={name},filename={name}.img",
                      "--export", f"nbd,id={name},node-name={name},writable=on"]
    daemon = start(arguments, folder)
    deadline = time.monotonic() + 20
    while not os.path.exists(os.path.join(folder, "daemon.pid")):
        if daemon.poll() is not None or time.monotonic() > deadline:
            daemon.kill()
            raise SystemExit("the daemon does not start")
        time.sleep(0.05)
    return daemon


def start_loads(folder: str) -> list[subprocess.Popen]:
    """The clients, which go on until they are ended."""
    return [start(
        ["fio", f"--name={name}", "--ioengine=nbd", f"--uri=nbd+unix:///{name}?socket={folder}/nbd.sock", f"--rw={rw}",
         f"--bs={block}", f"--iodepth={depth}", f"--rate={rate}", f"--size={IMAGE_BYTES}", "--time_based",
         "--runtime=600", "--loops=1000000"],
        folder) for name, rw, block, depth, rate in LOADS]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", default=os.path.join(ROOT, "build"))
    parser.add_argument("--output", default=os.path.join(ROOT, "docs", "top.svg"))
    options = parser.parse_args()
    programs = os.path.abspath(options.programs)
    folder = tempfile.mkdtemp(prefix="bxd-")
    running: list[subprocess.Popen] = []
    try:
        running.append(start_daemon(programs, folder))
        running += start_loads(folder)
        lines = show_top(os.path.join(programs, "blockexport"), os.path.join(folder, "qmp.sock"))
    finally:
        for process in reversed(running):
            end(process)
        shutil.rmtree(folder, ignore_errors=True)
    while lines and not lines[-1]:
        lines.pop()
    print("\n".join(lines))
    with open(options.output, "w", encoding="utf-8") as file:
        file.write(draw(lines, "blockexport top"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

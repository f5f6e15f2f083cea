#!/usr/bin/env python3
"""Packs the root that packaging/container/make_root.sh made as a file for `podman load` and `docker load`.

tools/image_file.py ROOT FILE [--tag NAME:TAG]

The file is a docker archive (a tar of a layer, its configuration and a manifest), so neither a container engine nor a
registry is needed to make it. The configuration is read from packaging/container/Containerfile.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import re
import sys
import tarfile
import time

USER = 65532
# Where the user of the image may write, below the root.
OWN = ("run/blockexport", "var/lib/blockexport")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def instructions(path: str) -> dict[str, list[str]]:
    """The instructions of the last stage: the texts behind each word."""
    with open(path, encoding="utf-8") as file:
        stage = re.split(r"^FROM scratch\n", file.read(), flags=re.M)[1]
    found: dict[str, list[str]] = {}
    for word, text in re.findall(r"^([A-Z]+) (.*)$", stage, re.M):
        found.setdefault(word, []).append(text)
    return found


def nanoseconds(text: str) -> int:
    """A duration such as 30s."""
    return int(text.removesuffix("s")) * 10**9


def configuration(stage: dict[str, list[str]]) -> dict:
    """What the engine does with the image."""
    health, command = stage["HEALTHCHECK"][0].split(" CMD ")
    times = dict(re.findall(r"--(\S+)=(\S+)", health))
    return {
        "User": stage["USER"][0],
        "Env": [text.strip() for text in stage["ENV"]],
        "Entrypoint": json.loads(stage["ENTRYPOINT"][0]),
        "Cmd": json.loads(stage["CMD"][0]),
        "Volumes": {path: {} for path in json.loads(stage["VOLUME"][0])},
        "ExposedPorts": {port: {} for port in stage["EXPOSE"]},
        "StopSignal": stage["STOPSIGNAL"][0],
        "Healthcheck": {"Test": ["CMD", *json.loads(command)], "Interval": nanoseconds(times["interval"]),
                        "Timeout": nanoseconds(times["timeout"]), "StartPeriod": nanoseconds(times["start-period"])},
    }


def seconds() -> int:
    """The time of all files: SOURCE_DATE_EPOCH makes two files equal."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))


def layer_of(root: str) -> bytes:
    """The root as a tar, sorted, with owners by number alone."""

    def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        is_own = any(entry.name == own or entry.name.startswith(own + "/") for own in OWN)
        entry.uid = entry.gid = USER if is_own else 0
        entry.uname = entry.gname = ""
        entry.mtime = seconds()
        return entry

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for folder, folders, files in os.walk(root):
            folders.sort()
            for name in sorted([*folders, *files]):
                path = os.path.join(folder, name)
                tar.add(path, os.path.relpath(path, root), recursive=False, filter=owned)
    return packed.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A file of the archive."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    entry.mtime = seconds()
    tar.addfile(entry, io.BytesIO(data))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root")
    parser.add_argument("file")
    parser.add_argument("--tag", default="blockexportd:latest")
    options = parser.parse_args(arguments)
    place = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    stage = instructions(os.path.join(place, "packaging", "container", "Containerfile"))
    layer = layer_of(options.root)
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps({
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds())),
        "config": configuration(stage),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }, sort_keys=True).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [options.tag], "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(options.file, "w") as tar:
        add(tar, f"{digest}/layer.tar", layer)
        add(tar, config_name, config)
        add(tar, "manifest.json", json.dumps(manifest).encode())
    print(f"{options.file}: {os.path.getsize(options.file) / 1e6:.1f} MB, {options.tag}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

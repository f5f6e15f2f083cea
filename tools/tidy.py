#!/usr/bin/env python3
"""Checks that the tree keeps the rules of STYLE.md: tools/tidy.py [--root DIR] [--headers BUILD_DIR] [RULE...]

Without --headers it reads the files only; with it, it compiles each header of src/ alone. Prints one line per finding
and exits 1 if there is any. Limits and layers are in tools/layers.toml, the banned names in tidy_rules/names.py.
"""

import argparse
import pathlib
import sys
import tomllib

from tidy_rules import (
    awaits, calls, cited_rules, coroutines, cycles, documented, headers, layers, limits, names, peer_log, sizes,
    test_bodies, text, tree)

RULES = {
    "awaits": awaits.check,
    "calls": calls.check,
    "cited_rules": cited_rules.check,
    "coroutines": coroutines.check,
    "cycles": cycles.check,
    "documented": documented.check,
    "layers": layers.check,
    "limits": limits.check,
    "names": names.check,
    "peer_log": peer_log.check,
    "sizes": sizes.check,
    "tests": test_bodies.check,
    "text": text.check,
}


def load_settings(root):
    """The root's own tools/layers.toml; a tree without one is checked with the file beside this program."""
    for place in (root / "tools/layers.toml", pathlib.Path(__file__).with_name("layers.toml")):
        if place.is_file():
            return tomllib.loads(place.read_text(encoding="utf-8"))
    raise SystemExit("tidy: tools/layers.toml is missing")


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--headers", type=pathlib.Path, metavar="BUILD_DIR", help="compile each header of src/ alone")
    parser.add_argument("rules", nargs="*", metavar="RULE", help=f"of {', '.join(RULES)}; default all")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.rules) - set(RULES))
    if unknown:
        parser.error(f"unknown rule {unknown[0]}")

    files = tree.load(options.root)
    if options.headers:
        findings = headers.check(files, options.root, options.headers)
    else:
        settings = load_settings(options.root)
        findings = []
        for name in options.rules or RULES:
            findings += RULES[name](files, settings)
    for finding in sorted(set(findings)):
        print(finding)
    print(f"tidy: {len(files)} files, {len(set(findings))} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

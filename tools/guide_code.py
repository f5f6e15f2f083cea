#!/usr/bin/env python3
"""Writes the code that a page shows to a file: tools/guide_code.py PAGE NAME OUTPUT

It takes the fenced blocks of the page that begin with ```cpp NAME, in their order, and puts an empty line between two
of them. OUTPUT is a path; - is standard output.
"""

import pathlib
import re
import sys

BLOCK = re.compile(r"^```cpp +(?P<name>\S+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


def code_of(page, name):
    """The blocks of that name in the text of a page, joined; empty when there are none."""
    return "\n".join(match["code"] for match in BLOCK.finditer(page) if match["name"] == name)


def main(arguments):
    if len(arguments) != 3:
        sys.exit(__doc__.splitlines()[0])
    page, name, output = arguments
    code = code_of(pathlib.Path(page).read_text(encoding="utf-8"), name)
    if not code:
        sys.exit(f"{page}: no block of code begins with ```cpp {name}")
    if output == "-":
        sys.stdout.write(code)
        return
    path = pathlib.Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Feeds the compiler with damaged schemas: whatever is wrong with one, only SchemaError may come of it.

    python3 tools/qapic/fuzz.py --seconds 600 --seed 1 schema/*.json

prints the seed of each run, and on a finding writes the schema that caused it.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import traceback

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from qapic.condition import Features
from qapic.emit.docs import emit_docs
from qapic.errors import SchemaError
from qapic.main import compile_schema, generate

FEATURES = Features({"HAVE_IPPROTO_MPTCP": True, "CONFIG_PRESENT": True, "CONFIG_ABSENT": False, "YES": True})
WORDS = (
    "{ } [ ] : , ' # ## * true false null @ - _ \\ 0 é \n \t '' 'if' 'data' 'base' 'type' 'name' 'features' 'boxed' "
    "'struct' 'union' 'enum' 'alternate' 'command' 'event' 'include' 'pragma' 'discriminator' 'returns' 'gen' 'not' "
    "'all' 'any' 'str' 'int' 'null' 'size' 'QType' 'YES' ['str'] {} [] {'a':'str'} 'deprecated' 'unstable'"
).split(" ")


def mutate(text: str, random_: random.Random, others: list[str]) -> str:
    """Damages a schema in a few places."""
    for _ in range(random_.choice((1, 1, 1, 2, 3, 8))):
        lines = text.split("\n")
        start = random_.randrange(len(text) + 1)
        end = min(len(text), start + random_.choice((1, 1, 2, 5, 20, 200)))
        choice = random_.randrange(9)
        if choice == 0:
            text = text[:start] + text[end:]
        elif choice == 1:
            text = text[:start] + random_.choice(WORDS) + text[start:]
        elif choice == 2:
            text = text[:start] + random_.choice(WORDS) + text[end:]
        elif choice == 3:
            text = text[:start] + text[start:end] * random_.choice((2, 3, 50)) + text[end:]
        elif choice == 4:
            text = swap_strings(text, random_)
        elif choice == 5:
            index = random_.randrange(len(lines))
            text = "\n".join(lines[:index] + lines[index + 1 :])
        elif choice == 6:
            index = random_.randrange(len(lines))
            text = "\n".join(lines[:index] + [random_.choice(lines)] + lines[index:])
        elif choice == 7:
            other = random_.choice(others)
            at = random_.randrange(len(other) + 1)
            text = text[:start] + other[at : at + random_.randrange(400)] + text[start:]
        else:
            text = text[:start] + chr(random_.choice((0, 1, 9, 13, 39, 92, 127, 233, 0x2028, 0x1F600))) + text[start:]
    return text


def swap_strings(text: str, random_: random.Random) -> str:
    """Puts one string in the place of another: names of types, members and keys change places."""
    parts = text.split("'")
    strings = range(1, len(parts) - 1, 2)
    if len(strings) >= 2:
        a, b = random_.choice(strings), random_.choice(strings)
        parts[a] = parts[b]
    return "'".join(parts)


def run_one(path: str) -> bool:
    """Compiles a file; true when it was a right schema. Anything but a SchemaError passes through."""
    try:
        schema = compile_schema(path, FEATURES)
        generate(schema, "schema")
        emit_docs(schema)
        return True
    except SchemaError as error:
        str(error)
        return False


def fuzz(paths: list[str], seed: int, seconds: float, runs: int | None = None) -> tuple[int, int]:
    """Runs until the time or the count is over. Returns (runs, schemas that were right). Raises what is found."""
    random_ = random.Random(seed)
    texts = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            texts.append(file.read())
    deadline = time.monotonic() + seconds
    done = right = 0
    with tempfile.TemporaryDirectory() as folder:
        for path, text in zip(paths, texts):
            with open(os.path.join(folder, os.path.basename(path)), "w", encoding="utf-8") as file:
                file.write(text)
        target = os.path.join(folder, "fuzzed.json")
        while time.monotonic() < deadline and (runs is None or done < runs):
            damaged = mutate(random_.choice(texts), random_, texts)
            with open(target, "w", encoding="utf-8") as file:
                file.write(damaged)
            try:
                right += run_one(target)
            except Exception as error:
                raise AssertionError(f"run {done} of seed {seed} ends in {error!r} for:\n{damaged}") from error
            done += 1
    return done, right


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("schemas", nargs="+")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    try:
        done, right = fuzz(options.schemas, seed, options.seconds)
    except AssertionError:
        traceback.print_exc()
        return 1
    print(f"{done} runs, {right} of them right schemas, no finding")
    return 0


if __name__ == "__main__":
    sys.exit(main())

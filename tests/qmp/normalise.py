"""Masks the parts of replies that differ between runs and programs, before replies are compared."""

import json
import re

PROGRAMS = r"(?:qemu-storage-daemon|blockexportd)"


def text(line, workdir):
    """Masks paths, program names, pids and generated names in a line of text."""
    line = line.replace(workdir, "DIR")
    line = re.sub(r"^/\S*/" + PROGRAMS + r"\b|^" + PROGRAMS + r"\b", "PROG", line)
    line = re.sub(r"\b" + PROGRAMS + r"\b", "PROG", line)
    line = re.sub(r"#block\d+", "#block000", line)
    return re.sub(r"(?<=PROG version )\S.*", "*", line)


UNORDERED = ("perm", "shared-perm", "capabilities")


def in_order(items):
    """Sorts the lists whose order means nothing: QSD gives them in the order of a hash table."""
    if all(isinstance(item, dict) for item in items):
        for key in ("label", "name"):
            if all(key in item and not {"drv", "node-name", "shutting-down"} & set(item) for item in items):
                return sorted(items, key=lambda item: str(item[key]))
    return items


def message(value, workdir):
    """Masks a message: timestamps go, generated names become #block000, paths begin with DIR."""
    if isinstance(value, dict):
        if "QMP" in value:
            value["QMP"]["version"] = "*"
        value.pop("timestamp", None)
        value = {key: message(item, workdir) for key, item in value.items()}
        if isinstance(value.get("actual-size"), int):
            value["actual-size"] = "*"
        for key in set(value) & set(UNORDERED):
            value[key] = sorted(value[key], key=str)
        return dict(sorted(value.items()))
    if isinstance(value, list):
        return in_order([message(item, workdir) for item in value])
    if isinstance(value, str) and value.startswith("json:{"):
        return "json:" + json.dumps(message(json.loads(value[5:]), workdir))
    if isinstance(value, str):
        return text(value, workdir)
    return value


# The text that stands in an answer for something that the server which gave it does not tell.
NOT_TOLD = "(not told)"


def matches(expected, found):
    """True when an expected value with its wildcards fits what was found."""
    if expected == "*" or found == NOT_TOLD:
        return True
    if isinstance(expected, dict) and isinstance(found, dict):
        more = "..." in expected
        keys = set(expected) - {"..."}
        if not more and keys != set(found):
            return False
        return all(key in found and matches(expected[key], found[key]) for key in keys)
    if isinstance(expected, str) and "*" in expected and isinstance(found, str):
        return fits_text(expected, found)
    if isinstance(expected, list) and isinstance(found, list):
        if "..." in expected:
            return all(any(matches(item, candidate) for candidate in found) for item in expected if item != "...")
        return len(expected) == len(found) and all(map(matches, expected, found))
    return type(expected) is type(found) and expected == found


def fits(expected, found):
    """Compares an expected line with a found one: both JSON, or both text (in which * stands for anything)."""
    if found.startswith("{") and found.endswith("}"):
        try:
            return matches(json.loads(expected), json.loads(found))
        except json.JSONDecodeError:
            return False
    return fits_text(expected, found)


def fits_text(expected, found):
    """Compares two texts; * in the expected one stands for anything."""
    pattern = ".*".join(re.escape(part) for part in expected.split("*"))
    return re.fullmatch(pattern, found, re.DOTALL) is not None


def dump(value):
    """A message as a line."""
    line = json.dumps(value, ensure_ascii=False)
    return line if line.isprintable() and "\ufffd" not in line else json.dumps(value)

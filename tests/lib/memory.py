"""Search in the memory of another process."""

import contextlib
import re

MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)$")
# Wiped on fork: what a SecretBytes asks for, and nothing else.
SECRET_FLAG = "wf"


class Mapping:
    """One line of a process's memory map."""

    def __init__(self, begin, end, access, name):
        self.begin = begin
        self.end = end
        self.access = access
        self.name = name
        self.flags = []

    @property
    def is_secret(self):
        """Kept for secrets."""
        return SECRET_FLAG in self.flags

    def __repr__(self):
        return f"{self.begin:x}-{self.end:x} {self.access} {self.name or 'anonymous'} {' '.join(self.flags)}"


def mappings(pid):
    """The memory map of a process, in order of addresses."""
    found = []
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            if match := MAPPING.match(line):
                found.append(Mapping(int(match[1], 16), int(match[2], 16), match[3], match[4]))
            elif line.startswith("VmFlags:"):
                found[-1].flags = line.split()[1:]
    return found


def _content(memory, mapping):
    """Its bytes, as far as they can be read: those of a device, or of a file that was cut, cannot."""
    content = b""
    memory.seek(mapping.begin)
    with contextlib.suppress(OSError):
        while piece := memory.read(mapping.end - mapping.begin - len(content)):
            content += piece
    return content


def places_of(pid, needle):
    """The writable mappings with the bytes in them, once for each time. PermissionError: this user may not look."""
    places = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for mapping in mappings(pid):
            if not mapping.access.startswith("rw"):
                continue
            places += [mapping] * _content(memory, mapping).count(needle)
    return places

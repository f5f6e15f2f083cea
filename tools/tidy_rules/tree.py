"""The files of the tree as tidy sees them."""

import functools
import pathlib
import subprocess
from dataclasses import dataclass

from . import cpp

SKIPPED_FOLDERS = {".git", "__pycache__"}


@dataclass(frozen=True)
class SourceFile:
    """One text file: its path from the root with forward slashes, and what it says."""

    path: str
    text: str

    @property
    def suffix(self):
        return pathlib.PurePosixPath(self.path).suffix

    @property
    def name(self):
        return pathlib.PurePosixPath(self.path).name

    @property
    def is_cpp(self):
        return self.suffix in (".h", ".cc")

    @property
    def is_header(self):
        return self.suffix == ".h"

    @property
    def is_python(self):
        return self.suffix == ".py"

    @property
    def is_shell(self):
        return self.suffix == ".sh" or self.path == ".ci/run"

    @property
    def is_code(self):
        return self.is_cpp or self.is_python or self.is_shell or self.name in ("Makefile", "CMakeLists.txt") \
            or self.suffix in (".cmake", ".toml")

    @property
    def is_test(self):
        return self.path.endswith(("_test.cc", "_test.py")) or "/testing/" in self.path

    @property
    def source_folder(self):
        """The folder under src/ that the file belongs to ("block" for src/block/node.h), or None outside src/."""
        parts = pathlib.PurePosixPath(self.path).parts
        return parts[1] if len(parts) > 2 and parts[0] == "src" else None

    @property
    def source_path(self):
        """The path as an #include names it: rooted at src/."""
        return self.path.removeprefix("src/")

    @functools.cached_property
    def lines(self):
        return self.text.split("\n")

    @functools.cached_property
    def code(self):
        """C++ text with comments and literals blanked out; the same length and line structure as the text."""
        return cpp.blank(self.text)

    @functools.cached_property
    def comments(self):
        """C++ text with all but the comments blanked out."""
        return cpp.only_comments(self.text)


def listed_paths(root):
    """The paths that git tracks or would track; all files when the tree is not a git checkout."""
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "."]
    listing = subprocess.run(command, capture_output=True, check=False)
    if listing.returncode == 0:
        return sorted({entry.decode() for entry in listing.stdout.split(b"\0") if entry})
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and not SKIPPED_FOLDERS & set(path.relative_to(root).parts[:-1])
        and not path.relative_to(root).parts[0].startswith("build")
    )


def load(root):
    """Every text file of the tree; files that are not UTF-8 text (images, fuzz seeds) are left out."""
    files = []
    for path in listed_paths(root):
        place = root / path
        if not place.is_file() or place.is_symlink() or path.startswith("fuzz/seeds/"):
            continue
        content = place.read_bytes()
        if b"\0" in content:
            continue
        try:
            files.append(SourceFile(path, content.decode("utf-8")))
        except UnicodeDecodeError:
            continue
    return files

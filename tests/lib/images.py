"""Image files for tests: random, sparse, patterned; and their checksums."""

import ctypes
import hashlib
import os
import random
import subprocess
import tempfile

KIB = 1024
MIB = 1024 * 1024


def random_bytes(length, seed=1):
    """Bytes that do not repeat, the same for the same seed."""
    return random.Random(seed).randbytes(length)


def write_file(path, data):
    """Makes a file of just this content."""
    with open(path, "wb") as file:
        file.write(data)
    return path


def make_random(path, size, seed=1):
    """A file full of data."""
    return write_file(path, random_bytes(size, seed))


def make_empty(path, size):
    """A file that is one hole."""
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def make_sparse(path, size, extents, seed=1):
    """A file with data only in extents, a list of (offset, length)."""
    make_empty(path, size)
    with open(path, "r+b") as file:
        for offset, length in extents:
            file.seek(offset)
            file.write(random_bytes(length, seed + offset))
    return path


def read_range(path, offset, length):
    """Bytes of the file as they are on disk now."""
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)


def sha256(path):
    """The checksum of the whole file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(MIB):
            digest.update(block)
    return digest.hexdigest()


def data_ranges(path):
    """The (offset, length) of all data in the file as the file system tells."""
    ranges = []
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        offset = 0
        while offset < size:
            try:
                start = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError:
                break
            offset = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            ranges.append((start, offset - start))
    return ranges


def makes_holes(directory):
    """Whether the file system of a directory frees the space of a part of a file."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(bytes(4096))
        file.flush()
        # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE; the module os has no name for them.
        offset, length = ctypes.c_int64(0), ctypes.c_int64(4096)
        return ctypes.CDLL(None).fallocate(file.fileno(), 3, offset, length) == 0


def tells_lasting_holes(directory):
    """Whether the server remembers the holes of files in a directory: only such a file system tells all of them."""
    command = ["stat", "--file-system", "--format=%T", directory]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() in ("ext2/ext3", "xfs")


def knows_direct(path):
    """Whether the file can be opened past the page cache."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
        return True
    except OSError:
        return False


def allocated(path):
    """Bytes that the file takes on its file system."""
    return os.stat(path).st_blocks * 512

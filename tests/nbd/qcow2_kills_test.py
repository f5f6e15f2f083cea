"""kill -9 of the server while clients change a qcow2 image: what was flushed is there, and nothing is corrupt.

BLOCKEXPORT_KILLS sets the number of kills for each kind of image.
"""

import json
import os
import random
import threading
import unittest

from lib import daemon, images, nbd_raw, settings, tools, wait
from lib.images import KIB, MIB
from lib.nbd_wire import *

SIZE = 24 * MIB
SECTOR = 512
# Each writer has every fourth piece of this size: neighbours share clusters, and nobody else writes a sector.
PIECE = 104 * KIB
WRITERS = 4
KILLS = int(os.environ.get("BLOCKEXPORT_KILLS", "2"))


class Disk:
    """What a reader of the image may find: for each sector a set of contents."""

    def __init__(self, content):
        self.possible = [{content[at:at + SECTOR]} for at in range(0, SIZE, SECTOR)]

    def judge(self, content):
        """Sectors that nobody may have left so. The contents that are found become the only possible ones."""
        wrong = []
        for number, possible in enumerate(self.possible):
            sector = content[number * SECTOR:(number + 1) * SECTOR]
            if sector not in possible:
                wrong.append(number)
            self.possible[number] = {sector}
        return wrong


class Writer(threading.Thread):
    """Writes, zeroes, trims and flushes its own pieces of the disk until it loses its server."""

    def __init__(self, server, disk, number, seed, export):
        super().__init__()
        self.disk = disk
        self.random = random.Random(seed)
        self.pieces = range(number * PIECE, SIZE - PIECE, WRITERS * PIECE)
        self.last = {}  # sector: what it has once it is flushed, since the last flush
        self.requests = 0
        self.flushes = 0
        self.failure = None
        self.connection = nbd_raw.Connection(server.connect_nbd())
        self.connection.negotiate(export)

    def run(self):
        try:
            while True:
                self.request()
                self.requests += 1
        except (OSError, EOFError, nbd_raw.Closed):
            pass  # the server was killed
        except AssertionError as failure:
            self.failure = failure
        finally:
            self.connection.close()

    def request(self):
        """One request, with its effects on what may be found."""
        length = min(PIECE, self.random.choice((512, 4 * KIB, 4 * KIB, 64 * KIB, self.random.randrange(1, 208) * 512)))
        offset = self.random.choice(self.pieces) + self.random.randrange(0, (PIECE - length) // SECTOR + 1) * SECTOR
        action = self.random.choice(("write", "write", "write", "write", "durable", "zero", "trim", "flush"))
        sectors = range(offset // SECTOR, (offset + length) // SECTOR)
        if action == "flush":
            assert not self.connection.call(CMD_FLUSH).error, "FLUSH failed"
            self.flushed()
        elif action == "trim":
            self.allow(sectors, bytes(SECTOR))
            assert not self.connection.call(CMD_TRIM, offset, length).error, "TRIM failed"
            # The older content is possible too, also after a flush: a trim need not do anything.
            for sector in sectors:
                self.last[sector] = self.last.get(sector, self.disk.possible[sector]) | {bytes(SECTOR)}
        elif action == "zero":
            self.allow(sectors, bytes(SECTOR))
            assert not self.connection.call(CMD_WRITE_ZEROES, offset, length).error, "WRITE_ZEROES failed"
            self.last.update((sector, {bytes(SECTOR)}) for sector in sectors)
        else:
            content = self.random.randbytes(16) * (SECTOR // 16)
            self.allow(sectors, content)
            flags = FLAG_FUA if action == "durable" else 0
            assert not self.connection.write(offset, content * len(sectors), flags), "WRITE failed"
            self.last.update((sector, {content}) for sector in sectors)
            if action == "durable":
                self.flushed(sectors)

    def allow(self, sectors, content):
        """A request has begun."""
        for sector in sectors:
            self.disk.possible[sector] = self.disk.possible[sector] | {content}

    def flushed(self, sectors=None):
        """What was answered before is durable, in these sectors or in all."""
        for sector in list(self.last) if sectors is None else sectors:
            self.disk.possible[sector] = self.last.pop(sector)
        self.flushes += 1


class KillTest(unittest.TestCase):
    """Each round kills the server after a random number of requests, and looks at the image with QEMU's eyes."""

    compresses = False

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        if settings.is_qemu():
            self.skipTest("for our server")
        self.random = random.Random(self.id())

    def path(self, name):
        """A path in the private directory."""
        return os.path.join(self.workdir, name)

    def load(self, writers, number):
        """Lets the writers make requests, about that many, and kills the server."""
        node = {"driver": "qcow2", "node-name": "disk", "discard": "unmap", "detect-zeroes": "unmap",
                "file": {"driver": "file", "filename": self.path("disk"), "discard": "unmap"}}
        arguments = ["--blockdev", json.dumps(node), "--blockdev", "compress,node-name=packed,discard=unmap,file=disk"]
        for name in ("disk", "packed"):
            arguments += ["--export", f"nbd,id={name},node-name={name},name={name},writable=on"]
        server = daemon.Daemon(self.workdir, arguments)
        self.addCleanup(server.kill)
        server.start()
        # With compression, every other client writes to the disk as it is.
        exports = ["packed" if self.compresses and i % 2 == 0 else "disk" for i in range(WRITERS)]
        writers += [Writer(server, self.disk, i, self.random.random(), exports[i]) for i in range(WRITERS)]
        for writer in writers:
            writer.start()
        pause = threading.Event()
        while sum(writer.requests for writer in writers) < number and all(writer.is_alive() for writer in writers):
            pause.wait(0.0005)
        server.kill()
        for writer in writers:
            writer.join()
            if writer.failure:
                raise writer.failure
        self.assertGreaterEqual(sum(writer.requests for writer in writers), number)

    def check(self):
        """What qemu-img check finds."""

        def finished():
            result = tools.finish("qemu-img", "check", "--output=json", "-f", "qcow2", self.path("disk"))
            # The kernel keeps the locks of a killed process for a little longer than the process.
            return None if "Failed to get" in result.stderr else result

        result = wait.until(finished, what="the end of the locks")
        self.assertIn(result.returncode, (0, 2, 3), result.stderr)
        return json.loads(result.stdout)

    def run_rounds(self, options=(), backing=False, compresses=False):
        """The rounds, on one image that lives through all of them."""
        self.compresses = compresses
        content = bytes(SIZE)
        base = []
        if backing:
            content = images.random_bytes(SIZE, 5)
            base = ["-b", images.write_file(self.path("base"), content), "-F", "raw"]
        words = [word for option in options for word in ("-o", option)]
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", *base, *words, self.path("disk"), str(SIZE),
                  cwd=self.workdir)
        self.disk = Disk(content)
        flushes = 0
        for number in range(KILLS):
            writers = []
            self.load(writers, self.random.choice((5, 50, 200, 600)) if number else 200)
            flushes += sum(writer.flushes for writer in writers)
            report = self.check()
            found = report.get("corruptions", 0), report["check-errors"]
            self.assertEqual(found, (0, 0), f"round {number}: {report}")
            tools.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", self.path("disk"), self.path("found"),
                      cwd=self.workdir)
            with open(self.path("found"), "rb") as file:
                wrong = self.disk.judge(file.read())
            self.assertEqual(wrong[:10], [], f"round {number}: sectors with other contents")
            if number % 4 == 3:
                tools.run("qemu-img", "check", "-q", "-r", "leaks", self.path("disk"), expected=0, cwd=self.workdir)
        self.assertGreater(flushes, 0)

    def test_default(self):
        """Clusters of 64 KiB."""
        self.run_rounds()

    def test_small_clusters(self):
        """Clusters of 4 KiB, of which a request changes many."""
        self.run_rounds(["cluster_size=4k"])

    def test_compressed(self):
        """Compressed clusters that share host clusters, beside plain ones."""
        self.run_rounds(["cluster_size=16k"], compresses=True)

    def test_compressed_over_a_backing_file(self):
        """The same, with copy on write."""
        self.run_rounds(["compression_type=zstd"], backing=True, compresses=True)

    def test_one_bit_refcounts(self):
        """Refcounts of one bit."""
        self.run_rounds(["refcount_bits=1", "cluster_size=16k"])

    def test_subclusters_over_a_backing_file(self):
        """Extended L2 entries; what is not written comes from the base."""
        self.run_rounds(["extended_l2=on"], backing=True)

    def test_backing_file(self):
        """Copy on write."""
        self.run_rounds(backing=True)

    def test_data_file(self):
        """Data in another file."""
        self.run_rounds([f"data_file={self.path('data')}"])


if __name__ == "__main__":
    unittest.main()

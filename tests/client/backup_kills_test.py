"""Backups of a disk in use, with restarts and kills of the daemon: each point restores to its moment.

BLOCKEXPORT_KILLS sets the number of backups, of which four in five meet a kill.
"""

import os
import random
import subprocess
import threading

from lib import daemon, images, nbd_raw, settings, tools
from lib.client_tool import ToolTest, program
from lib.images import KIB, MIB
from lib.nbd_wire import FLAG_FUA

SIZE = 24 * MIB
WRITERS = 4
ID = "daily"
CHECKPOINT = "daily"
BACKUPS = int(os.environ.get("BLOCKEXPORT_KILLS", "6"))


class Writer(threading.Thread):
    """Writes at random places of the export `disk` until it is stopped or loses its server."""

    def __init__(self, server, seed):
        super().__init__()
        self.random = random.Random(seed)
        self.stopping = threading.Event()
        self.connection = nbd_raw.Connection(server.connect_nbd())
        self.connection.negotiate("disk")

    def run(self):
        try:
            while not self.stopping.is_set():
                length = self.random.choice((512, 4 * KIB, 4 * KIB, 100 * KIB))
                offset = self.random.randrange(0, (SIZE - length) // 512) * 512
                flags = FLAG_FUA if self.random.random() < 0.1 else 0
                self.connection.write(offset, self.random.randbytes(length), flags)
                self.stopping.wait(0.002)
        except (OSError, EOFError, AssertionError):
            pass  # the server was killed
        finally:
            self.connection.close()


class ChainTest(ToolTest):
    """The disk has a bitmap store, and its users write over several connections all the time."""

    def setUp(self):
        super().setUp()
        if settings.is_qemu():
            self.skipTest("for our server")
        if tools.shutil.which("nbdcopy", path=tools.PATH) is None:
            self.skipTest("nbdcopy is not installed")
        self.random = random.Random(11)
        self.writers = []
        self.server = None
        self.addCleanup(self.end)
        images.make_random(self.path("disk.img"), SIZE)
        self.start()

    def start(self):
        """Starts the server and the writers."""
        self.server = daemon.Daemon(self.workdir, [
            "--blockdev", "file,node-name=disk,filename=disk.img,bitmap-store.filename=disk.bitmaps,"
                          "bitmap-store.checkpoint-interval-seconds=1",
            "--chardev", "socket,id=monitor,path=monitor.sock,server=on,wait=off", "--monitor", "chardev=monitor",
            "--export", "nbd,id=disk,node-name=disk,name=disk,writable=on"])
        self.server.start()
        self.writers = [Writer(self.server, self.random.random()) for _ in range(WRITERS)]
        for writer in self.writers:
            writer.start()

    def stop_writers(self):
        """Ends the writers, if they still run."""
        for writer in self.writers:
            writer.stopping.set()
        for writer in self.writers:
            writer.join()
        self.writers = []

    def end(self):
        """Kills the server."""
        if self.server is not None:
            self.server.kill()
        self.stop_writers()

    def restart(self, kill):
        """Ends the server, and starts it again."""
        if kill:
            self.server.kill()
        self.stop_writers()
        if not kill:
            self.server.stop()
        self.start()

    def begin(self):
        """Begins a backup."""
        self.tool("backup", "begin", ID, "--monitor", "monitor.sock", "--disk", "disk", "--checkpoint", CHECKPOINT,
                  "--scratch-directory", ".")

    def finish(self, outcome):
        """Ends it."""
        self.tool("backup", "end", ID, outcome, "--monitor", "monitor.sock")

    def uri(self):
        """The export of the backup."""
        return f"nbd+unix:///{ID}-disk?socket=nbd.sock"

    def pull(self):
        """Adds a point; its type, and its id as the tool prints it."""
        out, _ = self.tool("pull", self.uri(), "--into", "points", "--verify")
        words = out.split()
        return ("incremental" if " incremental " in out else "full"), words[1]

    def copy(self, name):
        """A full copy of the export of the backup, by a client that knows nothing of bitmaps."""
        tools.run("nbdcopy", self.uri(), self.path(name), timeout=60, cwd=self.workdir)
        return images.sha256(self.path(name))

    def check_restore(self, moments):
        """Each point restores to the copy of its moment."""
        for point, sum_of_copy in moments.items():
            self.tool("restore", "points", "restored.img", "--point", point, "--overwrite", "--verify")
            self.assertEqual(images.sha256(self.path("restored.img")), sum_of_copy, f"point {point}")

    def test_each_point_of_a_chain_restores_to_its_moment(self):
        """A full point and incremental ones, across restarts and an aborted backup."""
        moments = {}
        for day in range(5):
            self.begin()
            copied = self.copy("moment.img")
            kind, point = self.pull()
            moments[point] = copied
            self.assertEqual(kind, "incremental" if day else "full")
            self.finish("success")
            if day == 1:
                # A backup that nobody completes: its changes are in the next point.
                self.begin()
                self.finish("abort")
            if day in (0, 2):
                self.restart(kill=False)
        self.check_restore(moments)

    def test_no_kill_loses_a_change(self):
        """The daemon is killed at random moments of backups; every point that counts restores to its moment."""
        moments = {}
        for _ in range(BACKUPS):
            kill_at = self.random.choice(("begin", "pull", "before the end", "after the end", "never"))
            if kill_at == "begin":
                self.restart(kill=True)
            self.begin()
            copied = self.copy("moment.img")
            if kill_at == "pull":
                self.kill_during_pull()
                continue
            kind, point = self.pull()
            if kill_at == "before the end":
                # The point exists, but the daemon does not know: the next one contains its changes once more.
                moments[point] = copied
                self.restart(kill=True)
                continue
            self.finish("success")
            moments[point] = copied
            self.assertEqual(kind, "full" if len(moments) == 1 else kind)
            if kill_at == "after the end":
                self.restart(kill=True)
        self.assertGreater(len(moments), 1)
        self.check_restore(moments)

    def kill_during_pull(self):
        """Kills the daemon while a client pulls; the point does not come into being."""
        pulling = subprocess.Popen([program(), "pull", self.uri(), "--into", "points"], cwd=self.workdir,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            threading.Event().wait(self.random.random() * 0.05)
            self.restart(kill=True)
            pulling.wait(settings.seconds(60))
        finally:
            pulling.kill()
            pulling.wait()
        before = [name for name in os.listdir(self.path("points")) if name.endswith(".json")]
        self.assertEqual(len(before), len(set(before)))

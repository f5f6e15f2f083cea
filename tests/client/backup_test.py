"""`blockexport pull` and `blockexport restore`: images and points of exports of this server and of others."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import unittest

from lib import daemon, images, settings, tools, wait
from lib.client_tool import ToolTest, program

REFERENCE = "/usr/bin/qemu-storage-daemon"
SIZE = 24 * images.MIB
GRANULE = 64 * images.KIB
CHUNK = images.MIB


class BackupCase(ToolTest):
    """A server with one writable disk, whose bitmaps are rotated by QMP commands while nobody writes."""

    program = None
    objects = ()
    nbd_server = ""
    nodes = ("driver=file,node-name=disk,filename=disk.img,discard=unmap",)

    def setUp(self):
        super().setUp()
        if self.program and not os.access(self.program, os.X_OK):
            self.skipTest(f"{self.program} is not installed")
        self.make_disk()
        self.server = daemon.Daemon(
            self.workdir, program=self.program or settings.program(), objects=self.objects,
            nbd_server=self.nbd_server,
            arguments=[part for node in self.nodes for part in ("--blockdev", node)])
        self.addCleanup(self.server.stop)
        self.server.start()

    def make_disk(self):
        """Data in three places, one of which is longer than a chunk and not aligned to it."""
        images.make_sparse(self.path("disk.img"), SIZE,
                           [(0, GRANULE), (3 * images.MIB + GRANULE, 5 * images.MIB), (SIZE - GRANULE, GRANULE)])

    def uri(self, export="disk", socket_path=None):
        """The NBD URI of an export."""
        return f"nbd+unix:///{export}?socket={socket_path or self.server.nbd_path}"

    def execute(self, command, **arguments):
        """A QMP command, whose underscores become dashes."""
        return self.server.qmp.execute(command, {name.replace("_", "-"): value for name, value in arguments.items()})

    @contextlib.contextmanager
    def exported(self, name="disk", **options):
        """An export of the disk."""
        self.server.qmp.execute("block-export-add",
                                {"type": "nbd", "id": name, "node-name": "disk", "name": name, **options})
        try:
            yield self.uri(name)
        finally:
            self.execute("block-export-del", id=name, mode="hard")
            self.server.qmp.wait_event("BLOCK_EXPORT_DELETED")

    def add_bitmap(self, name, **options):
        """A new bitmap, which records from now on, unless it is disabled."""
        self.execute("block-dirty-bitmap-add", node="disk", name=name, granularity=GRANULE, **options)

    def write_randomly(self, seed, count=40):
        """Writes, zeroes and discards at random offsets, over four connections."""
        chosen = random.Random(seed)
        with self.exported("writer", writable=True) as uri:
            clients = []
            for _ in range(4):
                script = []
                for _ in range(count // 4):
                    offset = chosen.randrange(0, SIZE - GRANULE, 512)
                    length = chosen.randrange(512, GRANULE, 512)
                    verb = chosen.choice((f"write -P {chosen.randrange(1, 256)}", "write -z", "write -z -u"))
                    script += ["-c", f"{verb} {offset} {length}"]
                clients.append(subprocess.Popen(["qemu-io", "-f", "raw", *script, uri], stdout=subprocess.DEVNULL))
            for client in clients:
                self.assertEqual(client.wait(settings.seconds(60)), 0)

    def pull(self, uri, *arguments, expected=0):
        """Runs the command; its result with exit code 0, else its errors."""
        out, said = self.tool("pull", uri, *arguments, "--json", expected=expected)
        return said if expected else json.loads(out)

    def pull_point(self, bitmap=None, *arguments):
        """Adds a point to the directory `points`."""
        with self.exported(**({"bitmaps": [bitmap]} if bitmap else {})) as uri:
            return self.pull(uri, "--into", "points", *arguments)

    def restore(self, point, *arguments):
        """The path of a restored point."""
        target = self.path(f"restored-{point}")
        self.tool("restore", "points", target, "--point", point, *arguments)
        return target

    def restore_fails(self, *arguments):
        """The errors of a restore, which leaves nothing."""
        _, said = self.tool("restore", "points", "never", *arguments, expected=1)
        self.assertEqual([name for name in os.listdir(self.workdir) if name.startswith("never")], [])
        return said

    def keep_disk(self, point):
        """A copy of the disk as it is now."""
        shutil.copyfile(self.path("disk.img"), self.path(f"disk-{point}"))

    def assert_same(self, first, second):
        """Both files have the same bytes."""
        self.assertEqual(images.sha256(self.path(first)), images.sha256(self.path(second)))

    def make_chain(self, points=3):
        """A full point and incremental ones, with writes between them."""
        self.add_bitmap("bitmap-1")
        self.keep_disk("000001")
        self.pull_point()
        for number in range(2, points + 1):
            self.write_randomly(number)
            self.execute("block-dirty-bitmap-disable", node="disk", name=f"bitmap-{number - 1}")
            self.add_bitmap(f"bitmap-{number}")
            self.keep_disk(f"{number:06}")
            result = self.pull_point(f"bitmap-{number - 1}", "--verify")
            self.assertEqual(result["type"], "incremental")
            self.assertLess(result["data-bytes"], 40 * 2 * GRANULE)


class ChainTest(BackupCase):
    """A full point, writes over four connections, incremental points, and the restore of each."""

    def test_each_point_is_restored(self):
        """Every point is byte for byte the disk at its time."""
        self.make_chain()
        for point in ("000003", "000001", "000002"):
            self.assert_same(self.restore(point, "--verify"), f"disk-{point}")
        self.tool("restore", "points", "newest")
        self.assert_same("newest", "disk-000003")

    def test_holes_stay_holes(self):
        """An image that was restored takes no more space than its data."""
        if not images.makes_holes(self.workdir):
            self.skipTest("the file system makes no holes")
        self.make_chain(points=1)
        self.assertLess(images.allocated(self.restore("000001")), 7 * images.MIB)
        self.assertLess(images.allocated(self.path("points", "000001.data")), 7 * images.MIB)

    def test_raw_image(self):
        """A raw image has the bytes of the disk, and its holes."""
        with self.exported() as uri:
            result = self.pull(uri, "image", "--verify")
        self.assertEqual((result["type"], result["size"], result["verified"]), ("full", SIZE, True))
        self.assert_same("image", "disk.img")
        self.assertEqual([name for name in os.listdir(self.workdir) if "partial" in name], [])
        if images.makes_holes(self.workdir):
            self.assertLess(images.allocated(self.path("image")), 7 * images.MIB)


class ChainOfReferenceTest(ChainTest):
    """The same against the packaged qemu-storage-daemon."""

    program = REFERENCE


class PointInTimeTest(BackupCase):
    """Points of a disk that is written during each pull: a copy-before-write filter keeps the old contents."""

    nodes = ("driver=file,node-name=image,filename=disk.img,discard=unmap",
             "driver=raw,node-name=disk,file=image,discard=unmap")

    def stand_on(self, node):
        """Lets the disk read and write through another node."""
        self.execute("blockdev-reopen", options=[
            {"driver": "raw", "node-name": "disk", "file": node, "discard": "unmap"}])

    @contextlib.contextmanager
    def frozen(self, bitmap=None):
        """The export of the disk as it is now, with a dirty bitmap of its image."""
        images.make_empty(self.path("scratch.img"), SIZE)
        self.execute("blockdev-add", driver="file", node_name="scratch", filename="scratch.img", discard="unmap")
        self.execute("blockdev-add", driver="copy-before-write", node_name="frozen", file="image", target="scratch")
        self.stand_on("frozen")
        self.execute("blockdev-add", driver="snapshot-access", node_name="backup", file="frozen")
        bitmaps = {"bitmaps": [{"node": "image", "name": bitmap}]} if bitmap else {}
        self.server.qmp.execute("block-export-add", {"type": "nbd", "id": "backup", "node-name": "backup",
                                                     "name": "vda", **bitmaps})
        yield self.uri("vda")
        self.execute("block-export-del", id="backup", mode="hard")
        self.server.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.execute("blockdev-del", node_name="backup")
        self.stand_on("image")
        for node in ("frozen", "scratch"):
            self.execute("blockdev-del", node_name=node)

    def test_writes_during_the_pull(self):
        """Each point is the disk at the begin of its backup, although half of the disk changes during the pull."""
        with self.exported("writer", writable=True) as writer:
            for number in range(1, 4):
                if number > 1:
                    self.execute("block-dirty-bitmap-disable", node="image", name=f"b{number - 1}")
                self.execute("block-dirty-bitmap-add", node="image", name=f"b{number}", granularity=GRANULE)
                bitmap = f"b{number - 1}" if number > 1 else None
                with self.frozen(bitmap) as uri:
                    self.keep_disk(number)
                    # Four writers change other ranges in each round.
                    start = (number - 1) * SIZE // 8
                    script = [part for offset in range(start, start + SIZE // 2, 4 * GRANULE)
                              for part in ("-c", f"write -P {number} {offset} 4k")]
                    clients = [subprocess.Popen(["qemu-io", "-f", "raw", *script, writer], stdout=subprocess.DEVNULL)
                               for _ in range(4)]
                    result = self.pull(uri, "--into", "points", "--requests", "1")
                    for client in clients:
                        self.assertEqual(client.wait(settings.seconds(60)), 0)
                self.assertEqual(result["type"], "incremental" if bitmap else "full")
        for number in range(1, 4):
            self.assert_same(self.restore(f"{number:06}"), f"disk-{number}")


class PointInTimeOfReferenceTest(PointInTimeTest):
    """The same against the packaged qemu-storage-daemon."""

    program = REFERENCE


class TlsTest(BackupCase):
    """An export that needs a certificate of the client."""

    objects = ("tls-creds-x509,id=tls,dir=pki,endpoint=server,verify-peer=on",)
    nbd_server = "tls-creds=tls"

    def make_disk(self):
        super().make_disk()
        self.init()

    def test_pull(self):
        """The URI names the directory of the certificates."""
        with self.exported():
            uri = f"nbds+unix:///disk?socket={self.server.nbd_path}"
            self.pull(f"{uri}&tls-certificates={self.path('pki')}", "image")
            self.assert_same("image", "disk.img")
            said = self.pull(self.uri(), "other", expected=1)
            self.assertIn("the server refuses the export 'disk'", said)
            self.assertIn("nbds+unix://", said)


class RulesTest(BackupCase):
    """Which point may follow which."""

    def test_incremental_without_a_parent(self):
        """An empty directory takes no incremental point."""
        self.add_bitmap("b0", disabled=True)
        with self.exported(bitmaps=["b0"]) as uri:
            said = self.pull(uri, "--into", "points", expected=1)
            self.assertIn("has no point on which the changes of bitmap 'b0' could be based", said)
            self.assertIn("--full", said)
            self.assertEqual(self.pull(uri, "--into", "points", "--full")["type"], "full")
            self.assertEqual(self.pull(uri, "--into", "points")["type"], "incremental")

    def test_several_bitmaps(self):
        """One must be chosen, and the error lists them."""
        self.add_bitmap("b0", disabled=True)
        self.add_bitmap("b1", disabled=True)
        with self.exported(bitmaps=["b0", "b1"]) as uri:
            self.pull(uri, "--into", "points", "--full")
            said = self.pull(uri, "--into", "points", expected=1)
            self.assertIn("'b0', 'b1'", said)
            self.assertIn("--bitmap", said)
            said = self.pull(uri, "--into", "points", "--bitmap", "b2", expected=1)
            self.assertIn("the export offers no dirty bitmap 'b2'", said)
            self.assertEqual(self.pull(uri, "--into", "points", "--bitmap", "b1")["bitmap"], "b1")

    def test_no_silent_full_point(self):
        """Without a bitmap a full point is announced, and refused with --incremental."""
        with self.exported() as uri:
            self.pull(uri, "--into", "points")
            self.assertIn("no dirty bitmap", self.pull(uri, "--into", "points", "--incremental", expected=1))
            _, said = self.tool("pull", uri, "--into", "points")
            self.assertIn("this will be a full point, because the export offers no dirty bitmap", said)

    def test_another_export(self):
        """Points of another export are refused, unless it is said to be the same disk."""
        self.pull_point()
        with self.exported("other") as uri:
            said = self.pull(uri, "--into", "points", expected=1)
            self.assertIn("has points of the export 'disk', and this is 'other'", said)
            self.assertEqual(self.pull(uri, "--into", "points", "--other-export")["id"], "000002")

    def test_grown_disk(self):
        """What has grown counts as changed; a disk that shrank needs a full point."""
        self.pull_point()
        self.execute("block_resize", node_name="disk", size=SIZE + images.MIB)
        with self.exported("writer", writable=True) as uri:
            tools.run("qemu-io", "-f", "raw", "-c", f"write -P 7 {SIZE} 64k", uri)
        # Nothing is dirty in it.
        self.add_bitmap("b0", disabled=True)
        result = self.pull_point("b0")
        self.assertEqual((result["size"], result["data-bytes"]), (SIZE + images.MIB, GRANULE))
        self.assert_same(self.restore("000002"), "disk.img")
        self.execute("block-dirty-bitmap-remove", node="disk", name="b0")
        self.execute("block_resize", node_name="disk", size=SIZE)
        self.add_bitmap("b0", disabled=True)
        with self.exported(bitmaps=["b0"]) as uri:
            self.assertIn("became smaller", self.pull(uri, "--into", "points", expected=1))

    def test_existing_target(self):
        """Nothing is overwritten without the option."""
        self.write("precious", "image")
        with self.exported() as uri:
            self.assertIn("'image' exists", self.pull(uri, "image", expected=1))
            self.assertEqual(self.read("image"), "precious")
            self.pull(uri, "image", "--overwrite")
        self.assert_same("image", "disk.img")
        self.pull_point()
        _, said = self.tool("restore", "points", "image", expected=1)
        self.assertIn("--overwrite", said)
        self.tool("restore", "points", "image", "--overwrite")

    def test_damaged_newest_point(self):
        """A full point can follow it, and begins a new chain; the incremental one is refused."""
        self.pull_point()
        self.write("{}", "points", "000001.json")
        self.add_bitmap("b0", disabled=True)
        with self.exported(bitmaps=["b0"]) as uri:
            self.assertIn("000001.json' is not the manifest", self.pull(uri, "--into", "points", expected=1))
            _, said = self.tool("pull", uri, "--into", "points", "--full")
            self.assertIn("warning: 'points/000001.json' is not the manifest", said)
        self.assert_same(self.restore("000002"), "disk.img")

    def test_two_at_once(self):
        """A directory has one writer."""
        with self.exported() as uri:
            os.mkdir(self.path("points"))
            tools.run("flock", self.path("points"), program(), "map", uri)
            holder = subprocess.Popen(["flock", self.path("points"), "cat"], stdin=subprocess.PIPE)
            try:
                locked = lambda: subprocess.run(["flock", "-n", self.path("points"), "true"], check=False).returncode
                wait.until(locked, what="the lock")
                self.assertIn("another blockexport pull writes to", self.pull(uri, "--into", "points", expected=1))
            finally:
                holder.communicate()

    def test_a_target_is_needed(self):
        """Neither a target nor a directory is an error, and so are both."""
        for arguments in ((), ("image", "--into", "points")):
            self.assertIn("--into", self.pull("nbd://127.0.0.1", *arguments, expected=2))
        self.assertIn("--list", self.tool("restore", "points", expected=2)[1])


class Relay:
    """A unix socket before a server, which holds or cuts the connection after a number of bytes from the server."""

    def __init__(self, path, server_path, limit, cuts):
        self.server_path = server_path
        self.rest = limit
        self.cuts = cuts
        self.reached = threading.Event()
        self.closing = threading.Event()
        self.sockets = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        client, _ = self.listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.server_path)
        self.sockets += [client, server]
        upward = threading.Thread(target=self._forward, args=(client, server, False))
        upward.start()
        self._forward(server, client, True)
        upward.join()

    def _forward(self, source, target, is_limited):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_limited:
                    self.rest -= len(data)
                    if self.rest < 0:
                        self.reached.set()
                        if not self.cuts:
                            self.closing.wait()
                        break
                target.sendall(data)
            for one in (source, target):
                one.shutdown(socket.SHUT_RDWR)

    def close(self):
        """Ends the connection and the threads."""
        self.closing.set()
        for one in [*self.sockets, self.listener]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        for one in [*self.sockets, self.listener]:
            one.close()


class ResumeTest(BackupCase):
    """A pull that is interrupted in the middle, and continued."""

    def setUp(self):
        super().setUp()
        images.make_random(self.path("disk.img"), SIZE)

    def relay(self, cuts=False, limit=SIZE // 2):
        """A relay, and the URI of the disk through it."""
        path = self.path("relay.sock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        relay = Relay(path, self.server.nbd_path, limit, cuts)
        self.addCleanup(relay.close)
        return relay, self.uri(socket_path=path)

    def interrupt(self, *target):
        """Kills a pull after half of the disk."""
        relay, uri = self.relay()
        client = subprocess.Popen([program(), "pull", uri, *target, "--requests", "2", "--connections", "1"],
                                  cwd=self.workdir, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.assertTrue(relay.reached.wait(settings.seconds(30)))
        table = self.path("points/000001.chunks" if "--into" in target else "image.partial.chunks")
        wait.until(lambda: os.path.getsize(table) >= 64 * (SIZE // 2 // CHUNK - 4), what="the journal")
        client.send_signal(signal.SIGKILL)
        client.wait()
        relay.close()

    def test_image(self):
        """What was copied is kept, the rest is copied, and no target is there before."""
        with self.exported() as uri:
            self.interrupt("image")
            self.assertFalse(os.path.exists(self.path("image")))
            result = self.pull(uri, "image", "--resume", "--verify")
        self.assertGreaterEqual(result["kept-bytes"], SIZE // 2 - 4 * CHUNK)
        self.assertLess(result["kept-bytes"], SIZE)
        self.assert_same("image", "disk.img")
        self.assertEqual([name for name in os.listdir(self.workdir) if "partial" in name], [])

    def test_point(self):
        """The same of a point, which is no point before."""
        with self.exported() as uri:
            self.interrupt("--into", "points")
            self.assertIn("has no points", self.restore_fails())
            result = self.pull(uri, "--into", "points", "--resume")
        self.assertGreaterEqual(result["kept-bytes"], SIZE // 2 - 4 * CHUNK)
        self.assert_same(self.restore("000001"), "disk.img")

    def test_damaged_leftovers(self):
        """A chunk that does not hold what the journal says is copied again."""
        with self.exported() as uri:
            self.interrupt("--into", "points")
            with open(self.path("points/000001.data"), "r+b") as file:
                file.seek(CHUNK)
                file.write(bytes(CHUNK))
            self.pull(uri, "--into", "points", "--resume")
        self.assert_same(self.restore("000001"), "disk.img")

    def test_another_disk(self):
        """A pull of another export or size is not continued, and says in which way it differs."""
        with self.exported():
            self.interrupt("image")
        with self.exported("other") as uri:
            said = self.pull(uri, "image", "--resume", expected=1)
            self.assertIn('cannot resume: the unfinished pull of \'image.partial.unfinished\' has export "disk"', said)
        self.execute("block_resize", node_name="disk", size=SIZE + images.MIB)
        with self.exported() as uri:
            self.assertIn(f"has size {SIZE}, and this one {SIZE + images.MIB}",
                          self.pull(uri, "image", "--resume", expected=1))
            _, said = self.tool("pull", uri, "image")
        self.assertIn("the unfinished pull of 'image.partial' is discarded", said)
        self.assert_same("image", "disk.img")

    def test_nothing_to_resume(self):
        """--resume without an interrupted pull starts one."""
        with self.exported() as uri:
            self.assertEqual(self.pull(uri, "image", "--resume")["kept-bytes"], 0)

    def test_broken_connection(self):
        """The error says how to continue."""
        with self.exported() as uri:
            _, through = self.relay(cuts=True)
            said = self.pull(through, "image", "--connections", "1", expected=1)
            self.assertIn("lost the connection to", said)
            self.assertIn("--resume", said)
            self.pull(uri, "image", "--resume")
        self.assert_same("image", "disk.img")

    def test_silent_server(self):
        """A server that sends nothing ends the pull after the time of --timeout."""
        with self.exported():
            _, through = self.relay()
            said = self.pull(through, "image", "--connections", "1", "--timeout", "1", expected=1)
        self.assertIn("sent nothing for 1 seconds", said)


class FaultsTest(BackupCase):
    """Directories that lack or changed something: no target appears, and the error names the file."""

    def setUp(self):
        super().setUp()
        self.make_chain()

    def point(self, name):
        """The path of a file of the directory."""
        return self.path("points", name)

    def flip(self, name, offset):
        """Changes one byte of a file."""
        with open(self.point(name), "r+b") as file:
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 1]))

    def test_hole_in_the_chain(self):
        """A point without its parent cannot be restored, but earlier ones can."""
        os.unlink(self.point("000002.json"))
        said = self.restore_fails()
        self.assertIn("the chain of point 000003 has a hole: point 000003 needs point 000002", said)
        self.assertIn("000002.json' does not exist", said)
        self.assert_same(self.restore("000001"), "disk-000001")
        with self.exported(bitmaps=["bitmap-2"]) as uri:
            self.assertIn("has a hole", self.pull(uri, "--into", "points", expected=1))

    def test_another_parent(self):
        """A manifest of another chain in the parent's place is refused."""
        self.tool("restore", "points", "image", "--point", "000001")
        with self.exported() as uri:
            self.pull(uri, "--into", "others")
            self.pull(uri, "--into", "others")
        os.replace(self.path("others", "000002.json"), self.point("000002.json"))
        self.assertIn("000002.json' is not the point that point 000003 is based on", self.restore_fails())

    def test_truncated_data(self):
        """The size of a data file is checked."""
        os.truncate(self.point("000002.data"), os.path.getsize(self.point("000002.data")) - 1)
        self.assertRegex(self.restore_fails(), r"000002\.data' has \d+ bytes instead of \d+")

    def test_damaged_data(self):
        """The checksum of each chunk that is used is checked."""
        self.flip("000003.data", 100)
        said = self.restore_fails()
        self.assertIn("000003.data' is damaged at byte 0", said)
        self.assertIn("another copy of the backup", said)
        self.assert_same(self.restore("000002"), "disk-000002")

    def test_damaged_table(self):
        """The checksum of the table is checked."""
        self.flip("000002.chunks", 70)
        self.assertIn("000002.chunks' is damaged", self.restore_fails())

    def test_missing_data(self):
        """A missing file is named."""
        os.unlink(self.point("000002.data"))
        self.assertIn("000002.data'", self.restore_fails())

    def test_damaged_manifest(self):
        """Each byte of a manifest counts."""
        text = self.read("points", "000003.json")
        self.write(text.replace('"export": "disk"', '"export": "disc"'), "points", "000003.json")
        self.assertIn("000003.json' is damaged: its checksum is wrong", self.restore_fails())
        self.write(text[:100], "points", "000003.json")
        self.assertIn("000003.json' is damaged: it is not a JSON object", self.restore_fails())

    def test_future_version(self):
        """A manifest of a later version is refused as such."""
        text = self.read("points", "000003.json")
        self.write(text.replace('"version": 1', '"version": 2'), "points", "000003.json")
        self.assertIn("000003.json' has version 2 of the format", self.restore_fails())

    def test_foreign_manifest(self):
        """Another JSON file is refused as such."""
        self.write('{"some": "thing"}', "points", "000003.json")
        self.assertIn("000003.json' is not the manifest of a backup point", self.restore_fails())

    def test_no_such_point(self):
        """The error says how to list the points."""
        self.assertIn("restore --list points", self.restore_fails("--point", "000009"))
        self.assertIn("'9' is not the id of a point", self.restore_fails("--point", "9"))

    def test_list(self):
        """The list has all points, and says which can be restored."""
        points = json.loads(self.tool("restore", "points", "--list", "--json")[0])
        self.assertEqual([(one["id"], one["type"], one["usable"]) for one in points],
                         [("000001", "full", True), ("000002", "incremental", True), ("000003", "incremental", True)])
        os.unlink(self.point("000002.data"))
        out, _ = self.tool("restore", "points", "--list", expected=1)
        self.assertRegex(out, r"(?m)^000002 .*NOT USABLE: .*000002\.data")
        self.assertRegex(out, r"(?m)^000003 .*NOT USABLE: 000002 is not usable")


class ProgressTest(BackupCase):
    """The progress that programs read."""

    def test_lines(self):
        """--progress prints lines to standard error where that is no terminal."""
        with self.exported() as uri:
            _, said = self.tool("pull", uri, "image", "--progress")
        self.assertRegex(said.splitlines()[-1], rf"^progress 100\.00% done={SIZE} total={SIZE} copied=\d+ rate=\d+")

    def test_json(self):
        """With --json the lines are JSON."""
        with self.exported() as uri:
            _, said = self.tool("pull", uri, "image", "--progress", "--json")
        self.assertEqual(json.loads(said.splitlines()[-1])["progress"]["done-bytes"], SIZE)

    def test_descriptor(self):
        """--progress=FD writes lines like those of nbdcopy to a descriptor."""
        with self.exported() as uri:
            out, _ = self.tool("pull", uri, "image", "--progress=1")
        self.assertIn("100/100", out.splitlines())
        _, said = self.tool("pull", uri, "image", "--progress=x", expected=1)
        self.assertNotIn("100/100", said)


if __name__ == "__main__":
    unittest.main()

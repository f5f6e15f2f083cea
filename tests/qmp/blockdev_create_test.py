"""blockdev-create: the job, its events and errors, and the images that it makes, against qemu-storage-daemon's.

Each request goes to the server under test and, where it is installed, to the reference; the answers, the events and the
images have to be equal. Without the reference the images are checked alone.
"""

import errno
import itertools
import json
import os
import random
import subprocess
import time
import unittest

from lib import daemon, settings, tools
from lib.images import KIB, MIB
from lib.testcase import DaemonTest, file_node, null_node
from lib.wait import until

GIB = 1024 * MIB
ENDED = ["created", "running", "waiting", "pending", "concluded"]
FAILED = ["created", "running", "aborting", "concluded"]
FEATURES = {
    "plain": {},
    "v2": {"version": "v2"},
    "lazy": {"lazy-refcounts": True},
    "zstd": {"compression-type": "zstd"},
    "subclusters": {"extended-l2": True},
    "backing": {"backing-file": "base.img", "backing-fmt": "raw"},
    "backing_unnamed": {"backing-file": "base.img"},
}
WRONG = [
    {"size": 1000}, {"size": 1000, "version": "v2", "lazy-refcounts": True}, {"size": 1 << 62}, {"size": 1 << 56},
    {"size": 2**64 - 512}, {"version": "v2", "lazy-refcounts": True}, {"version": "v2", "refcount-bits": 8},
    {"refcount-bits": 0}, {"refcount-bits": 3}, {"refcount-bits": 128}, {"refcount-bits": -1},
    {"refcount-bits": 1 << 33}, {"cluster-size": 1000}, {"cluster-size": 256}, {"cluster-size": 4 * MIB},
    {"cluster-size": 0}, {"extended-l2": True, "cluster-size": 8192}, {"extended-l2": True, "version": "v2"},
    {"data-file-raw": True}, {"data-file": "data", "data-file-raw": True, "backing-file": "x"},
    {"data-file": "data", "version": "v2"}, {"data-file": "nowhere"}, {"data-file": "nowhere", "refcount-bits": 3},
    {"data-file": "nowhere", "compression-type": "zstd"}, {"compression-type": "zstd", "version": "v2"},
    {"backing-fmt": "raw"}, {"backing-file": "x" * 1024}, {"backing-file": "x", "preallocation": "metadata"},
    {"backing-file": "x", "preallocation": "falloc", "size": 0},
    {"backing-file": "x" * 400, "cluster-size": 512}, {"size": 1 << 50, "cluster-size": 512},
    {"file": "nowhere"}, {"file": "nowhere", "size": 1000}, {"file": "read-only"}, {"data-file": "read-only"},
    {"file": {"driver": "file", "filename": "missing.img"}}, {"file": {"driver": "null-co"}},
    {"file": {"driver": "file", "filename": "file.img", "node-name": "file"}}, {"data-file": "null"},
]


class Server:
    """A server with the nodes `file`, `data`, `read-only` and `null` in a directory of its own."""

    def __init__(self, program, arguments=(), prefix=()):
        self.directory = daemon.make_workdir()
        for name in ("file.img", "data.img"):
            self.empty(name)
        data = self.path("data.img")
        nodes = [*file_node("file", "file.img"), *file_node("data", data),
                 *file_node("read-only", data, **{"read-only": "on"}), *null_node("null", MIB)]
        self.daemon = daemon.Daemon(self.directory, [*arguments, *nodes], nbd_server=None, program=program,
                                    prefix=prefix)
        self.daemon.start()
        self.qmp = self.daemon.qmp
        self.jobs = itertools.count()

    def stop(self):
        """Ends the server, which must have lived, and takes its files away."""
        try:
            self.daemon.stop()
        finally:
            self.daemon.kill()
            daemon.remove_workdir(self.directory)

    def path(self, name):
        """A path in the server's directory."""
        return os.path.join(self.directory, name)

    def empty(self, name):
        """Makes a file empty, or makes it."""
        with open(self.path(name), "wb"):
            pass

    def renew(self):
        """Gives the nodes `file` and `data` empty files again."""
        for name in ("file", "data"):
            self.qmp.execute("blockdev-del", {"node-name": name})
            self.empty(f"{name}.img")
            self.qmp.execute("blockdev-add",
                             {"driver": "file", "node-name": name, "filename": self.path(f"{name}.img")})

    def begin(self, options):
        """Begins a job and returns its ID, or the error of the command."""
        job = f"job{next(self.jobs)}"
        answer = self.qmp.command("blockdev-create", {"job-id": job, "options": options})
        return job, answer.get("error")

    def info(self, job):
        """The entry of a job in query-jobs; None when there is none."""
        return next((one for one in self.qmp.execute("query-jobs") if one["id"] == job), None)

    def finish(self, job):
        """Waits for the end of a job, dismisses it, and returns its states and its error."""
        info = until(lambda: (lambda one: one if one and one["status"] == "concluded" else None)(self.info(job)),
                     timeout=60, what=f"the end of {job}")
        self.qmp.execute("job-dismiss", {"id": job})
        states = [event["data"]["status"] for event in self.qmp.events
                  if event["event"] == "JOB_STATUS_CHANGE" and event["data"]["id"] == job]
        self.qmp.events = [event for event in self.qmp.events if event.get("data", {}).get("id") != job]
        assert states.pop() == "null"
        assert info["current-progress"] == info["total-progress"], info
        return states, info.get("error")

    def create(self, options):
        """Runs a job to its end: (states, error); ([], error) when the command fails."""
        job, error = self.begin(options)
        return ([], error) if error else self.finish(job)

    def image_info(self, name="file.img"):
        """The information of qemu-img about an image, without members that have the directory's name."""
        # The backing file need not be there.
        text = tools.finish("qemu-img", "info", "--output=json", "-f", "qcow2", self.path(name)).stdout
        info = json.loads(text.replace(self.directory, "DIR"))
        info.pop("children", None)
        return info

    def check(self, name="file.img"):
        """The exit code and the text of qemu-img check."""
        checked = tools.finish("qemu-img", "check", "-f", "qcow2", self.path(name))
        return checked.returncode, checked.stdout + checked.stderr


def without_size(info):
    """An image's info without the storage that it takes."""
    return {name: value for name, value in info.items() if name != "actual-size"}


class PairTest(unittest.TestCase):
    """Our server, and the reference if it is installed."""

    @classmethod
    def setUpClass(cls):
        cls.ours = Server(settings.program())
        cls.addClassCleanup(cls.ours.stop)
        cls.theirs = None
        if os.access(settings.REFERENCE, os.X_OK):
            cls.theirs = Server(settings.REFERENCE)
            cls.addClassCleanup(cls.theirs.stop)

    def servers(self):
        """Ours, then theirs."""
        return [self.ours, self.theirs] if self.theirs else [self.ours]

    def masked(self, outcome):
        """An outcome without names that the server chose."""
        states, error = outcome
        return states, error if isinstance(error, dict) or error is None else error.replace("(null)", "")


class Qcow2Test(PairTest):
    """Images of the format qcow2."""

    def setUp(self):
        for server in self.servers():
            server.renew()

    def compare(self, options):
        """Creates the image with both servers and compares everything."""
        outcomes = [server.create({"driver": "qcow2", "file": "file", **options}) for server in self.servers()]
        self.assertEqual(outcomes[0], (ENDED, None))
        code, text = self.ours.check()
        if "backing-file" not in options:
            self.assertEqual(code, 0, text)
            self.assertIn("No errors were found", text)
        info = self.ours.image_info()
        self.assertEqual(info["virtual-size"], options["size"])
        if self.theirs:
            self.assertEqual(outcomes[1], outcomes[0])
            self.assertEqual(without_size(info), without_size(self.theirs.image_info()))
            if options.get("preallocation", "off") == "off":
                self.assertLessEqual(info["actual-size"], self.theirs.image_info()["actual-size"])
        for server in self.servers():
            server.renew()

    def test_features(self):
        """Each feature with several sizes is as the reference makes it."""
        for name, options in FEATURES.items():
            for size in (0, 512, 5 * MIB + 512, 20 * GIB):
                with self.subTest(feature=name, size=size):
                    self.compare({"size": size, **options})

    def test_clusters_and_refcounts(self):
        """Each size of clusters, and each width of refcounts, is as the reference makes it."""
        for bits in range(9, 22):
            for size in (0, MIB, 700 * MIB):
                with self.subTest(cluster_bits=bits, size=size):
                    self.compare({"size": size, "cluster-size": 1 << bits})
        for order in range(7):
            with self.subTest(refcount_order=order):
                self.compare({"size": 64 * MIB, "cluster-size": 4 * KIB, "refcount-bits": 1 << order,
                              "preallocation": "metadata"})

    def test_preallocation(self):
        """Tables, and storage, are there from the start, and the disk reads as zeroes."""
        for mode in ("metadata", "falloc", "full"):
            for extra in ({}, {"version": "v2"}, {"cluster-size": 512}, {"cluster-size": 2 * MIB},
                          {"extended-l2": True}, {"refcount-bits": 1, "cluster-size": 1024}):
                for size in (0, 512, 3 * MIB + 512, 17 * MIB):
                    with self.subTest(mode=mode, size=size, **extra):
                        self.compare({"size": size, "preallocation": mode, **extra})

    def test_preallocated_zeroes(self):
        """Old contents of the file do not show in a preallocated image."""
        for mode in ("metadata", "falloc", "full"):
            self.ours.renew()
            with open(self.ours.path("file.img"), "wb") as file:
                file.write(b"old!" * MIB)
            options = {"driver": "qcow2", "file": {"driver": "file", "filename": "file.img"}, "size": 8 * MIB,
                       "preallocation": mode}
            self.assertEqual(self.ours.create(options), (ENDED, None))
            self.assertEqual(self.ours.check()[0], 0)
            tools.finish("truncate", "-s", "8M", self.ours.path("zero.img"))
            same = tools.finish("qemu-img", "compare", "-f", "qcow2", "-F", "raw", self.ours.path("file.img"),
                                self.ours.path("zero.img"))
            self.assertEqual(same.returncode, 0, same.stdout + same.stderr)

    def test_data_file(self):
        """A data file gets the size that it needs, and stands in the image by its name."""
        for raw, mode in itertools.product((False, True), ("off", "metadata", "falloc", "full")):
            for before in (0, 2 * MIB):
                with self.subTest(raw=raw, mode=mode, before=before):
                    sizes = []
                    for server in self.servers():
                        server.renew()
                        server.qmp.execute("block_resize", {"node-name": "data", "size": before})
                    self.compare_data_file({"size": 5 * MIB, "data-file": "data", "data-file-raw": raw,
                                            "preallocation": mode}, sizes)

    def compare_data_file(self, options, sizes):
        """One of these."""
        outcomes = [server.create({"driver": "qcow2", "file": "file", **options}) for server in self.servers()]
        self.assertEqual(outcomes[0], (ENDED, None))
        for server in self.servers():
            self.assertEqual(server.check()[0], 0, server.check()[1])
            sizes.append(os.stat(server.path("data.img")).st_size)
        self.assertEqual(set(sizes), {5 * MIB})
        if self.theirs:
            self.assertEqual(outcomes[1], outcomes[0])
            self.assertEqual(without_size(self.ours.image_info()), without_size(self.theirs.image_info()))

    def test_raw_data_file_keeps_its_content(self):
        """An image over a raw data file shows what the file had."""
        for extended in (False, True):
            self.ours.renew()
            content = random.Random(3).randbytes(MIB)
            with open(self.ours.path("data.img"), "wb") as file:
                file.write(content)
            options = {"driver": "qcow2", "file": "file", "size": 2 * MIB, "data-file-raw": True,
                       "data-file": {"driver": "file", "filename": self.ours.path("data.img")}, "extended-l2": extended}
            self.assertEqual(self.ours.create(options), (ENDED, None))
            self.assertEqual(self.ours.check()[0], 0)
            tools.finish("qemu-img", "convert", "-f", "qcow2", "-O", "raw", self.ours.path("file.img"),
                         self.ours.path("copy.img"))
            with open(self.ours.path("copy.img"), "rb") as file:
                self.assertEqual(file.read(MIB), content)

    def test_use(self):
        """A new image is opened, written and read by the server that made it, and stays whole."""
        socket = self.ours.path("use.sock")
        self.ours.qmp.execute("nbd-server-start", {"addr": {"type": "unix", "data": {"path": socket}}})
        for options in ({}, {"version": "v2"}, {"extended-l2": True}, {"cluster-size": 512}, {"refcount-bits": 64},
                        {"preallocation": "metadata"}, {"preallocation": "falloc", "extended-l2": True},
                        {"data-file": "data"}, {"data-file": "data", "data-file-raw": True}):
            with self.subTest(**options):
                self.ours.renew()
                self.assertEqual(self.ours.create({"driver": "qcow2", "file": "file", "size": 8 * MIB, **options}),
                                 (ENDED, None))
                files = {"file": "file", **{name: options[name] for name in options if name == "data-file"}}
                self.ours.qmp.execute("blockdev-add", {"driver": "qcow2", "node-name": "image", **files})
                self.ours.qmp.execute("block-export-add", {"type": "nbd", "id": "image", "node-name": "image",
                                                           "writable": True})
                used = tools.finish("qemu-io", "-f", "raw", f"nbd+unix:///image?socket={socket}",
                                    "-c", "read -P 0 0 8M", "-c", "write -P 7 1000k 3M", "-c", "read -P 0 0 1000k",
                                    "-c", "read -P 7 1000k 3M", "-c", "flush")
                self.ours.qmp.execute("block-export-del", {"id": "image", "mode": "hard"})
                self.ours.qmp.wait_event("BLOCK_EXPORT_DELETED")
                self.ours.qmp.execute("blockdev-del", {"node-name": "image"})
                self.assertEqual(used.returncode, 0, used.stdout + used.stderr)
                self.assertNotIn("verification failed", used.stdout)
                self.assertEqual(self.ours.check()[0], 0, self.ours.check()[1])
        self.ours.qmp.execute("nbd-server-stop")

    def test_errors(self):
        """Wrong options fail with the words of the reference, and in its order."""
        for wrong in WRONG:
            with self.subTest(**{name.replace("-", "_"): str(value)[:40] for name, value in wrong.items()}):
                options = {"driver": "qcow2", "file": "file", "size": MIB, **wrong}
                outcomes = [self.masked(server.create(options)) for server in self.servers()]
                self.assertEqual(outcomes[0][0], FAILED)
                self.assertTrue(outcomes[0][1])
                if self.theirs:
                    self.assertEqual(outcomes[0], outcomes[1])

    def test_users_of_the_node(self):
        """A node that an export uses cannot become an image."""
        for server in self.servers():
            server.qmp.execute("nbd-server-start",
                               {"addr": {"type": "unix", "data": {"path": server.path("nbd.sock")}}})
            server.qmp.execute("block-export-add", {"type": "nbd", "id": "e", "node-name": "file", "writable": True})
        outcomes = [server.create({"driver": "qcow2", "file": "file", "size": MIB}) for server in self.servers()]
        for server in self.servers():
            server.qmp.execute("nbd-server-stop")
        self.assertEqual(outcomes[0][0], FAILED)
        self.assertIn("Permission conflict on node 'file'", outcomes[0][1])
        if self.theirs:
            self.assertEqual(outcomes[0], outcomes[1])

    def test_inline_node_goes(self):
        """A node that the options define is gone when the job has concluded."""
        inline = {"driver": "file", "filename": "file.img", "node-name": "inline"}
        options = {"driver": "qcow2", "size": MIB, "file": inline}
        def names():
            return [node["node-name"] for node in self.ours.qmp.execute("query-named-block-nodes")]

        before = names()
        self.assertEqual(self.ours.create(options), (ENDED, None))
        self.assertEqual(names(), before)
        self.assertEqual(self.ours.check()[0], 0)


class FileTest(PairTest):
    """Regular files."""

    def test_files(self):
        """Size, storage and events are those of the reference."""
        for mode, size in itertools.product(("off", "falloc", "full"), (0, 1, 1000, 4096, 3 * MIB + 1)):
            with self.subTest(mode=mode, size=size):
                found = []
                for server in self.servers():
                    outcome = server.create({"driver": "file", "filename": "new.img", "size": size,
                                             "preallocation": mode})
                    status = os.stat(server.path("new.img"))
                    found.append((outcome, status.st_size, status.st_blocks, status.st_mode))
                    os.unlink(server.path("new.img"))
                self.assertEqual(found[0][0], (ENDED, None))
                self.assertEqual(found[0][1], size)
                # The reference makes it as long as the first sector, which it writes.
                if self.theirs and size != 1:
                    self.assertEqual(found[0], found[1])

    def test_errors(self):
        """Wrong options fail with the words of the reference."""
        for wrong in ({"filename": "missing/new.img"}, {"filename": ""}, {"filename": "."}, {"size": 2**64 - 512},
                      {"size": 1 << 62}, {"preallocation": "metadata"}, {"extent-size-hint": 1 << 33},
                      {"filename": "/dev/null"}, {"size": -1}, {"nocow": 1}):
            with self.subTest(**{name.replace("-", "_"): value for name, value in wrong.items()}):
                outcomes = [server.create({"driver": "file", "filename": "new.img", "size": MIB, **wrong})
                            for server in self.servers()]
                self.assertTrue(outcomes[0][1])
                if self.theirs:
                    self.assertEqual(outcomes[0], outcomes[1])

    def test_drivers_that_make_no_images(self):
        """Such a driver is refused by the command itself, whatever the ID of the job is."""
        for driver in ("raw", "null-co", "host_device", "copy-before-write", "snapshot-access"):
            for server in self.servers():
                answer = server.qmp.command("blockdev-create", {"job-id": "1x", "options": {"driver": driver}})
                self.assertEqual(answer["error"]["desc"], "Driver does not support blockdev-create")

    def test_job_ids(self):
        """An ID is checked as by the reference."""
        options = {"driver": "file", "filename": "new.img", "size": 1}
        for identity in ("1x", "", "a b", "x" * 300):
            answers = []
            for server in self.servers():
                answers.append(server.qmp.command("blockdev-create", {"job-id": identity, "options": options}))
                if "return" in answers[-1]:
                    server.finish(identity)
            self.assertEqual(answers[0], answers[-1])

    def test_another_users_file(self):
        """A file that another user relies on stays as it is."""
        for server in self.servers():
            server.renew()
            server.qmp.execute("block_resize", {"node-name": "file", "size": MIB})
            server.qmp.execute("nbd-server-start",
                               {"addr": {"type": "unix", "data": {"path": server.path("nbd.sock")}}})
            server.qmp.execute("block-export-add", {"type": "nbd", "id": "e", "node-name": "file"})
            outcome = server.create({"driver": "file", "filename": "file.img", "size": 2 * MIB})
            server.qmp.execute("nbd-server-stop")
            self.assertEqual(outcome, (FAILED, 'Failed to get "resize" lock'))
            self.assertEqual(os.stat(server.path("file.img")).st_size, MIB)


@unittest.skipIf(settings.is_qemu(), "its creations do not stop")
class LongTest(DaemonTest):
    """Creations that take long."""

    nbd_server = None
    STATES = ("created", "running", "paused")

    def begin(self, job, options):
        """Begins a job."""
        self.qmp.execute("blockdev-create", {"job-id": job, "options": options})

    def info(self, job):
        """The entry of a job in query-jobs."""
        return next(one for one in self.qmp.execute("query-jobs") if one["id"] == job)

    def wait(self, job, status):
        """Waits until the job has that state."""
        return until(lambda: self.info(job) if self.info(job)["status"] == status else None, what=f"{job} {status}")

    def options(self):
        """Two creations that would fill the disk: of a file, and of an image."""
        with open(self.path("image"), "wb"):
            pass
        return {"file": {"driver": "file", "filename": self.path("new"), "size": 1 << 42, "preallocation": "full"},
                "qcow2": {"driver": "qcow2", "file": {"driver": "file", "filename": self.path("image")},
                          "size": 1 << 42, "preallocation": "full"}}

    def test_pause_and_cancel(self):
        """A paused job makes no progress, a resumed one does, and a cancelled one ends soon."""
        for name, options in self.options().items():
            with self.subTest(name):
                self.begin(name, options)
                self.qmp.execute("job-pause", {"id": name})
                paused = self.wait(name, "paused")
                self.assertGreater(paused["total-progress"], paused["current-progress"])
                time.sleep(0.1)
                self.assertEqual(self.info(name), paused)
                self.qmp.execute("job-resume", {"id": name})
                until(lambda: self.info(name)["current-progress"] > paused["current-progress"], what="progress")
                self.qmp.execute("job-cancel", {"id": name})
                self.assertEqual(self.wait(name, "concluded")["error"], "Operation canceled")
                self.qmp.execute("job-dismiss", {"id": name})
        self.assertEqual(os.stat(self.path("new")).st_size, 0)
        with open(self.path("image"), "rb") as file:
            self.assertEqual(file.read(4), bytes(4))

    def test_other_commands_are_answered(self):
        """While jobs write, each command is answered at once."""
        for name, options in self.options().items():
            self.begin(name, options)
        slowest = 0.0
        for _ in range(100):
            begun = time.monotonic()
            self.qmp.execute("query-jobs")
            slowest = max(slowest, time.monotonic() - begun)
        for name in self.options():
            self.qmp.execute("job-cancel", {"id": name})
            self.wait(name, "concluded")
            self.qmp.execute("job-dismiss", {"id": name})
        self.assertLess(slowest, settings.seconds(1.0))

    def test_two_jobs_on_one_node(self):
        """The second job fails, because the first one writes the node."""
        with open(self.path("shared"), "wb"):
            pass
        self.add_node("shared", driver="file", filename=self.path("shared"))
        options = {"driver": "qcow2", "file": "shared", "size": 1 << 42, "preallocation": "full"}
        self.begin("first", options)
        until(lambda: self.info("first")["current-progress"] > 0, what="progress")
        self.begin("second", options)
        self.assertIn("Permission conflict on node 'shared'", self.wait("second", "concluded")["error"])
        self.assertEqual(self.qmp.failure("blockdev-del", {"node-name": "shared"})[1], "Node shared is in use")
        self.qmp.execute("job-cancel", {"id": "first"})
        self.wait("first", "concluded")
        for job in ("first", "second"):
            self.qmp.execute("job-dismiss", {"id": job})


@unittest.skipIf(settings.is_qemu(), "it aborts on its way out")
class EndTest(unittest.TestCase):
    """The end of a server while jobs run."""

    def setUp(self):
        self.server = Server(settings.program())
        self.addCleanup(daemon.remove_workdir, self.server.directory)
        self.addCleanup(self.server.daemon.kill)

    def begin_all(self):
        """A running job, a paused one and a concluded one."""
        full = {"driver": "file", "size": 1 << 42, "preallocation": "full"}
        for job in ("running", "paused"):
            self.server.qmp.execute("blockdev-create", {"job-id": job, "options": {**full, "filename": job}})
        self.server.qmp.execute("job-pause", {"id": "paused"})
        self.server.qmp.execute("blockdev-create", {
            "job-id": "concluded", "options": {"driver": "file", "filename": "c", "size": 1}})
        self.server.qmp.execute("blockdev-create", {
            "job-id": "image", "options": {"driver": "qcow2", "file": "file", "size": 1 << 42,
                                           "preallocation": "full"}})
        for job in ("paused", "concluded"):
            until(lambda job=job: self.server.info(job)["status"] == job, what=job)

    def test_quit(self):
        """The server ends in order: jobs are cancelled, and what they made is no image."""
        self.begin_all()
        self.server.daemon.stop()
        with open(self.server.path("file.img"), "rb") as file:
            self.assertEqual(file.read(4), bytes(4))
        self.assertEqual(os.stat(self.server.path("running")).st_size, 0)


class KillTest(unittest.TestCase):
    """A server that is killed in the middle of a creation."""

    ROUNDS = 12

    def test_kill(self):
        """The file has the old image with its content, the whole new image, or none."""
        if settings.is_qemu():
            self.skipTest("it writes the header first")
        generator = random.Random(7)
        outcomes = set()
        for round_number in range(self.ROUNDS):
            server = Server(settings.program())
            self.addCleanup(daemon.remove_workdir, server.directory)
            self.addCleanup(server.daemon.kill)
            image, raw = server.path("file.img"), server.path("old.raw")
            with open(raw, "wb") as file:
                file.write(random.Random(round_number).randbytes(2 * MIB))
            tools.finish("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
            server.begin({"driver": "qcow2", "file": {"driver": "file", "filename": "file.img"}, "size": 1 << 38,
                          "cluster-size": 65536, "preallocation": "metadata"})
            time.sleep(generator.random() * 0.06)
            server.daemon.kill()
            outcomes.add(self.outcome(image, raw))
        self.assertIn("none", outcomes)

    def outcome(self, image, raw):
        """The contents of the file."""
        info = tools.finish("qemu-img", "info", "--output=json", "-f", "qcow2", image)
        if info.returncode:
            return "none"
        if json.loads(info.stdout)["virtual-size"] == 2 * MIB:
            same = tools.finish("qemu-img", "compare", "-f", "qcow2", "-F", "raw", image, raw)
            self.assertEqual(same.returncode, 0, same.stdout)
            return "old"
        self.assertEqual(tools.finish("qemu-img", "check", "-f", "qcow2", image).returncode, 0)
        return "new"


@unittest.skipIf(settings.is_qemu(), "its calls are others")
class FaultTest(unittest.TestCase):
    """Calls to the kernel that fail."""

    def outcome(self, fault, options):
        """The end of a job while calls fail."""
        trace = os.path.join(daemon.make_workdir(), "trace")
        self.addCleanup(daemon.remove_workdir, os.path.dirname(trace))
        prefix = tools.injecting(fault, trace)
        server = Server(settings.program(), ["--aio-backend", "epoll"], prefix)
        try:
            outcome = server.create(options)
            with open(server.path("file.img"), "rb") as file:
                self.assertNotEqual(file.read(4), b"QFI\xfb")
            self.assertTrue(server.daemon.alive())
        finally:
            server.stop()
        return outcome

    def test_no_space(self):
        """Every call that needs storage may fail; the job tells it, and the server lives."""
        qcow2 = {"driver": "qcow2", "file": "file", "size": 4 * MIB}
        plain = {"driver": "file", "filename": "new.img", "size": 4 * MIB}
        for fault, options, message in (
                ("fallocate:error=ENOSPC", {**plain, "preallocation": "falloc"}, "Could not preallocate new data: "),
                ("pwrite64,pwritev,pwritev2:error=ENOSPC", {**plain, "preallocation": "full"},
                 "Could not write zeros for preallocation: "),
                ("ftruncate:error=ENOSPC", plain, "Could not resize file: "),
                ("pwrite64,pwritev,pwritev2:error=ENOSPC", qcow2, "Could not write qcow2 header: "),
                ("fallocate:error=ENOSPC", {**qcow2, "preallocation": "falloc"},
                 "Could not resize image: Failed to resize underlying file: Could not preallocate new data: ")):
            with self.subTest(fault=fault, **{"driver": options["driver"]}):
                self.assertEqual(self.outcome(fault, options), (FAILED, message + "No space left on device"))

    def test_no_space_for_a_table(self):
        """A write of one place of the image fails."""
        for place, message in ((64 * KIB, "Could not write refcount table: "),
                               (3 * 64 * KIB, "Could not resize image: Failed to grow the L1 table: ")):
            with self.subTest(place=place):
                server = Server(settings.program())
                self.addCleanup(server.stop)
                fault = {"event": "none", "iotype": "write", "sector": place // 512, "errno": errno.ENOSPC}
                server.qmp.execute("blockdev-add", {"driver": "blkdebug", "node-name": "faulty", "image": "file",
                                                    "inject-error": [fault]})
                outcome = server.create({"driver": "qcow2", "file": "faulty", "size": 4 * MIB})
                self.assertEqual(outcome, (FAILED, message + "No space left on device"))
                with open(server.path("file.img"), "rb") as file:
                    self.assertNotEqual(file.read(4), b"QFI\xfb")

    def test_failed_flush(self):
        """An image whose tables may not be on the disk gets no header."""
        outcome = self.outcome("fdatasync,fsync:error=EIO", {"driver": "qcow2", "file": "file", "size": 4 * MIB})
        self.assertEqual(outcome, (FAILED, "Could not flush the image: Input/output error"))


if __name__ == "__main__":
    unittest.main()

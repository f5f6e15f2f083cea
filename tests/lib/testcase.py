"""Base class of tests of one server, which runs as long as the class and must survive every test."""

import os
import unittest

from lib import daemon, nbd_raw, settings
from lib.qmp import QmpClient


class DaemonTest(unittest.TestCase):
    """One server per class. Override prepare() to make images and return the server's arguments."""

    nbd_server = ""
    environment = None
    prefix = ()

    @classmethod
    def prepare(cls):
        """Makes what the server needs in cls.workdir and returns its further arguments."""
        return []

    @classmethod
    def objects(cls):
        """The --object arguments of what the NBD server names."""
        return []

    @classmethod
    def setUpClass(cls):
        cls.workdir = daemon.make_workdir()
        cls.addClassCleanup(daemon.remove_workdir, cls.workdir)
        arguments = cls.prepare()
        cls.daemon = daemon.Daemon(cls.workdir, arguments, nbd_server=cls.nbd_server, environment=cls.environment,
                                   objects=cls.objects(), prefix=cls.prefix)
        cls.addClassCleanup(cls.daemon.kill)
        cls.daemon.start()
        cls.qmp = cls.daemon.qmp

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def tearDown(self):
        if not self.daemon.alive():
            self.fail(f"the server ended with {self.daemon.process.returncode}: {self.daemon.stderr()[-4000:]!r}")

    @classmethod
    def path(cls, name):
        """A path in the private directory."""
        return os.path.join(cls.workdir, name)

    @classmethod
    def uri(cls, export=""):
        """The NBD URI of an export on the unix socket."""
        return f"nbd+unix:///{export}?socket={cls.daemon.nbd_path}"

    def client(self, **options):
        """A raw NBD connection, closed when the test ends; see nbd_raw.Connection."""
        connection = nbd_raw.Connection(self.daemon.connect_nbd(), **options)
        self.addCleanup(connection.close)
        return connection

    def session(self, export, mode="simple", contexts=(), **options):
        """A raw NBD connection in the transmission phase of an export, in simple, structured or extended mode."""
        connection = self.client(**options)
        connection.negotiate(export, mode, contexts)
        return connection

    def add_export(self, identity, node=None, /, **options):
        """Exports a node and takes the export away again when the test ends."""
        self.qmp.execute("block-export-add", {"type": "nbd", "id": identity, "node-name": node or identity, **options})
        self.addCleanup(self.drop_export, identity)

    def drop_export(self, name):
        """Removes an export, if it is there, with all its clients, and waits until it is gone."""
        if self.qmp.command("block-export-del", {"id": name, "mode": "hard"}).get("return") is not None:
            self.qmp.wait_event("BLOCK_EXPORT_DELETED")

    def add_node(self, name, **options):
        """Adds a block node and takes it away again when the test ends."""
        self.qmp.execute("blockdev-add", {"node-name": name, **options})
        self.addCleanup(self.qmp.command, "blockdev-del", {"node-name": name})

    def second_monitor(self, path):
        """A client of a further monitor."""
        client = QmpClient(path)
        self.addCleanup(client.close)
        return client

    def measure_memory(self):
        """Skips the test where memory cannot be judged."""
        if settings.sanitized():
            self.skipTest("memory is not measured in a sanitizer build")


def file_node(name, filename, **options):
    """A --blockdev argument for a file node."""
    extra = "".join(f",{key}={value}" for key, value in options.items())
    return ["--blockdev", f"driver=file,node-name={name},filename={filename}{extra}"]


def null_node(name, size, **options):
    """A --blockdev argument for a null-co node."""
    extra = "".join(f",{key}={value}" for key, value in options.items())
    return ["--blockdev", f"driver=null-co,node-name={name},size={size}{extra}"]


def nbd_export(name, node=None, **options):
    """A --export argument for an NBD export whose id and name are the same."""
    extra = "".join(f",{key}={value}" for key, value in options.items())
    return ["--export", f"type=nbd,id={name},node-name={node or name},name={name}{extra}"]

"""change-backing-file: the name of the backing file in an image, as qemu-storage-daemon changes it."""

import json
import os
import random
import time
import unittest

from lib import daemon, settings, tools
from lib.images import MIB, write_file

CHAIN = ("base.img", "middle.img", "top.img")


class Server:
    """A server with the chain top - middle - base, all of the format qcow2, and a node without a backing file."""

    def __init__(self, program):
        self.directory = daemon.make_workdir()
        self.image("create", "-f", "qcow2", self.path("base.img"), str(MIB))
        for name, below in (("middle.img", "base.img"), ("top.img", "middle.img")):
            self.image("create", "-f", "qcow2", "-b", self.path(below), "-F", "qcow2", self.path(name))
        write_file(self.path("raw.img"), bytes(MIB))
        self.image("create", "-f", "qcow2", "-b", self.path("raw.img"), "-F", "raw", self.path("above.img"))
        options = {"driver": "qcow2", "node-name": "base", "file": self.file("base.img")}
        for name in CHAIN[1:]:
            options = {"driver": "qcow2", "node-name": name[:-4], "backing": options,
                       "file": self.file(name)}
        above = {"driver": "qcow2", "node-name": "above", "file": self.file("above.img"),
                 "backing": {"driver": "raw", "file": self.file("raw.img")}}
        nodes = ["--blockdev", json.dumps(options), "--blockdev", json.dumps(above)]
        self.daemon = daemon.Daemon(self.directory, nodes, nbd_server=None, program=program)
        self.daemon.start()

    def stop(self):
        """Ends the server and takes its files away."""
        try:
            self.daemon.stop()
        finally:
            self.daemon.kill()
            daemon.remove_workdir(self.directory)

    def file(self, name):
        """The options of a file node."""
        return {"driver": "file", "filename": self.path(name)}

    def path(self, name):
        """A path in the server's directory."""
        return os.path.join(self.directory, name)

    def image(self, *arguments):
        """Runs qemu-img."""
        done = tools.finish("qemu-img", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def change(self, device, image, name):
        """The answer to the command."""
        return self.daemon.qmp.command("change-backing-file",
                                       {"device": device, "image-node-name": image, "backing-file": name})

    def backing(self, name):
        """(name, format) of the backing file in an image."""
        info = json.loads(self.image("info", "-U", "--output=json", "-f", "qcow2", self.path(name)))
        return info.get("backing-filename"), info.get("backing-filename-format")


class ChangeTest(unittest.TestCase):
    """Against our server and the reference."""

    def setUp(self):
        self.servers = [Server(settings.program())]
        self.addCleanup(self.servers[0].stop)
        if os.access(settings.REFERENCE, os.X_OK):
            self.servers.append(Server(settings.REFERENCE))
            self.addCleanup(self.servers[1].stop)

    def test_names(self):
        """The image has the name that was given last, and is whole."""
        for name in ("new.img", "x" * 1023, "again.img", "", "dir/last.img"):
            for server in self.servers:
                self.assertEqual(server.change("top", "top", name), {"return": {}})
                self.assertEqual(server.backing("top.img"), (name, "qcow2") if name else (None, None))
        for server in self.servers:
            server.change("top", "top", server.path("middle.img"))
            self.assertIn("No errors were found", server.image("check", "-U", "-f", "qcow2", server.path("top.img")))

    def test_errors(self):
        """Wrong requests are refused with the words of the reference."""
        for device, image, name in (("top", "nowhere", "n"), ("nowhere", "top", "n"), ("nowhere", "nowhere", "n"),
                                    ("top", "base", "n"), ("top", "top", "x" * 1024), ("top", "above", "n"),
                                    ("above", "base", "n")):
            with self.subTest(device=device, image=image):
                answers = [server.change(device, image, name) for server in self.servers]
                self.assertIn("error", answers[0])
                self.assertEqual(answers[0], answers[-1])
        for server in self.servers:
            self.assertEqual(server.backing("top.img")[0], server.path("middle.img"))

    @settings.unlike_qemu("it records the driver of the image")
    def test_format(self):
        """The format is that of the node below."""
        self.assertEqual(self.servers[0].change("above", "above", "other.img"), {"return": {}})
        self.assertEqual(self.servers[0].backing("above.img"), ("other.img", "raw"))

    @settings.unlike_qemu("it opens the image again for that")
    def test_read_only(self):
        """An image that is open for reading only is not changed."""
        server = self.servers[0]
        server.daemon.qmp.execute("blockdev-add", {
            "driver": "qcow2", "node-name": "ro", "read-only": True, "backing": "base",
            "file": {"driver": "file", "filename": server.path("above.img"), "locking": "off"}})
        self.assertEqual(server.change("ro", "ro", "n")["error"]["desc"], "Block node is read-only")

    @settings.unlike_qemu("it writes the name and what refers to it at once")
    def test_kill(self):
        """A server that is killed at any moment leaves one of the names that were given."""
        generator = random.Random(5)
        for _ in range(8):
            server = Server(settings.program())
            self.addCleanup(daemon.remove_workdir, server.directory)
            self.addCleanup(server.daemon.kill)
            names = ["a" * generator.randrange(1, 1000) for _ in range(200)]
            for name in names:
                server.daemon.qmp.send({"execute": "change-backing-file", "arguments": {
                    "device": "top", "image-node-name": "top", "backing-file": name}})
            time.sleep(generator.random() * 0.05)
            server.daemon.kill()
            self.assertIn(server.backing("top.img")[0], [server.path("middle.img"), *names])


if __name__ == "__main__":
    unittest.main()

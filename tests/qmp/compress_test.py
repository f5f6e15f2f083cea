"""The filter `compress`: the nodes over which it can stand, and its commands, as qemu-storage-daemon answers them.

Each command goes to the server under test and, where it is installed, to the reference; the answers have to be equal.
"""

import os
import unittest

from lib import daemon, settings, tools
from lib.images import MIB
from lib.testcase import file_node, null_node

UNDERLYING = "Compression is not supported for underlying format: "
REOPENING = "Block format 'compress' used by node 'c' does not support reopening files"


def add(**options):
    """The command that adds a compress node."""
    return "blockdev-add", {"driver": "compress", "node-name": "c", **options}


def image(name, **options):
    """The options of a qcow2 node."""
    return {"driver": "qcow2", "file": {"driver": "file", "filename": f"{name}.qcow2"}, **options}


# Commands, and the messages of their errors.
COMMANDS = [
    (*add(), "Parameter 'file' is missing"),
    (*add(file="nowhere"), "Cannot find device='nowhere' nor node-name='nowhere'"),
    (*add(file="plain"), UNDERLYING + "file"),
    (*add(file="null"), UNDERLYING + "null-co"),
    (*add(file={"driver": "raw", "file": "plain"}), UNDERLYING + "raw"),
    ("blockdev-add", image("disk", **{"node-name": "disk"}), None),
    (*add(file="disk", size=1), "Parameter 'size' is unexpected"),
    (*add(file={"driver": "raw", "file": "disk"}), UNDERLYING + "raw"),
    (*add(file={"driver": "blkdebug", "image": "disk"}), UNDERLYING + "blkdebug"),
    (*add(file="disk"), None),
    (*add(file="disk"), "Duplicate nodes with node-name='c'"),
    ("blockdev-add", {"driver": "compress", "node-name": "c2", "file": "c"}, UNDERLYING + "compress"),
    ("blockdev-add", {"driver": "compress", "node-name": "c2", "read-only": True, "file": "disk"}, None),
    ("blockdev-del", {"node-name": "c2"}, None),
    ("blockdev-add", {"driver": "raw", "node-name": "top", "file": "c"}, None),
    ("block_resize", {"node-name": "c", "size": 2 * MIB}, None),
    ("block_resize", {"node-name": "c", "size": 1000}, "The new size must be a multiple of 512"),
    ("blockdev-reopen", {"options": [{"driver": "compress", "node-name": "c", "file": "disk"}]}, REOPENING),
    ("blockdev-reopen", {"options": [{"driver": "compress", "node-name": "c", "file": "null"}]}, REOPENING),
    ("blockdev-del", {"node-name": "c"}, "Block device c is in use"),
    ("blockdev-del", {"node-name": "disk"}, "Block device disk is in use"),
    ("blockdev-del", {"node-name": "top"}, None),
    ("block-dirty-bitmap-add", {"node": "c", "name": "b", "granularity": 65536}, None),
    ("blockdev-del", {"node-name": "c"}, None),
    ("blockdev-del", {"node-name": "disk"}, None),
    # Over an image that can be read alone, and read-only over one that could be written.
    (*add(file=image("disk", **{"read-only": True})), None),
    ("blockdev-del", {"node-name": "c"}, None),
    (*add(file=image("disk"), **{"read-only": True}), None),
    ("blockdev-del", {"node-name": "c"}, None),
    # With an external data file it can be opened, although no write succeeds.
    (*add(file=image("data")), None),
    ("blockdev-del", {"node-name": "c"}, None),
    (*add(file=image("nowhere")), "Could not open 'nowhere.qcow2': No such file or directory"),
]


class CompressTest(unittest.TestCase):
    """The server under test, and the reference if it is there."""

    def answers(self, program):
        """Messages of the errors of all commands, and the description of a node."""
        directory = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, directory)
        plain = os.path.join(directory, "plain.img")
        with open(plain, "wb") as file:
            file.truncate(MIB)
        for name, options in (("disk", []), ("data", ["-o", "data_file=data.raw"])):
            tools.run("qemu-img", "create", "-q", "-f", "qcow2", *options, f"{name}.qcow2", str(MIB), cwd=directory)
        nodes = [*file_node("plain", plain), *null_node("null", MIB)]
        server = daemon.Daemon(directory, nodes, nbd_server=None, program=program)
        server.start()
        try:
            messages = []
            for command, arguments, _ in COMMANDS:
                answer = server.qmp.command(command, arguments)
                messages.append(answer.get("error", {}).get("desc"))
            server.qmp.execute(*add(file=image("disk", **{"node-name": "disk"})))
            described = next(node for node in server.qmp.execute("query-named-block-nodes", {"flat": True})
                             if node["node-name"] == "c")
        finally:
            server.stop()
        return messages, {name: described[name] for name in ("drv", "ro", "file", "backing_file_depth", "encrypted")}

    def test_answers(self):
        """Equal to what is expected, and to the reference's."""
        messages, described = self.answers(settings.program())
        for (command, arguments, expected), message in zip(COMMANDS, messages):
            self.assertEqual(message, expected, f"{command} {arguments}")
        self.assertEqual(described["drv"], "compress")
        if os.access(settings.REFERENCE, os.X_OK):
            self.assertEqual((messages, described), self.answers(settings.REFERENCE))

"""Numbers at their limits: each integer of each command and option is refused by name, or taken exactly."""

import copy
import os
import subprocess

from lib import images, settings, tools
from lib.images import MIB
from lib.testcase import DaemonTest, file_node, null_node
from lib.wait import until

MAXIMUM = 2**63 - 2**30  # bytes of the largest node
VALUES = (-2**63, -1, 0, 1, 2**15, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, MAXIMUM, MAXIMUM + 1,
          2**63 - 512, 2**63 - 1, 2**63, 2**64 - 1, 2**64)
# The time for which a client tries again is a matter of the tests of character devices.
ELSEWHERE = ("reconnect", "reconnect-ms")
# Of which 0 stands for a standard value.
STANDARD = ("poll-grow", "poll-shrink", "poll-weight")
# Requests that refuse a number without the name of its member, in the words of qemu-storage-daemon.
TEXTS = ("Could not refresh total sector count: File too large", "exceeds maximum(", "Failed to resize file: ",
         "Offset (", "The sum of offset (", "Specified size is not multiple of 512", "Could not resize file: ",
         "Cannot shrink", "is not an iothread", "Granularity must be power of 2", "Extent size hint is too large",
         "Image size ", "Could not resize image: ", "Cluster size must be ", "Refcount width must be ",
         "Block job 'j' not found", "Cache clean interval too big", "L2 cache entry size must be a power of two",
         "L2 cache size too big", "Refcount cache size too big", "Invalid log sector size",
         "Invalid log superblock update interval", "threshold may not exceed children count",
         "bps/iops/max values must be within [0, ", "the burst length cannot be 0",
         "burst length set without burst rate",
         "burst length too high for this burst rate", "bps_max/iops_max require corresponding bps/iops values",
         "does not support reopening files", "doesn't support changing the block driver",
         "Parameter 'key-secret' is required for cipher",
         "iops size requires an iops value to be set", "Property values cannot be negative")


def integers(schema):
    """(command, path) of each integer in arguments; a path has names, and (name, value) where a union is chosen."""
    types = {entry["name"]: entry for entry in schema}
    found = []

    def walk(name, command, path, seen):
        entry = types[name]
        if entry["meta-type"] == "builtin" and entry["json-type"] in ("int", "number"):
            found.append((command, path))
        if name in seen:
            return
        seen = seen | {name}
        if entry["meta-type"] == "array":
            walk(entry["element-type"], command, [*path, 0], seen)
        if entry["meta-type"] == "alternate":
            for member in entry["members"]:
                walk(member["type"], command, path, seen)
        if entry["meta-type"] == "object":
            for member in entry["members"]:
                walk(member["type"], command, [*path, member["name"]], seen)
            for variant in entry.get("variants", []):
                walk(variant["type"], command, [*path, (entry["tag"], variant["case"])], seen)

    for entry in schema:
        if entry["meta-type"] == "command":
            walk(entry["arg-type"], entry["name"], [], frozenset())
    return found


class Case:
    """One member of one command: a request that is right without it, and what undoes the request."""

    def __init__(self, command, path, arguments, undo):
        self.command, self.path, self.arguments, self.undo = command, path, arguments, undo

    def request(self, value):
        """The arguments with the number in its place."""
        arguments = copy.deepcopy(self.arguments)
        place = arguments
        names = [name for name in self.path if not isinstance(name, tuple)]
        for name in names[:-1]:
            place = place[name] if isinstance(name, int) else place.setdefault(name, {})
        place[names[-1]] = value
        return arguments

    def __str__(self):
        return self.command + "".join(f" {name}" for name in self.path)


class NumbersTest(DaemonTest):
    """Against one server, which must live through all of it."""

    @classmethod
    def prepare(cls):
        cls.disk = images.make_empty(cls.path("disk.img"), MIB)
        cls.image = cls.path("disk.qcow2")
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", cls.image, str(MIB))
        created = images.make_empty(cls.path("created.qcow2"), 0)
        return [*file_node("file", cls.disk), *null_node("scratch", MIB), *file_node("created", created)]

    nbd_server = None

    def base(self, command, path):
        """A request of that command without the number, and the one that undoes it; None when it is not known."""
        choices = [part[1] for part in path if isinstance(part, tuple)]
        nbd_path = self.path("numbers.sock")
        if command == "backup-begin":
            disks = [{"node-name": "file", "scratch": "scratch"}]
            return {"id": "b", "disks": disks}, ("backup-end", {"id": "b", "outcome": "abort"})
        if command in ("blockdev-add", "blockdev-reopen"):
            stored = {"driver": "file", "node-name": "n", "filename": self.disk,
                      "bitmap-store": {"filename": self.path("disk.bitmaps")}}
            node = stored if not choices else {"file": {"driver": "file", "node-name": "n", "filename": self.disk},
                    "raw": {"driver": "raw", "node-name": "n", "file": "file"},
                    "qcow2": {"driver": "qcow2", "node-name": "n",
                              "file": {"driver": "file", "filename": self.image}},
                    "blkdebug": {"driver": "blkdebug", "node-name": "n", "image": "file",
                                 "inject-error": [{"event": "none", "iotype": "block-status"}],
                                 "set-state": [{"event": "none", "new_state": 1}]},
                    "copy-before-write": {"driver": "copy-before-write", "node-name": "n", "file": "file",
                                          "target": "scratch"},
                    "blklogwrites": {"driver": "blklogwrites", "node-name": "n", "file": "file", "log": "scratch"},
                    "quorum": {"driver": "quorum", "node-name": "n", "children": ["file"], "vote-threshold": 1},
                    "preallocate": {"driver": "preallocate", "node-name": "n", "file": "file"},
                    "null-co": {"driver": "null-co", "node-name": "n"},
                    "null-aio": {"driver": "null-aio", "node-name": "n"}}.get(choices[0])
            if command == "blockdev-add":
                return node and (node, ("blockdev-del", {"node-name": "n"}))
            return node and ({"options": [node]}, None)
        if command == "block_resize":
            return {"node-name": "file"}, (command, {"node-name": "file", "size": MIB})
        bitmap = {"node": "file", "name": "b"}
        if command == "block-dirty-bitmap-add":
            return bitmap, ("block-dirty-bitmap-remove", bitmap)
        if command == "transaction":
            return {"actions": [{"type": choices[0], "data": bitmap}]}, ("block-dirty-bitmap-remove", bitmap)
        if command == "nbd-server-start":
            address = {"type": "unix", "data": {"path": nbd_path}}
            if choices == ["inet"]:
                address = {"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}
            return {"addr": address}, ("nbd-server-stop", None)
        if command == "nbd-servers-add":
            address = "unix:" + nbd_path
            if choices:
                address = {"type": "inet", "host": "127.0.0.1", "port": "0"}
            return {"id": "s", "listen": [address]}, ("nbd-servers-remove", {"id": "s"})
        if command == "object-add":
            return {"qom-type": choices[0], "id": "o"}, ("object-del", {"id": "o"})
        if command == "blockdev-create":
            options = {"file": {"driver": "file", "filename": self.path("created.img"), "size": MIB},
                       "qcow2": {"driver": "qcow2", "file": "created", "size": MIB},
                       # Without a passphrase, so that no number decides how long one is hashed.
                       "luks": {"driver": "luks", "file": "created", "size": MIB}}[choices[0]]
            return {"job-id": "j", "options": options}, ("job-dismiss", {"id": "j"})
        if command == "x-blockdev-amend":
            options = {"luks": {"driver": "luks", "state": "active"},
                       "qcow2": {"driver": "qcow2", "encrypt": {"format": "luks", "state": "active"}}}[choices[0]]
            return {"job-id": "j", "node-name": "file", "options": options}, ("job-dismiss", {"id": "j"})
        if command == "export-client-disconnect":
            return {"identity": "nobody"} if path[-1] == "ban-seconds" else {}, None
        if command == "block-job-set-speed":
            return {"device": "j"}, None
        if command == "chardev-add":
            data = {"server": True, "wait": False,
                    "addr": {"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}}
            return {"id": "c", "backend": {"type": choices[0], "data": data}}, ("chardev-remove", {"id": "c"})
        return None

    def cases(self):
        """Each integer that a command of this server takes."""
        for command, path in integers(self.qmp.execute("query-qmp-schema")):
            if path[-1] in ELSEWHERE or ("driver", "host_device") in path:
                continue
            # The options of nodes are those of blockdev-add.
            if command == "blockdev-create" and sum(not isinstance(part, tuple) for part in path) > 2:
                continue
            base = self.base(command, path)
            self.assertIsNotNone(base, f"{command} {path} takes a number, and this test has no request for it")
            yield Case(command, path, *base)

    def check_refusal(self, case, value, reply):
        """It says which number was meant."""
        text = reply["error"]["desc"]
        named = f"{case.path[-1]}" in text or any(known in text for known in TEXTS)
        self.assertTrue(named, f"{case} = {value}: {text}")

    def end_of_job(self):
        """Waits for the end of the job that a command began; the reply that a command without a job would have."""
        def concluded():
            return next((job for job in self.qmp.execute("query-jobs") if job["status"] == "concluded"), None)

        info = until(concluded, timeout=30, what="the end of the job")
        return {"error": {"desc": info["error"]}} if "error" in info else {"return": {}}

    def check_value(self, case, value):
        """What was taken is what was given, as far as the server tells."""
        if case.command == "blockdev-create":
            if case.path[-1] == "size" and ("driver", "file") in case.path:
                self.assertEqual(os.stat(self.path("created.img")).st_size, value, str(case))
            return
        if case.command == "object-add" and (value or case.path[-1] not in STANDARD):
            names = [name for name in case.path if not isinstance(name, tuple)]
            got = self.qmp.execute("qom-get", {"path": "/objects/o", "property": names[0]})
            self.assertEqual(got[names[1]] if len(names) > 1 else got, value, str(case))
        if case.path[-1] == "size":
            size = {node["node-name"]: node for node in self.qmp.execute("query-named-block-nodes")}
            got = size["file" if case.command == "block_resize" else "n"]["image"]["virtual-size"]
            self.assertEqual(got, (value + 511) // 512 * 512, str(case))
            self.assertLessEqual(got, MAXIMUM)

    @settings.unlike_qemu("7.2 aborts at a negative size")
    def test_numbers_of_commands(self):
        """-1, 0, both sides of 2^16, 2^31, 2^32, 2^63 and 2^64 for every integer of every command."""
        count = 0
        for case in self.cases():
            if case.command == "blockdev-reopen":
                self.qmp.execute("blockdev-add", case.arguments["options"][0])
            if case.command == "backup-begin":
                address = {"type": "unix", "data": {"path": self.path("backup.sock")}}
                self.qmp.execute("nbd-server-start", {"addr": address})
            for value in VALUES:
                reply = self.qmp.command(case.command, case.request(value))
                if case.command == "blockdev-create" and "return" in reply:
                    reply = self.end_of_job()
                    if "error" in reply:
                        self.qmp.execute("job-dismiss", {"id": "j"})
                if "error" in reply:
                    self.check_refusal(case, value, reply)
                    continue
                self.check_value(case, value)
                if case.undo:
                    self.assertIn("return", self.qmp.command(*case.undo), f"{case} = {value}")
            if case.command == "blockdev-reopen":
                self.qmp.execute("blockdev-del", {"node-name": "n"})
            if case.command == "backup-begin":
                self.qmp.execute("nbd-server-stop")
            count += 1
        self.assertGreater(count, 20)

    @settings.unlike_qemu("7.2 cuts ports to 16 bits")
    def test_ports(self):
        """A port that is no port is refused, by servers and character devices, and never cut to 16 bits."""
        for port in ("-1", "65536", "70000", "4294967296", "9223372036854775808", "+65536", " 70000"):
            address = {"type": "inet", "data": {"host": "127.0.0.1", "port": port}}
            text = f"address resolution failed for 127.0.0.1:{port}: Servname not supported for ai_socktype"
            self.assertEqual(self.qmp.failure("nbd-server-start", {"addr": address})[1], text)
            backend = {"type": "socket", "data": {"addr": address, "wait": False}}
            self.assertEqual(self.qmp.failure("chardev-add", {"id": "c", "backend": backend})[1],
                             f"Failed to add chardev 'c': {text}")
        for address in ({"cid": "4294967296", "port": "1"}, {"cid": "1", "port": "4294967296"}):
            text = self.qmp.failure("nbd-server-start", {"addr": {"type": "vsock", "data": address}})[1]
            self.assertIn(text, ("Failed to parse cid '4294967296'", "Failed to parse port '4294967296'"))

    def test_largest_node(self):
        """A node of the largest size can be exported, and a client is told exactly that size."""
        self.qmp.execute("nbd-server-start", {"addr": {"type": "unix", "data": {"path": self.daemon.nbd_path}}})
        self.addCleanup(self.qmp.execute, "nbd-server-stop")
        self.add_node("largest", driver="null-co", size=MAXIMUM)
        self.add_export("largest")
        self.assertEqual(self.session("largest").info.size, MAXIMUM)


class OptionsTest(DaemonTest):
    """The same on the command line. The server of the class only shows that the machine is well."""

    OPTIONS = (("--blockdev", "null-co,node-name=n,size={}"), ("--blockdev", "null-co,node-name=n,latency-ns={}"),
               ("--nbd-server", "addr.type=unix,addr.path=n.sock,max-connections={}"),
               ("--nbd-server", "addr.type=unix,addr.path=n.sock,handshake-max-seconds={}"),
               ("--nbd-server", "addr.type=inet,addr.host=127.0.0.1,addr.port=0,addr.to={}"),
               ("--nbd-server", "addr.type=inet,addr.host=127.0.0.1,addr.port={}"),
               ("--chardev", "socket,id=c,host=127.0.0.1,port=0,to={},server=on,wait=off"),
               ("--chardev", "socket,id=c,host=127.0.0.1,port={},server=on,wait=off"),
               ("--object", "iothread,id=o,poll-max-ns={}"), ("--object", "iothread,id=o,thread-pool-max={}"),
               ("--reactors", "{}"))
    # Beyond the range of every one of them.
    BEYOND = (-1, 2**63, 2**64)

    @settings.unlike_qemu("7.2 takes some of them for other numbers")
    def test_numbers_beyond_their_range(self):
        """Each is refused at start, with a line that repeats the option, and exit code 1."""
        for option, text in self.OPTIONS:
            for value in self.BEYOND:
                argument = text.format(value)
                ended = subprocess.run([settings.program(), option, argument], cwd=self.workdir, capture_output=True,
                                       stdin=subprocess.DEVNULL, text=True, timeout=settings.seconds(20))
                self.assertEqual(ended.returncode, 1, f"{option} {argument}: {ended.stderr}")
                self.assertIn(f"{option} {argument}: ", ended.stderr)

    @settings.unlike_qemu("7.2 cuts ports to 16 bits")
    def test_ports_beyond_16_bits(self):
        """So are ports and the ends of ranges of ports above 65535."""
        for option, text in self.OPTIONS:
            if "{}" not in text or not ("port={}" in text or "to={}" in text):
                continue
            argument = text.format(70000)
            ended = subprocess.run([settings.program(), option, argument], cwd=self.workdir, capture_output=True,
                                   stdin=subprocess.DEVNULL, text=True, timeout=settings.seconds(20))
            self.assertEqual(ended.returncode, 1, f"{option} {argument}: {ended.stderr}")

"""The driver blkdebug: rules by which requests of clients fail, as with qemu-storage-daemon."""

from lib import images, settings, tools
from lib.images import KIB, MIB
from lib.testcase import DaemonTest

SIZE = MIB


class BlkdebugTest(DaemonTest):
    """A file, over which the tests put a blkdebug node and a raw node."""

    @classmethod
    def prepare(cls):
        images.make_random(cls.path("disk.img"), SIZE)
        return []

    def options(self, **options):
        """The options of the blkdebug node."""
        image = {"driver": "file", "filename": self.path("disk.img")}
        return {"driver": "blkdebug", "node-name": "debug", "image": image, **options}

    def expose(self, **options):
        """Exports a raw node over a blkdebug node of these options as `disk`."""
        self.qmp.execute("blockdev-add", self.options(**options))
        self.addCleanup(self.qmp.command, "blockdev-del", {"node-name": "debug"})
        self.add_node("disk", driver="raw", file="debug")
        self.add_export("disk", writable=True)

    def run_requests(self, *requests):
        """The results of these requests of qemu-io: True, or the text of the error."""
        results = []
        for request in requests:
            output = tools.run("qemu-io", "-f", "raw", "-c", request, self.uri("disk"), expected=None)
            results.append(output.split("failed: ")[1].strip() if "failed: " in output else True)
        return results

    def refusal(self, **options):
        """The error of adding a node with these options; empty when it is added."""
        answer = self.qmp.command("blockdev-add", self.options(**options))
        if "error" in answer:
            return answer["error"]["desc"]
        self.qmp.execute("blockdev-del", {"node-name": "debug"})
        return ""


class RulesTest(BlkdebugTest):
    """Rules from options and files."""

    def test_kinds(self):
        """A rule of the event `none` holds at once, for its kind of requests."""
        self.expose(**{"inject-error": [{"event": "none", "iotype": "write", "errno": 28, "immediately": True}]})
        self.assertEqual(self.run_requests("read 0 512", "write 0 512", "read 0 512"),
                         [True, "No space left on device", True])

    def test_sector(self):
        """A rule with a sector is for requests that contain it."""
        self.expose(**{"inject-error": [{"event": "none", "iotype": "read", "sector": 8}]})
        self.assertEqual(self.run_requests("read 0 4096", "read 4096 512", "read 0 8192", "read 4608 512"),
                         [True, "Input/output error", "Input/output error", True])

    def test_once(self):
        """A rule may count once."""
        self.expose(**{"inject-error": [{"event": "none", "iotype": "write", "once": True}]})
        self.assertEqual(self.run_requests("write 0 512", "write 0 512"), ["Input/output error", True])

    def test_event(self):
        """An event of the node above activates a rule, and stays until another rule is activated."""
        self.expose(**{"inject-error": [{"event": "write_aio", "iotype": "read"}]})
        self.assertEqual(self.run_requests("read 0 512", "write 0 512", "read 0 512", "read 0 512"),
                         [True, True, "Input/output error", "Input/output error"])

    def test_states(self):
        """States count events."""
        self.expose(**{"set-state": [{"event": "write_aio", "state": 1, "new_state": 2},
                                     {"event": "write_aio", "state": 2, "new_state": 3}],
                       "inject-error": [{"event": "write_aio", "state": 3, "iotype": "write"}]})
        self.assertEqual(self.run_requests("write 0 512", "write 0 512", "write 0 512"),
                         [True, True, "Input/output error"])

    def test_file(self):
        """A file has the same rules."""
        with open(self.path("rules"), "w", encoding="utf-8") as file:
            file.write('# rules\n[inject-error]\nevent = "none"\niotype = "write"\nsector = "8"\nerrno = "28"\n')
        self.expose(config=self.path("rules"))
        self.assertEqual(self.run_requests("write 0 512", "write 4096 512"), [True, "No space left on device"])

    def test_limits(self):
        """Requests of any size and alignment are right, whatever the node demands."""
        self.expose(align=4096, **{"max-transfer": 8192, "opt-write-zero": 16384, "max-write-zero": 32768,
                                   "opt-discard": 8192, "max-discard": 16384})
        self.assertEqual(self.run_requests("write -P 9 1 100000", "write -z 30001 50000", "discard 5 60000"),
                         [True, True, True])
        output = tools.run("qemu-io", "-f", "raw", "-c", "read -P 9 1 30000", "-c", "read -P 0 30001 50000", "-c",
                           "read -P 9 80001 20000", self.uri("disk"))
        self.assertNotIn("Pattern verification failed", output)


class OptionsTest(BlkdebugTest):
    """Errors, reopening, and the description of the node."""

    def test_limits(self):
        """Limits that contradict each other are errors."""
        for options, message in (
                ({"align": 3}, "Cannot meet constraints with align 3"),
                ({"align": 2 ** 31}, "Cannot meet constraints with align 2147483648"),
                ({"align": 4096, "max-transfer": 512}, "Cannot meet constraints with max-transfer 512"),
                ({"opt-write-zero": 64 * KIB, "max-write-zero": 4096},
                 "Cannot meet constraints with max-write-zero 4096"),
                ({"align": 4096, "opt-discard": 512}, "Cannot meet constraints with opt-discard 512"),
                ({"align": 0, "max-transfer": 0, "opt-write-zero": 0}, ""),
                ({"inject-error": [{"event": "foo"}]}, "Parameter 'event' does not accept value 'foo'")):
            with self.subTest(options=options):
                self.assertEqual(self.refusal(**options), message)

    def test_files(self):
        """A rule file that is missing or wrong is an error."""
        self.assertEqual(self.refusal(config=self.path("none")),
                         "Could not read blkdebug config file: No such file or directory")
        self.assertEqual(self.refusal(config=self.workdir), "Cannot read config file: Is a directory")
        for text, message in (("foo\n", "no group defined"), ("[foo]\n", "There is no option group 'foo'"),
                              ("[inject-error]\n", "Missing event name for rule"),
                              ('[inject-error]\nevent = "bad"\n', "invalid parameter value: bad"),
                              ('[set-state]\nevent = "none"\nfoo = "2"\n', "Invalid parameter 'foo'")):
            with self.subTest(text=text):
                with open(self.path("wrong"), "w", encoding="utf-8") as file:
                    file.write(text)
                self.assertEqual(self.refusal(config=self.path("wrong")), message)

    def test_reopen(self):
        """Its options cannot change."""
        self.qmp.execute("blockdev-add", self.options(align=512))
        self.addCleanup(self.qmp.execute, "blockdev-del", {"node-name": "debug"})

        def reopen(**options):
            answer = self.qmp.command("blockdev-reopen", {"options": [self.options(**options)]})
            return answer["error"]["desc"] if "error" in answer else ""

        self.assertEqual(reopen(), "Option 'align' cannot be reset to its default value")
        self.assertEqual(reopen(align=1024), "Cannot change the option 'align'")
        self.assertEqual(reopen(align=512, **{"inject-error": [{"event": "none"}]}),
                         "Cannot change the option 'inject-error.0.event'")
        self.assertEqual(reopen(align=512, **{"read-only": True}), "")

    def test_reopen_rules(self):
        """The error names the member of a rule that is different."""
        rules = {"inject-error": [{"event": "none", "errno": 5}]}
        self.qmp.execute("blockdev-add", self.options(**rules))
        self.addCleanup(self.qmp.execute, "blockdev-del", {"node-name": "debug"})
        for rule, message in (({"errno": 6}, "Cannot change the option 'inject-error.0.errno'"),
                              ({"errno": 5, "sector": 1}, "Cannot change the option 'inject-error.0.sector'"),
                              ({}, "Option 'inject-error.0.errno' cannot be reset to its default value")):
            changed = {"inject-error": [{"event": "none", **rule}]}
            answer = self.qmp.command("blockdev-reopen", {"options": [self.options(**changed)]})
            self.assertEqual(answer["error"]["desc"], message)
        self.qmp.execute("blockdev-reopen", {"options": [self.options(**rules)]})

    def test_description(self):
        """The node has the name of its file, in the form of a protocol."""
        self.qmp.execute("blockdev-add", self.options())
        self.addCleanup(self.qmp.execute, "blockdev-del", {"node-name": "debug"})
        nodes = self.qmp.execute("query-named-block-nodes", {"flat": True})
        debug = next(node for node in nodes if node["node-name"] == "debug")
        self.assertEqual((debug["drv"], debug["file"]), ("blkdebug", f"blkdebug::{self.path('disk.img')}"))


class OurRulesTest(BlkdebugTest):
    """Numbers that qemu-storage-daemon takes as they are."""

    @settings.unlike_qemu("clients understand no other errors")
    def test_numbers(self):
        """An error has a number of Linux; an alignment is one that every node has."""
        for rule, message in (({"errno": -1}, "Parameter 'errno' expects a value from 0 to 4095"),
                              ({"delay-ns": -1}, "Parameter 'delay-ns' expects a value from 0 to 3600000000000")):
            self.assertEqual(self.refusal(**{"inject-error": [{"event": "none", **rule}]}), message)
        self.assertEqual(self.refusal(align=128 * KIB), "Cannot meet constraints with align 131072")


class Qcow2FaultsTest(BlkdebugTest):
    """Faults at the moments of a qcow2 image's work."""

    EVENTS = ("write_aio", "cow_read", "cow_write", "l2_alloc_write", "l2_update", "l1_update", "refblock_alloc_write",
              "refblock_update_part", "flush_to_os", "flush_to_disk", "cluster_alloc", "cluster_free", "refblock_load")

    def test_writes(self):
        """After a fault at any of them later requests succeed, and the image is sound but for leaks."""
        for event in self.EVENTS:
            with self.subTest(event=event):
                path = self.path(f"{event}.qcow2")
                tools.run("qemu-img", "create", "-q", "-f", "qcow2", path, str(SIZE))
                debug = {"driver": "blkdebug", "image": {"driver": "file", "filename": path},
                         "inject-error": [{"event": event, "once": True}]}
                self.qmp.execute("blockdev-add", {"driver": "qcow2", "node-name": "disk", "file": debug})
                self.add_export("disk", writable=True)
                results = [self.run_requests(f"write -P {i} 1000 70000", "flush") for i in (5, 6, 7)]
                self.assertEqual(results[2], [True, True], results)
                output = tools.run("qemu-io", "-f", "raw", "-c", "read -P 7 1000 70000", self.uri("disk"))
                self.assertNotIn("Pattern verification failed", output)
                self.drop_export("disk")
                self.qmp.execute("blockdev-del", {"node-name": "disk"})
                check = tools.finish("qemu-img", "check", "-f", "qcow2", path)
                self.assertIn(check.returncode, (0, 3), check.stdout)

    @settings.unlike_qemu("it writes compressed clusters once")
    def test_compressed_writes(self):
        """The same for writes through a compress filter; a fault when the compressed bytes are written is told."""
        for event in ("write_compressed", "l2_update_compressed", "cluster_alloc_bytes", "cow_read", "l2_update",
                      "refblock_update_part"):
            with self.subTest(event=event):
                path = self.path(f"compressed {event}.qcow2")
                tools.run("qemu-img", "create", "-q", "-f", "qcow2", path, str(SIZE))
                debug = {"driver": "blkdebug", "image": {"driver": "file", "filename": path},
                         "inject-error": [{"event": event, "once": True}]}
                self.qmp.execute("blockdev-add", {"driver": "qcow2", "node-name": "disk", "file": debug})
                self.qmp.execute("blockdev-add", {"driver": "compress", "node-name": "packed", "file": "disk"})
                self.add_export("disk", "packed", name="disk", writable=True)
                results = [self.run_requests(f"write -P {i} 0 128k", "flush") for i in (5, 6, 7)]
                if event in ("write_compressed", "cluster_alloc_bytes"):
                    self.assertIn("Input/output error", results[0])
                self.assertEqual(results[2], [True, True], results)
                output = tools.run("qemu-io", "-f", "raw", "-c", "read -P 7 0 128k", self.uri("disk"))
                self.assertNotIn("Pattern verification failed", output)
                self.drop_export("disk")
                self.qmp.execute("blockdev-del", {"node-name": "packed"})
                self.qmp.execute("blockdev-del", {"node-name": "disk"})
                check = tools.finish("qemu-img", "check", "-f", "qcow2", path)
                self.assertIn(check.returncode, (0, 3), check.stdout)

    @settings.unlike_qemu("its own order of writes may pass none of them")
    def test_each_is_met(self):
        """The first write to an image passes these moments, so their faults reach the client."""
        for event in ("write_aio", "l2_update", "refblock_update_part", "flush_to_disk", "cluster_alloc"):
            with self.subTest(event=event):
                path = self.path(f"met {event}.qcow2")
                tools.run("qemu-img", "create", "-q", "-f", "qcow2", path, str(SIZE))
                debug = {"driver": "blkdebug", "image": {"driver": "file", "filename": path},
                         "inject-error": [{"event": event, "once": True}]}
                self.qmp.execute("blockdev-add", {"driver": "qcow2", "node-name": "disk", "file": debug})
                self.add_export("disk", writable=True)
                self.assertIn("Input/output error", self.run_requests("write -P 5 0 64k", "flush"))
                self.drop_export("disk")
                self.qmp.execute("blockdev-del", {"node-name": "disk"})

    def debug_node(self, path, event):
        """The options of a node over an image, which has one error at that event."""
        debug = {"driver": "blkdebug", "image": {"driver": "file", "filename": path},
                 "inject-error": [{"event": event, "once": True}]}
        return {"driver": "qcow2", "node-name": "disk", "discard": "unmap", "file": debug}

    @settings.unlike_qemu("its own order of writes may leave the image corrupt")
    def test_larger_l1_tables(self):
        """A new size that needs a larger L1 table fails with the fault, and succeeds after it."""
        for event in ("l1_grow_alloc_table", "l1_grow_write_table", "l1_grow_activate_table"):
            with self.subTest(event=event):
                path = self.path(f"{event}.qcow2")
                tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", path, str(SIZE))
                self.qmp.execute("blockdev-add", self.debug_node(path, event))
                answer = self.qmp.command("block_resize", {"node-name": "disk", "size": 64 * MIB})
                self.assertIn("Input/output error", answer["error"]["desc"])
                self.qmp.execute("block_resize", {"node-name": "disk", "size": 64 * MIB})
                self.qmp.execute("blockdev-del", {"node-name": "disk"})
                check = tools.finish("qemu-img", "check", "-f", "qcow2", path)
                self.assertIn(check.returncode, (0, 3), check.stdout)

    @settings.unlike_qemu("it opens the image again for writing")
    def test_refcount_table(self):
        """An error of the refcount table is one of the opening."""
        path = self.path("reftable.qcow2")
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", path, str(SIZE))
        answer = self.qmp.command("blockdev-add", self.debug_node(path, "reftable_load"))
        self.assertIn("Input/output error", answer["error"]["desc"])

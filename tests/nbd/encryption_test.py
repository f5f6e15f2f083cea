"""Encrypted images: LUKS, and qcow2 with LUKS and AES, beside QEMU's tools on the same image in turn."""

import json
import os
import struct

from lib import encrypted, images, tools
from lib.encrypted import SECRET
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest

SIZE = 4 * MIB


class EncryptionCase(DaemonTest):
    """A server with secrets."""

    @classmethod
    def prepare(cls):
        return [*encrypted.secret(), *encrypted.secret("wrong", "a wrong one"), *encrypted.secret("second", "another")]

    def options(self, driver, path, secret="sec0", **options):
        """Options of a node that shows an encrypted image."""
        key = {"encrypt": {"format": "luks", "key-secret": secret}} if driver == "qcow2" else {"key-secret": secret}
        return {"driver": driver, "node-name": "disk", **key, "file": {"driver": "file", "filename": path}, **options}

    def open(self, driver, path, **options):
        """Exports an image for writing as `disk`; it is closed at the end of the test."""
        self.qmp.execute("blockdev-add", self.options(driver, path, **options))
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk", "writable": True})

    def close(self):
        """Closes the image."""
        self.qmp.execute("block-export-del", {"id": "disk", "mode": "hard"})
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.qmp.execute("blockdev-del", {"node-name": "disk"})

    def through_nbd(self, *commands):
        """Commands of qemu-io on the export."""
        words = [word for command in commands for word in ("-c", command)]
        tools.run("qemu-io", "-f", "raw", self.uri("disk"), *words)

    def job(self, command, **arguments):
        """Runs a job to its end; its error, or None."""
        self.qmp.execute(command, {"job-id": "job", **arguments})
        while True:
            event = self.qmp.wait_event("JOB_STATUS_CHANGE", timeout=60.0)
            if event["data"]["status"] == "concluded":
                break
        error = next(job for job in self.qmp.execute("query-jobs") if job["id"] == "job").get("error")
        self.qmp.execute("job-dismiss", {"id": "job"})
        return error

    def amend(self, driver="luks", force=False, **options):
        """Changes key slots of `disk`; the error, or None."""
        if driver == "qcow2":
            options = {"encrypt": {"format": "luks", **options}}
        return self.job("x-blockdev-amend", **{"node-name": "disk", "force": force,
                                               "options": {"driver": driver, **options}})

    def information(self):
        """What queries tell of the image."""
        nodes = self.qmp.execute("query-named-block-nodes")
        return next(node["image"] for node in nodes if node["node-name"] == "disk")


class LuksTest(EncryptionCase):
    """The driver luks."""

    def use_in_turn(self, driver, path):
        """QEMU writes, we read and write, QEMU reads."""
        encrypted.qemu_io(path, driver, "write -P 17 0 256k", "write -P 23 700k 3k")
        self.open(driver, path)
        self.through_nbd("read -P 17 0 256k", "read -P 23 700k 3k", "write -P 99 10000 5000", "write -z 300k 100k",
                         "write -P 5 1000k 24k", "write -P 6 2097151 3", "flush")
        self.close()
        encrypted.qemu_io(path, driver, "read -P 17 0 10000", "read -P 99 10000 5000", "read -P 17 15000 230k",
                          "read -P 0 300k 100k", "read -P 5 1000k 24k", "read -P 6 2097151 3")

    def test_every_hash_in_turn(self):
        """Each hash function opens the key slots."""
        for name in ("sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160", "md5"):
            with self.subTest(hash=name):
                path = encrypted.make(self.path("hash.luks"), "luks", SIZE, f"hash-alg={name}")
                self.use_in_turn("luks", path)

    def test_refusals(self):
        """A missing key, a wrong one, and no image."""
        path = encrypted.make(self.path("refused.luks"), "luks", SIZE)
        options = self.options("luks", path)
        del options["key-secret"]
        self.assertEqual(self.qmp.failure("blockdev-add", options)[1],
                         "Parameter 'key-secret' is required for cipher")
        for secret, text in (("nobody", "No secret with id 'nobody'"),
                             ("wrong", "Invalid password, cannot unlock any keyslot")):
            self.assertEqual(self.qmp.failure("blockdev-add", self.options("luks", path, secret))[1], text)
        images.make_empty(self.path("empty"), MIB)
        self.assertEqual(self.qmp.failure("blockdev-add", self.options("luks", self.path("empty")))[1],
                         "Volume is not in LUKS format")
        with open(path, "r+b") as file:
            file.truncate(600000)
        self.assertEqual(self.qmp.failure("blockdev-add", self.options("luks", path))[1],
                         "Could not refresh total sector count: Input/output error")

    def test_information_and_size(self):
        """Queries tell how the image is encrypted; the size is that behind the header, and changes."""
        path = encrypted.make(self.path("info.luks"), "luks", SIZE, "cipher-alg=aes-128", "cipher-mode=cbc",
                              "ivgen-alg=essiv", "hash-alg=sha512", "ivgen-hash-alg=md5")
        self.open("luks", path)
        told = json.loads(tools.run("qemu-img", "info", "--output=json", "-U", path))
        shown = self.information()
        self.assertEqual(shown["virtual-size"], SIZE)
        self.assertTrue(shown["encrypted"])
        data = shown["format-specific"]["data"]
        self.assertEqual(data.pop("detached-header"), False)
        expected = told["format-specific"]["data"]
        expected.pop("detached-header", None)
        self.assertEqual(data, expected)
        self.qmp.execute("block_resize", {"node-name": "disk", "size": 2 * SIZE})
        self.assertEqual(os.path.getsize(path), data["payload-offset"] + 2 * SIZE)
        self.through_nbd(f"write -P 3 {SIZE} 64k", f"read -P 3 {SIZE} 64k")
        self.close()

    def test_change_of_key_slots(self):
        """A passphrase is added while a client is connected, the old one removed, and QEMU sees both."""
        path = encrypted.make(self.path("amend.luks"), "luks", SIZE)
        self.open("luks", path)
        self.through_nbd("write -P 8 0 64k")
        self.assertIsNone(self.amend(**{"state": "active", "new-secret": "second", "iter-time": 10}))
        self.assertEqual(self.amend(state="inactive", **{"old-secret": "wrong"}),
                         "No keyslots match given (old) password for erase operation")
        self.assertIsNone(self.amend(state="inactive", keyslot=0))
        self.assertEqual([slot["active"] for slot in self.information()["format-specific"]["data"]["slots"]],
                         [False, True] + 6 * [False])
        self.assertIn("refusing operation", self.amend(state="inactive", keyslot=1))
        self.through_nbd("read -P 8 0 64k", "write -P 9 64k 64k")
        self.close()
        self.assertFalse(encrypted.opens(path, "luks", SECRET))
        encrypted.qemu_io(path, "luks", "read -P 8 0 64k", "read -P 9 64k 64k", content="another")

    def test_refused_changes_of_key_slots(self):
        """The texts of QEMU."""
        path = encrypted.make(self.path("amend.luks"), "luks", SIZE)
        self.open("luks", path)
        for options, text in (
                ({"state": "active"}, "'new-secret' is required to activate a keyslot"),
                ({"state": "active", "new-secret": "second", "old-secret": "sec0"},
                 "'old-secret' must not be given when activating keyslots"),
                ({"state": "active", "new-secret": "second", "keyslot": 8},
                 "Invalid keyslot 8 specified, must be between 0 and 7"),
                ({"state": "active", "new-secret": "second", "keyslot": 0},
                 "Refusing to overwrite active keyslot 0 - please erase it first"),
                ({"state": "active", "new-secret": "second", "secret": "wrong"},
                 "Invalid password, cannot unlock any keyslot"),
                ({"state": "inactive", "new-secret": "second"}, "'new-secret' must not be given when erasing keyslots"),
                ({"state": "inactive", "iter-time": 1}, "'iter-time' must not be given when erasing keyslots"),
                ({"state": "inactive", "secret": "sec0"}, "'secret' must not be given when erasing keyslots"),
                ({"state": "inactive", "keyslot": 3}, "Given keyslot 3 is already erased (inactive) "),
                ({"state": "inactive", "old-secret": "wrong", "keyslot": 0},
                 "Given keyslot 0 doesn't contain the given old password for erase operation")):
            with self.subTest(options=options):
                self.assertEqual(self.amend(**options), text)
        self.assertEqual(self.qmp.failure("x-blockdev-amend", {"job-id": "job", "node-name": "disk",
                                                               "options": {"driver": "qcow2"}})[1],
                         "x-blockdev-amend doesn't support changing the block driver")
        self.close()
        self.assertTrue(encrypted.opens(path, "luks", SECRET))

    def create(self, name, **options):
        """Makes an image in a new file; the error, or None, and the path."""
        path = self.path(name)
        images.make_empty(path, 0)
        return self.job("blockdev-create", options={"driver": "luks", "file": self.node_of(path), "size": SIZE,
                                                    "key-secret": "sec0", "iter-time": 10, **options}), path

    def node_of(self, path):
        """A node for a file, by options."""
        return {"driver": "file", "filename": path}

    def test_creation(self):
        """QEMU opens and writes the images that we make."""
        for name, options in (("default", {}), ("cbc", {"cipher-alg": "aes-128", "cipher-mode": "cbc",
                                                         "ivgen-alg": "essiv", "hash-alg": "sha1"}),
                              ("serpent", {"cipher-alg": "serpent-256"}), ("full", {"preallocation": "full"})):
            with self.subTest(name=name):
                error, path = self.create(f"made-{name}.luks", **options)
                self.assertIsNone(error)
                self.use_in_turn("luks", path)

    def test_refused_creation(self):
        """The texts of QEMU."""
        for options, text in (({"cipher-alg": "3des"}, "Algorithm '3des' not supported"),
                              ({"ivgen-alg": "essiv", "ivgen-hash-alg": "sha1"},
                               "No AES cipher with key size 20 available"),
                              ({"key-secret": "nobody"}, "No secret with id 'nobody'")):
            with self.subTest(options=options):
                self.assertEqual(self.create("refused.luks", **options)[0], text)
        self.assertEqual(self.job("blockdev-create", options={"driver": "luks", "size": SIZE}),
                         "Either the parameter 'header' or 'file' must be specified")

    def test_detached_header(self):
        """The header is in a file of its own, and the data begin at the begin of theirs."""
        header = self.path("detached.header")
        images.make_empty(header, 0)
        error, path = self.create("detached.data", header=self.node_of(header))
        self.assertIsNone(error)
        self.assertEqual(os.path.getsize(path), SIZE)
        self.open("luks", path, header=self.node_of(header))
        self.assertTrue(self.information()["format-specific"]["data"]["detached-header"])
        self.through_nbd("write -P 7 0 1M", "read -P 7 0 1M")
        self.close()
        # The same bytes behind the same header are an image that a program without detached headers opens.
        self.assertNotEqual(images.read_range(path, 0, 4096), 4096 * b"\7")

    def test_many_writers_of_parts_of_sectors(self):
        """Writes of neighbouring bytes at the same time lose nothing."""
        path = encrypted.make(self.path("many.luks"), "luks", SIZE)
        self.open("luks", path)
        clients = [self.session("disk") for _ in range(4)]
        for round_number in range(50):
            pending = [client.send_request(CMD_WRITE, 4 * KIB + 100 * number, 100,
                                           payload=bytes([round_number + number]) * 100)
                       for number, client in enumerate(clients)]
            for client, request in zip(clients, pending):
                self.assertEqual(client.read_reply(request).error, 0)
            expected = b"".join(bytes([round_number + number]) * 100 for number in range(4))
            self.assertEqual(clients[0].read(4 * KIB, 400), expected)
        self.close()


class WaysTest(EncryptionCase):
    """Every cipher, mode and generator."""

    use_in_turn = LuksTest.use_in_turn

    def test_every_way_to_encrypt_in_turn(self):
        """Each cipher with each mode and generator gives the same bytes as QEMU; in a usual run, one in ten does."""
        for cipher, mode, generator in encrypted.WAYS[::1 if os.environ.get("BLOCKEXPORT_THOROUGH") else 10]:
            with self.subTest(cipher=cipher, mode=mode, generator=generator):
                path = encrypted.make(self.path("way.luks"), "luks", SIZE, f"cipher-alg={cipher}",
                                      f"cipher-mode={mode}", f"ivgen-alg={generator}")
                self.use_in_turn("luks", path)


class Qcow2EncryptionTest(EncryptionCase):
    """Encrypted qcow2 images."""

    use_in_turn = LuksTest.use_in_turn

    def check(self, path):
        """qemu-img finds no error and no leak."""
        report = json.loads(tools.run("qemu-img", "check", "--output=json", *encrypted.secret(), "--image-opts",
                                      encrypted.image_options(path, "qcow2")))
        for field in ("corruptions", "leaks", "check-errors"):
            self.assertEqual(report.get(field, 0), 0, report)

    def test_in_turn(self):
        """QEMU and we read and write one image, of several kinds."""
        for number, options in enumerate(([], ["cluster_size=4k"], ["extended_l2=on"], ["compat=0.10"],
                                          ["encrypt.cipher-mode=cbc", "encrypt.ivgen-alg=essiv"],
                                          ["encrypt.cipher-alg=serpent-256"], ["preallocation=metadata"])):
            with self.subTest(options=options):
                path = encrypted.make(self.path(f"turn{number}.qcow2"), "qcow2", SIZE, *options)
                self.use_in_turn("qcow2", path)
                self.check(path)

    def test_copies_on_write(self):
        """Parts of clusters come from the backing file, and from an older cluster."""
        base = self.path("base.raw")
        images.make_random(base, SIZE)
        path = encrypted.make(self.path("cow.qcow2"), "qcow2", SIZE, f"backing_file={base}", "backing_fmt=raw")
        self.open("qcow2", path)
        self.through_nbd("write -P 1 70000 100", "write -z 200k 128k", "write -P 2 1000001 1", "discard 1M 64k")
        self.close()
        encrypted.qemu_io(path, "qcow2", "read -P 1 70000 100", "read -P 0 200k 128k", "read -P 2 1000001 1")
        plain = self.path("cow.raw")
        tools.run("qemu-img", "convert", *encrypted.secret(), "--image-opts", encrypted.image_options(path, "qcow2"),
                  "-O", "raw", plain)
        written = bytearray(images.read_range(base, 0, SIZE))
        written[70000:70100] = 100 * b"\1"
        written[200 * KIB:328 * KIB] = bytes(128 * KIB)
        written[1000001] = 2
        read = bytearray(images.read_range(plain, 0, SIZE))
        read[MIB:MIB + 64 * KIB] = written[MIB:MIB + 64 * KIB]
        self.assertEqual(read, written)
        self.check(path)

    def test_the_data_are_encrypted(self):
        """No byte of the disk stands in the file."""
        path = encrypted.make(self.path("hidden.qcow2"), "qcow2", SIZE)
        self.open("qcow2", path)
        self.through_nbd("write -P 171 0 1M")
        self.close()
        with open(path, "rb") as file:
            self.assertNotIn(64 * b"\xab", file.read())

    def test_refusals(self):
        """A missing key, a wrong one, and a plain image."""
        path = encrypted.make(self.path("refused.qcow2"), "qcow2", SIZE)
        options = self.options("qcow2", path)
        del options["encrypt"]
        self.assertEqual(self.qmp.failure("blockdev-add", options)[1],
                         "Parameter 'encrypt.key-secret' is required for cipher")
        self.assertEqual(self.qmp.failure("blockdev-add", self.options("qcow2", path, "wrong"))[1],
                         "Invalid password, cannot unlock any keyslot")
        plain = self.path("plain.qcow2")
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", plain, "1M")
        self.assertEqual(self.qmp.failure("blockdev-add", self.options("qcow2", plain))[1],
                         "No encryption in image header, but options specified format 'luks'")

    def test_information(self):
        """Queries tell how the image is encrypted, as QEMU does."""
        path = encrypted.make(self.path("info.qcow2"), "qcow2", SIZE)
        self.open("qcow2", path)
        told = json.loads(tools.run("qemu-img", "info", "--output=json", "-U", path))
        shown = self.information()
        self.assertTrue(shown["encrypted"])
        ours = shown["format-specific"]["data"]["encrypt"]
        ours.pop("detached-header")
        theirs = told["format-specific"]["data"]["encrypt"]
        theirs.pop("detached-header", None)
        self.assertEqual(ours, theirs)
        self.close()

    def test_creation_and_keys(self):
        """An image that we make, with a passphrase that we add."""
        path = self.path("made.qcow2")
        images.make_empty(path, 0)
        for preallocation in ("off", "metadata"):
            with self.subTest(preallocation=preallocation):
                self.assertIsNone(self.job("blockdev-create", options={
                    "driver": "qcow2", "file": {"driver": "file", "filename": path}, "size": SIZE,
                    "preallocation": preallocation,
                    "encrypt": {"format": "luks", "key-secret": "sec0", "iter-time": 10}}))
                self.use_in_turn("qcow2", path)
                self.check(path)
        self.open("qcow2", path)
        self.assertIsNone(self.amend("qcow2", state="active", **{"new-secret": "second", "iter-time": 10}))
        self.assertIn("Refusing to overwrite active keyslot 1",
                      self.amend("qcow2", state="active", keyslot=1, **{"new-secret": "second", "iter-time": 10}))
        self.assertIsNone(self.amend("qcow2", state="inactive", **{"old-secret": "sec0"}))
        self.close()
        self.assertFalse(encrypted.opens(path, "qcow2", SECRET))
        encrypted.qemu_io(path, "qcow2", "read -P 99 10000 5000", content="another")
        self.check_with("another", path)

    def check_with(self, content, path):
        """As check(), with another passphrase."""
        tools.run("qemu-img", "check", *encrypted.secret(content=content), "--image-opts",
                  encrypted.image_options(path, "qcow2"))

    def test_older_method_for_reading(self):
        """An image that is encrypted with AES-CBC is read, and not written."""
        path = self.path("aes.qcow2")
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", *encrypted.secret(), "-o",
                  "encrypt.format=aes,encrypt.key-secret=sec0", path, str(SIZE))
        tools.run("qemu-io", *encrypted.secret(), "--image-opts",
                  f"driver=qcow2,encrypt.format=aes,encrypt.key-secret=sec0,file.filename={path}",
                  "-c", "write -P 77 100k 200k")
        options = self.options("qcow2", path, encrypt={"format": "aes", "key-secret": "sec0"})
        self.assertIn("AES-CBC are not written", self.qmp.failure("blockdev-add", options)[1])
        self.qmp.execute("blockdev-add", {**options, "read-only": True})
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk"})
        tools.run("qemu-io", "-r", "-f", "raw", self.uri("disk"), "-c", "read -P 77 100k 200k",
                  "-c", "read -P 0 0 100k")
        self.close()

    def test_hostile_pointers(self):
        """A pointer to a header that leads anywhere is refused."""
        path = encrypted.make(self.path("hostile.qcow2"), "qcow2", SIZE)
        with open(path, "rb") as file:
            whole = file.read(64 * KIB)
        place = whole.index(struct.pack(">II", 0x0537be77, 16)) + 8
        offset = struct.unpack_from(">Q", whole, place)[0]
        for new_offset, length in ((1 << 62, 1 << 20), (offset, 1 << 63), (offset, 100), (offset, 0), (0, 1 << 20),
                                   (1 << 40, 1 << 20)):
            with self.subTest(offset=new_offset, length=length):
                with open(path, "r+b") as file:
                    file.seek(place)
                    file.write(struct.pack(">QQ", new_offset, length))
                self.qmp.failure("blockdev-add", self.options("qcow2", path))

"""`blockexport image` with encrypted images, beside qemu-img: equal images, equal answers, and no secret that shows."""

import json
import os
import subprocess
import time
import unittest

from lib import images, settings, tools
from lib.client_tool import ToolTest, program
from lib.images import KIB, MIB

SIZE = 5 * MIB + 512
SECRET = ["--object", "secret,id=s,file=key"]
# With few iterations of the hash, so that the tests are fast.
LUKS = "key-secret=s,iter-time=10"
QCOW2 = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
# Of each format: the options of its creation, and those of a node.
FORMS = {"luks": (LUKS, "driver=luks,key-secret=s,file.filename="),
         "qcow2": (QCOW2, "driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.filename=")}


class EncryptionCase(ToolTest):
    """A passphrase in a file, and a disk."""

    def setUp(self):
        super().setUp()
        self.write("open sesame", "key")
        self.write("another one", "other")
        images.make_sparse(self.path("disk.raw"), SIZE, [(0, 300 * KIB), (3 * MIB + 512, 70 * KIB), (SIZE - 512, 512)])

    def image(self, verb, *arguments, expected=0):
        """What our tool prints."""
        return self.tool("image", verb, *arguments, expected=expected)[0]

    def error(self, verb, *arguments, code=1):
        """The error of our tool, without its name and the hint."""
        text = self.tool("image", verb, *arguments, expected=code)[1]
        return text.split("\n")[0].removeprefix("blockexport: ")

    def qemu_img(self, *arguments):
        """What qemu-img prints. On a busy machine it may fail to measure the time of a hash, and is asked again."""
        deadline = time.monotonic() + settings.seconds(60)
        result = tools.finish("qemu-img", *arguments, cwd=self.workdir)
        while "Unable to get accurate CPU usage" in result.stderr and time.monotonic() < deadline:
            result = tools.finish("qemu-img", *arguments, cwd=self.workdir)
        self.assertEqual(result.returncode, 0, f"{arguments}\n{result.stderr}")
        return result.stdout

    def qemu_img_error(self, *arguments):
        """The error of qemu-img, without its name."""
        result = tools.finish("qemu-img", *arguments, cwd=self.workdir)
        self.assertNotEqual(result.returncode, 0)
        return result.stderr.strip().split("\n")[-1].removeprefix("qemu-img: ")

    def make(self, form, name="image"):
        """An encrypted image of the disk, by qemu-img."""
        self.qemu_img("convert", *SECRET, "-f", "raw", "-O", form, "-o", FORMS[form][0], "disk.raw", name)

    def assert_shows_disk(self, form, name="image"):
        """QEMU reads the disk from the image, with the passphrase."""
        self.qemu_img("compare", *SECRET, "--image-opts", FORMS[form][1] + name, "driver=raw,file.filename=disk.raw")


def comparable(info):
    """What `image info` tells, without what differs between two images or is unknown to older versions of QEMU."""
    info = json.loads(info)
    for name in ("children", "actual-size"):
        info.pop(name, None)
    data = info["format-specific"]["data"]
    luks = data.get("encrypt", data)
    for name in ("uuid", "master-key-iters", "detached-header"):
        luks.pop(name, None)
    for slot in luks["slots"]:
        slot.pop("iters", None)
    return info


class CreateTest(EncryptionCase):
    """New images."""

    def check(self, form, options):
        """Both tools make the same image and print the same line."""
        arguments = ["-f", form, *SECRET, "-o", options]
        ours = self.image("create", *arguments, "ours", "3M")
        theirs = self.qemu_img("create", *arguments, "theirs", "3M")
        self.assertEqual(ours.replace("'ours'", "'theirs'"), theirs)
        info = [self.qemu_img("info", "--output=json", "-f", form, name) for name in ("ours", "theirs")]
        self.assertEqual(comparable(info[0].replace('"ours"', '"theirs"')), comparable(info[1]))
        self.assertEqual(os.path.getsize(self.path("ours")), os.path.getsize(self.path("theirs")))
        tools.run("qemu-io", *SECRET, "--image-opts", FORMS[form][1] + "ours", "-c", "write -P 7 1M 64k", "-c",
                  "read -P 7 1M 64k", cwd=self.workdir)

    def test_options(self):
        more = ("", "cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha512",
                "cipher-alg=serpent-256", "preallocation=full")
        for options in more:
            for form, prefix in (("luks", ""), ("qcow2", "encrypt.")):
                words = [word if word.startswith("preallocation") else prefix + word
                         for word in options.split(",") if word]
                with self.subTest(form=form, options=options):
                    self.check(form, ",".join([FORMS[form][0], *words]))

    def test_json(self):
        for form in FORMS:
            told = json.loads(self.image("create", "-f", form, *SECRET, "-o", FORMS[form][0], "--json", form, "1M"))
            self.assertIs(told["encrypted"], True)
            self.assertEqual(told["virtual-size"], MIB)

    def test_detached_header(self):
        """The header is a file of its own; the data have no header."""
        self.image("create", "-q", "-f", "luks", *SECRET, "-o", f"{LUKS},detached-header=on", "header", str(SIZE))
        images.make_sparse(self.path("data"), SIZE, [])
        node = "driver=luks,key-secret=s,file.filename=data,header.filename=header"
        info = json.loads(self.image("info", "--json", *SECRET, "--image-opts", node))
        self.assertIs(info["format-specific"]["data"]["detached-header"], True)
        self.image("convert", "-n", *SECRET, "--target-image-opts", "-f", "raw", "disk.raw", node)
        self.assertEqual(self.image("compare", *SECRET, "--image-opts", node, "driver=raw,file.filename=disk.raw"),
                         "Images are identical.\n")
        self.assertNotEqual(images.read_range(self.path("data"), 0, 512),
                            images.read_range(self.path("disk.raw"), 0, 512))

    def test_backing_file(self):
        """An overlay of an encrypted image has its size, without the passphrase."""
        self.make("qcow2", "base")
        self.image("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top")
        self.assertEqual(json.loads(self.image("info", "--json", "top"))["virtual-size"], SIZE)
        chain = json.loads(self.image("info", "--json", "--backing-chain", "top"))
        self.assertEqual([one.get("encrypted", False) for one in chain], [False, True])

    def test_refusals(self):
        """Nothing is left over, and what was there stays."""
        self.write("old", "there")
        for form, options in (("luks", "iter-time=10"), ("luks", "key-secret=t"), ("luks", f"{LUKS},cipher-alg=foo"),
                              ("qcow2", "encrypt.format=luks"), ("qcow2", "encrypt.key-secret=s"),
                              ("qcow2", "encrypt.format=x,encrypt.key-secret=s"),
                              ("qcow2", "encrypt.format=luks,encrypt.key-secret=t")):
            with self.subTest(form=form, options=options):
                ours = [self.error("create", "-f", form, *SECRET, "-o", options, name, "1M") for name in
                        ("image", "there")]
                theirs = self.qemu_img_error("create", "-f", form, *SECRET, "-o", options, "theirs", "1M")
                self.assertEqual(ours, [theirs.replace("theirs:", f"{name}:") for name in ("image", "there")])
                self.assertFalse(os.path.exists(self.path("image")))
                self.assertEqual(self.read("there"), "old")
        self.assertEqual(self.error("create", "-f", "raw", "-o", "key-secret=s", "image", "1M"),
                         "image: Invalid parameter 'key-secret'")
        # The older method is too weak for a new image.
        self.error("create", "-f", "qcow2", *SECRET, "-o", "encrypt.format=aes,encrypt.key-secret=s", "image", "1M")
        self.assertFalse(os.path.exists(self.path("image")))


class LookTest(EncryptionCase):
    """Verbs that only read."""

    def test_info_without_a_secret(self):
        """The header tells all of it."""
        for form in FORMS:
            with self.subTest(form=form):
                self.make(form)
                ours, theirs = self.image("info", "--json", "image"), self.qemu_img("info", "--output=json", "image")
                self.assertEqual(comparable(ours), comparable(theirs))
                self.assertIn("encrypted: yes\n", self.image("info", "image"))
                node = FORMS[form][1] + "image"
                told = json.loads(self.image("info", "--json", *SECRET, "--image-opts", node))
                self.assertEqual(told["format-specific"], json.loads(ours)["format-specific"])
                name = json.loads(told["filename"].removeprefix("json:"))
                theirs = self.qemu_img("info", "--output=json", *SECRET, "--image-opts", node)
                theirs = json.loads(json.loads(theirs)["filename"].removeprefix("json:"))
                self.assertEqual(name, theirs)

    def test_map(self):
        for form in FORMS:
            with self.subTest(form=form):
                self.make(form)
                arguments = ["--output=json", *SECRET, "--image-opts", FORMS[form][1] + "image"]
                ours, theirs = json.loads(self.image("map", *arguments)), json.loads(self.qemu_img("map", *arguments))
                places = [[(one["start"], one["length"], one["data"]) for one in told] for told in (ours, theirs)]
                self.assertEqual(*places)
                self.assertIn("key-secret' is required for cipher", self.error("map", "image"))

    def test_check(self):
        """A check needs no passphrase."""
        self.make("qcow2")
        plain = self.image("check", "image")
        self.assertIn("No errors were found", plain)
        self.assertEqual(self.image("check", "--image-opts", "driver=qcow2,file.filename=image"), plain)
        self.assertEqual(self.image("check", "--image-opts", "file.driver=file,file.filename=image"), plain)

    def test_compare(self):
        for form in FORMS:
            with self.subTest(form=form):
                self.make(form)
                names = [FORMS[form][1] + "image", "driver=raw,file.filename=disk.raw"]
                self.assertEqual(self.image("compare", *SECRET, "--image-opts", *names), "Images are identical.\n")
                with open(self.path("disk.raw"), "r+b") as file:
                    file.seek(MIB)
                    file.write(b"x")
                self.assertIn(f"Content mismatch at offset {MIB}!",
                              self.image("compare", *SECRET, "--image-opts", *names, expected=1))
                with open(self.path("disk.raw"), "r+b") as file:
                    file.seek(MIB)
                    file.write(b"\0")

    def test_snapshots_and_bitmaps(self):
        """Lists need no passphrase; changes do."""
        self.make("qcow2")
        node = [*SECRET, "--image-opts", FORMS["qcow2"][1] + "image"]
        self.image("snapshot", "-c", "first", *node)
        self.assertIn("first", self.image("snapshot", "-l", "image"))
        self.assertIn("is required for cipher", self.error("snapshot", "-c", "second", "image"))
        self.image("bitmap", "--add", *node, "b0")
        self.assertIn('"b0"', self.image("info", "--json", "image"))
        self.assert_shows_disk("qcow2")

    def test_refusals(self):
        """The texts are those of qemu-img."""
        self.make("luks")
        wrong = ["--object", "secret,id=s,file=other"]
        for arguments in (["image"], [*SECRET, "--image-opts", "driver=luks,file.filename=image"],
                          [*wrong, "--image-opts", FORMS["luks"][1] + "image"],
                          [*SECRET, "-f", "luks", "--image-opts", FORMS["luks"][1] + "image"],
                          ["--image-opts", "driver=luks,key-secret=t,file.filename=image"],
                          ["--image-opts", "key-secret=s"],
                          ["--object", "secret,id=s", "image"],
                          ["--object", "secret,id=s,file=key,data=x", "image"],
                          ["--object", "secret,file=key", "image"],
                          ["--object", "foo,id=s", "image"]):
            with self.subTest(arguments=arguments):
                options = ["-f", "luks"] if arguments == ["image"] else []
                self.assertEqual(self.error("map", *options, *arguments),
                                 self.qemu_img_error("map", *options, *arguments))
        self.assertIn("Unable to read absent: No such file",
                      self.error("map", "--object", "secret,id=s,file=absent", "x"))
        self.assertEqual(self.error("map", "--object", "iothread,id=s", "x"),
                         "Object 's' is not a secret; here there is no use for another one")
        self.assertIn("duplicate property 's'", self.error("map", *SECRET, *SECRET, "x"))


class ConvertTest(EncryptionCase):
    """Copies of a disk."""

    def test_there_and_back(self):
        for form in FORMS:
            with self.subTest(form=form):
                self.image("convert", *SECRET, "-f", "raw", "-O", form, "-o", FORMS[form][0], "disk.raw", "image")
                self.assert_shows_disk(form)
                self.image("convert", *SECRET, "--image-opts", FORMS[form][1] + "image", "-O", "raw", "back.raw")
                self.qemu_img("compare", "-s", "-f", "raw", "-F", "raw", "disk.raw", "back.raw")

    def test_between_passphrases(self):
        """From one image to the other, each with its own secret; the last one with a passphrase that is encoded."""
        self.make("luks")
        self.write("YW5vdGhlciBvbmU=", "encoded")
        self.image("convert", *SECRET, "--object", "secret,id=t,file=encoded,format=base64", "--image-opts", "-O",
                   "qcow2", "-o", "encrypt.format=luks,encrypt.key-secret=t,encrypt.iter-time=10",
                   FORMS["luks"][1] + "image", "copy")
        self.qemu_img("compare", "--object", "secret,id=s,file=other", "--image-opts", FORMS["qcow2"][1] + "copy",
                      "driver=raw,file.filename=disk.raw")

    def test_existing_target(self):
        for form in FORMS:
            with self.subTest(form=form):
                self.qemu_img("create", "-q", "-f", form, *SECRET, "-o", FORMS[form][0], "image", str(SIZE))
                self.image("convert", "-n", *SECRET, "--target-image-opts", "-f", "raw", "disk.raw",
                           FORMS[form][1] + "image")
                self.assert_shows_disk(form)

    def test_refusals(self):
        arguments = ["-f", "raw", *SECRET, "-O", "qcow2", "-o", QCOW2, "-c", "disk.raw", "image"]
        self.assertEqual(self.error("convert", *arguments), self.qemu_img_error("convert", *arguments))
        self.assertEqual(self.error("convert", "--target-image-opts", "-f", "raw", "disk.raw", "driver=raw"),
                         "--target-image-opts requires use of -n flag")
        before = images.sha256(self.path("disk.raw"))
        for force in ([], ["-U"]):
            self.error("convert", "-n", *force, "--target-image-opts", "-f", "raw", "disk.raw",
                       "driver=raw,file.filename=disk.raw")
        self.assertEqual(images.sha256(self.path("disk.raw")), before)
        self.assertIn("No secret with id 's'",
                      self.error("convert", "-f", "raw", "-O", "luks", "-o", LUKS, "disk.raw", "image"))
        self.assertFalse(os.path.exists(self.path("image")))


class SecretsTest(EncryptionCase):
    """Ways of a passphrase to the tool."""

    def test_a_pipe_is_read_once(self):
        """As a shell's process substitution has it: the creation and the copy use the same secret."""
        command = (f"{program()} image convert --object secret,id=s,file=<(cat key) -f raw -O luks -o {LUKS} "
                   "disk.raw image")
        subprocess.run(["bash", "-c", command], cwd=self.workdir, check=True, timeout=settings.seconds(30))
        self.assert_shows_disk("luks")

    def test_data_leave_the_list_of_processes(self):
        """The tool waits for the writer of a pipe meanwhile."""
        os.mkfifo(self.path("pipe"), 0o600)
        for first in (["--object", "secret,id=a,data=open-sesame"], ["--object=secret,id=a,data=open-sesame"],
                      ["--object", '{"qom-type": "secret", "id": "a", "data": "open-sesame"}']):
            arguments = [program(), "image", "info", *first, "--object", "secret,id=b,file=pipe", "disk.raw"]
            with subprocess.Popen(arguments, cwd=self.workdir, stdout=subprocess.PIPE) as process:
                path = f"/proc/{process.pid}/cmdline"
                deadline = time.monotonic() + settings.seconds(20)
                text = b""
                while b"****" not in text:
                    self.assertLess(time.monotonic(), deadline, text)
                    time.sleep(0.01)
                    with open(path, "rb") as file:
                        text = file.read()
                self.assertNotIn(b"sesame", text)
                with open(self.path("pipe"), "wb") as pipe:
                    pipe.write(b"x")
                self.assertIn(b"disk.raw", process.communicate(timeout=settings.seconds(20))[0])
                self.assertEqual(process.returncode, 0)

    def test_encrypted_secret(self):
        """A secret that another one encrypts, as management layers hand them over."""
        self.make("luks")
        self.write("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "master")
        command = ["openssl", "enc", "-aes-256-cbc", "-a", "-A", "-K", b"0123456789abcdef".hex() * 2, "-iv", "00" * 16]
        sealed = subprocess.run(command, input=b"open sesame", capture_output=True, check=False)
        if sealed.returncode != 0:
            self.skipTest("openssl is not installed")
        self.write(sealed.stdout.decode(), "sealed")
        self.image("map", "--object", "secret,id=m,file=master,format=base64", "--object",
                   f"secret,id=s,file=sealed,format=base64,keyid=m,iv={'A' * 22}==", "--image-opts",
                   FORMS["luks"][1] + "image")

    def test_exposed_file(self):
        """Others may read the passphrase."""
        os.chmod(self.path("key"), 0o644)
        self.assertIn("lets other users read", self.tool("image", "info", *SECRET, "disk.raw")[1])
        self.assertIn("Unable to use key",
                      self.error("info", "--object", "secret,id=s,file=key,strict-modes=on", "disk.raw"))


if __name__ == "__main__":
    unittest.main()

"""`blockexport serve`: from a file to a URI in one line, and nothing is left when it ends."""

import json
import os
import signal
import subprocess
import unittest

from lib import certificates, images, settings, tools, wait
from lib.client_tool import ToolTest, program
from lib.daemon import free_port
from lib.images import KIB, MIB


class ServeTest(ToolTest):
    """A raw file and a qcow2 image with the same disk."""

    SIZE = 4 * MIB

    def setUp(self):
        super().setUp()
        if settings.is_qemu():
            self.skipTest("the command starts our server")
        os.makedirs(self.path("run"))
        images.make_sparse(self.path("disk.img"), self.SIZE, [(0, 100 * KIB), (3 * MIB, 64 * KIB)])
        tools.run("qemu-img", "convert", "-O", "qcow2", "disk.img", "disk.qcow2", cwd=self.workdir)
        # The daemon is found by the PATH where the tool has another one beside it.
        os.makedirs(self.path("bin"))
        os.symlink(settings.program(), self.path("bin", "blockexportd"))
        self.environment = {"PATH": f"{self.path('bin')}:{tools.PATH}", "HOME": self.workdir, "LC_ALL": "C.UTF-8",
                            "XDG_RUNTIME_DIR": self.path("run")}

    def start(self, *arguments, **options):
        """Runs it in the background; the process and its URIs."""
        process = subprocess.Popen([program(), "serve", *arguments], cwd=self.workdir, env=self.environment, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        self.addCleanup(self.end, process)
        return process, process.stdout.readline().strip()

    def end(self, process, number=signal.SIGTERM):
        """Ends it by a signal; its exit code."""
        if process.poll() is None:
            process.send_signal(number)
        process.communicate(timeout=settings.seconds(20))
        return process.returncode

    def run_to_end(self, *arguments, expected=0):
        """Runs it; what it printed, on both outputs."""
        result = subprocess.run([program(), "serve", *arguments], cwd=self.workdir, env=self.environment, text=True,
                                stdin=subprocess.DEVNULL, capture_output=True, timeout=settings.seconds(30),
                                check=False)
        self.assertEqual(result.returncode, expected, f"{result.stdout}\n{result.stderr}")
        return result.stdout, result.stderr

    def assert_nothing_left(self):
        """No private directory, and with it no socket."""
        self.assertEqual(os.listdir(self.path("run")), [])

    def assert_serves(self, uri, **options):
        """The export has the bytes of the disk."""
        tools.run("nbdcopy", uri, self.path("copy.img"), **options)
        self.assertEqual(images.sha256(self.path("copy.img")), images.sha256(self.path("disk.img")))

    def test_one_image(self):
        """A private socket, read-only; each signal that asks for the end leaves nothing."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process, uri = self.start("disk.img")
            self.assertTrue(uri.startswith(f"nbd+unix:///?socket={self.path('run')}/blockexport."), uri)
            self.assert_serves(uri)
            self.assertIn("is_read_only: true", tools.run("nbdinfo", uri))
            self.assertEqual(self.end(process, number), 0)
            self.assert_nothing_left()

    def test_formats(self):
        """A format is not guessed; the right one serves the disk, and raw the bytes of the file."""
        _, said = self.run_to_end("disk.qcow2", expected=1)
        self.assertIn("as a file of the format qcow2 does", said)
        self.assertIn("--format qcow2 serves the disk in it", said)
        self.assert_nothing_left()
        process, uri = self.start("--format", "qcow2", "disk.qcow2")
        self.assert_serves(uri)
        self.end(process)
        process, uri = self.start("-f", "raw", "disk.qcow2")
        self.assertIn(f"export-size: {os.path.getsize(self.path('disk.qcow2'))}", tools.run("nbdinfo", uri))

    def test_writable(self):
        """With --writable clients write, into a qcow2 image too."""
        process, uri = self.start("-w", "-f", "qcow2", "-x", "disk", "disk.qcow2")
        self.assertIn("nbd+unix:///disk?socket=", uri)
        tools.run("qemu-io", "-f", "raw", "-c", "write -P 7 1M 64k", uri)
        self.assertEqual(self.end(process), 0)
        tools.run("qemu-io", "-f", "qcow2", "-c", "read -P 7 1M 64k", "disk.qcow2", cwd=self.workdir)
        tools.run("qemu-img", "check", "-q", "disk.qcow2", cwd=self.workdir)

    def test_several_images_and_addresses(self):
        """Each image by the name of its file, on each address; JSON for programs."""
        port = free_port()
        os.symlink("disk.img", self.path("other name.img"))
        process, line = self.start("--json", "-l", "unix:here.sock", "--listen", f"127.0.0.1:{port}", "disk.img",
                                   "other name.img")
        uris = json.loads(line)["uris"]
        self.assertEqual(uris, [f"nbd+unix:///disk.img?socket={self.path('here.sock')}",
                                f"nbd://127.0.0.1:{port}/disk.img",
                                f"nbd+unix:///other%20name.img?socket={self.path('here.sock')}",
                                f"nbd://127.0.0.1:{port}/other%20name.img"])
        for uri in uris:
            self.assert_serves(uri)
        self.assertEqual(self.end(process), 0)
        self.assertFalse(os.path.exists(self.path("here.sock")))

    def test_run(self):
        """A command gets the URI; its end ends the server, and its exit code is that of the tool."""
        said, _ = self.run_to_end("--run", 'nbdinfo --size "$uri"; test -S "$unixsocket"', "disk.img")
        self.assertEqual(said, f"{self.SIZE}\n")
        self.run_to_end("--run", "exit 7", "disk.img", expected=7)
        self.run_to_end("--run", "kill -9 $$", "disk.img", expected=137)
        self.assert_nothing_left()

    def test_tls(self):
        """With a directory of credentials, clients of its authority and no others; with one name, that one alone."""
        pki = certificates.make(self.path("pki"))
        process, uri = self.start("--tls", "pki", "-l", f"127.0.0.1:{free_port()}", "disk.img")
        self.assertTrue(uri.startswith("nbds://127.0.0.1:"), uri)
        with_files = f"{uri}?tls-certificates={pki.path}"
        self.assert_serves(with_files)
        self.assertNotEqual(tools.finish("nbdinfo", uri.replace("nbds", "nbd")).returncode, 0)
        self.end(process)
        process, uri = self.start("--tls", "pki", "--tls-client", "CN=nobody", "-l", "unix:tls.sock", "disk.img")
        self.assertNotEqual(tools.finish("nbdinfo", f"{uri}&tls-certificates={pki.path}").returncode, 0)

    def test_failed_starts(self):
        """The server's own words, the exit code 1, and nothing left."""
        for arguments, text in (
                (("missing.img",), "Could not open 'missing.img': No such file or directory"),
                (("run",), "'run' is neither a file nor a block device"),
                (("-f", "qcow2", "disk.img"), "Image is not in qcow2 format"),
                (("-l", "unix:no/such/dir.sock", "disk.img"), "No such file or directory"),
                (("-l", "127.0.0.1:99999", "disk.img"), "99999"),
                (("--tls", "nowhere", "disk.img"), "nowhere")):
            with self.subTest(arguments=arguments):
                _, said = self.run_to_end(*arguments, expected=1)
                self.assertIn(text, said)
                self.assert_nothing_left()
        self.run_to_end(expected=2)

    def test_files_of_others_stay(self):
        """A path that is no socket is refused, and what is there stays; so does the socket of a server that lives."""
        with open(self.path("precious"), "w", encoding="utf-8") as file:
            file.write("data")
        self.run_to_end("-l", f"unix:{self.path('precious')}", "disk.img", expected=1)
        self.assertEqual(self.read("precious"), "data")
        process, uri = self.start("-l", "unix:live.sock", "disk.img")
        self.run_to_end("-l", "unix:live.sock", "-f", "qcow2", "disk.img", expected=1)
        self.assert_serves(uri)
        self.end(process)

    def test_an_image_in_use(self):
        """An image that one server writes is refused by a second one."""
        self.start("-w", "-f", "qcow2", "disk.qcow2")
        _, said = self.run_to_end("-w", "-f", "qcow2", "disk.qcow2", expected=1)
        self.assertIn("lock", said)

    def test_the_server_ends(self):
        """When the server is killed the tool ends too, with its code."""
        process, line = self.start("--json", "disk.img")
        os.kill(json.loads(line)["pid"], signal.SIGKILL)
        process.communicate(timeout=settings.seconds(20))
        self.assertEqual(process.returncode, 128 + signal.SIGKILL)
        self.assert_nothing_left()

    def test_ends_with_its_parent(self):
        """--exit-with-parent: a killed parent takes tool and server along; a killed tool its server in any case."""
        script = f"{program()} serve --exit-with-parent --json disk.img & echo $!; wait"
        shell = subprocess.Popen(["/bin/sh", "-c", script], cwd=self.workdir, env=self.environment, text=True,
                                 stdout=subprocess.PIPE)
        tool = int(shell.stdout.readline())
        server = json.loads(shell.stdout.readline())["pid"]
        shell.kill()
        wait.until(lambda: not self.lives(tool) and not self.lives(server), 10, "both to end")
        shell.communicate()
        self.assert_nothing_left()
        process, line = self.start("--json", "disk.img")
        server = json.loads(line)["pid"]
        process.kill()
        wait.until(lambda: not self.lives(server), 10, "the server to end")

    def lives(self, pid):
        """Whether a process is there that has not ended."""
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False


if __name__ == "__main__":
    unittest.main()

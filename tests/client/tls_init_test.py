"""`blockexport tls init`: its files work with independent programs, and existing files stay."""

import os
import socket
import stat
import subprocess
import unittest

from lib import processes, settings, tools
from lib.client_tool import ToolTest, program
from lib.wait import until

FILES = ["ca-cert.pem", "ca-key.pem", "client-cert.pem", "client-key.pem", "server-cert.pem", "server-key.pem"]


class FilesTest(ToolTest):
    """The files themselves."""

    def mode(self, *names):
        """Permissions of a file."""
        return stat.S_IMODE(os.stat(self.path(*names)).st_mode)

    def test_names_and_modes_whatever_the_umask(self):
        """Keys are for their owner alone, certificates for all, the directory for its owner."""
        for umask in (0o000, 0o077):
            name = f"pki{umask}"
            self.tool("tls", "init", name, umask=umask)
            self.assertEqual(sorted(os.listdir(self.path(name))), FILES)
            self.assertEqual(self.mode(name), 0o700)
            for file in FILES:
                self.assertEqual(self.mode(name, file), 0o600 if file.endswith("-key.pem") else 0o644, file)

    def test_shared_key(self):
        """One user with 32 random bytes, for its owner alone."""
        self.init("one", "--psk", "--client", "anna")
        self.init("two", "--psk", "--client", "anna")
        self.assertEqual(os.listdir(self.path("one")), ["keys.psk"])
        self.assertEqual(self.mode("one", "keys.psk"), 0o600)
        self.assertRegex(self.read("one", "keys.psk"), r"\Aanna:[0-9a-f]{64}\n\Z")
        self.assertNotEqual(self.read("one", "keys.psk"), self.read("two", "keys.psk"))

    def test_no_secret_is_printed(self):
        """What it says holds no key."""
        out, _ = self.tool("tls", "init", "psk", "--psk")
        self.assertNotIn(self.read("psk", "keys.psk").split(":")[1].strip(), out)

    def test_an_empty_directory_is_filled(self):
        """A directory that is there keeps its mode."""
        os.mkdir(self.path("pki"), 0o750)
        self.init()
        self.assertEqual(sorted(os.listdir(self.path("pki"))), FILES)
        self.assertEqual(self.mode("pki"), 0o750)

    def test_nothing_is_overwritten(self):
        """One file of those to be made: none is made, and it stays."""
        for file in FILES:
            name = f"has-{file}"
            os.mkdir(self.path(name))
            self.write("mine", name, file)
            _, error = self.tool("tls", "init", name, expected=1)
            self.assertIn(f"'{name}/{file}' is there already, and nothing is overwritten", error)
            self.assertEqual(os.listdir(self.path(name)), [file])
            self.assertEqual(self.read(name, file), "mine")

    def test_all_files_or_none(self):
        """A move that fails half way takes back those before it; so does a write that fails."""
        strace = tools.shutil.which("strace", path=tools.PATH)
        if strace is None:
            self.skipTest("strace is not installed")
        for fault in ("renameat2:error=EIO:when=4", "fsync:error=ENOSPC:when=3"):
            os.makedirs(self.path("old"), exist_ok=True)
            prefix = [strace, "-f", "-qq", "-o", self.path("trace"), "-e", f"inject={fault}"]
            _, error = self.tool("tls", "init", "old", expected=1, prefix=prefix)
            self.assertIn("cannot ", error)
            self.assertEqual(os.listdir(self.path("old")), [], fault)
        prefix = [strace, "-f", "-qq", "-o", self.path("trace"), "-e", "inject=renameat2:error=EIO:when=1"]
        self.tool("tls", "init", "new", expected=1, prefix=prefix)
        self.assertEqual([name for name in os.listdir(self.workdir) if name.startswith("new")], [])

    def test_where_it_cannot_be_made(self):
        """A missing parent, or a file of that name."""
        _, error = self.tool("tls", "init", "a/b", expected=1)
        self.assertIn("No such file or directory", error)
        self.write("x", "file")
        _, error = self.tool("tls", "init", "file", expected=1)
        self.assertIn("'file' is not a directory", error)


class OptionsTest(ToolTest):
    """What the options do, and which are refused."""

    def show(self, name="pki"):
        """What `tls show` says."""
        return self.tool("tls", "show", name)[0]

    def test_hosts_client_and_days(self):
        """Names, addresses, the client's name and how long it lasts are as they were asked for."""
        self.init("pki", "--host", "disks.example", "--host", "192.0.2.7", "--host", "2001:db8::1",
                  "--client", "backup1", "--days", "30")
        names = tools.run("certtool", "-i", "--infile", self.path("pki", "server-cert.pem"))
        for text in ("DNSname: disks.example", "IPAddress: 192.0.2.7", "IPAddress: 2001:db8::1", "TLS WWW Server",
                     "Digital signature", "EC/ECDSA", "Subject: CN=disks.example"):
            self.assertIn(text, names)
        client = tools.run("certtool", "-i", "--infile", self.path("pki", "client-cert.pem"))
        self.assertIn("Subject: CN=backup1\n", client)
        self.assertIn("TLS WWW Client", client)
        self.assertIn("names        DNS:disks.example, IP:192.0.2.7, IP:2001:db8::1", self.show())
        self.assertIn("subject      CN=backup1", self.show())

    def test_chains_verify(self):
        """certtool trusts both certificates by the CA, and neither is one."""
        self.init()
        for side in ("server", "client"):
            tools.run("certtool", "--verify", "--load-ca-certificate", self.path("pki", "ca-cert.pem"),
                      "--infile", self.path("pki", f"{side}-cert.pem"))
            self.assertIn("Certificate Authority (CA): FALSE",
                          tools.run("certtool", "-i", "--infile", self.path("pki", f"{side}-cert.pem")))

    def test_refused(self):
        """Names and numbers that cannot be; nothing is made."""
        for arguments, reason in [
                (["--host", "a b"], "neither a host name nor an IP address"),
                (["--host", ""], "neither a host name nor an IP address"),
                (["--client", "a:b"], "cannot be a client's name"),
                (["--client", ""], "cannot be a client's name"),
                (["--client", "x" * 65], "cannot be a client's name"),
                (["--days", "0"], "--days is from 1 to 36500"),
                (["--days", "36501"], "--days is from 1 to 36500"),
                (["--psk", "--host", "a"], "--host is for certificates"),
        ]:
            _, error = self.tool("tls", "init", "pki", *arguments, expected=1)
            self.assertIn(reason, error)
            self.assertFalse(os.path.exists(self.path("pki")))

    def test_no_room(self):
        """A limit on the size of files is an error like a full disk: nothing is made, nothing ends half-way."""
        # A sanitizer's own start makes a file before the program can ignore the signal.
        ignored = "trap '' XFSZ; " if settings.sanitized() else ""
        limited = ["sh", "-c", f'{ignored}ulimit -f 0; exec "$@"', "sh"]
        for arguments in ([], ["--psk"]):
            _, error = self.tool("tls", "init", "pki", *arguments, expected=1, prefix=limited)
            self.assertIn("File too large", error)
            self.assertEqual(os.listdir(self.workdir), [])

    def test_output_that_cannot_be_written(self):
        """A full standard output is told and fails; a pipe that nobody reads any longer fails without a word."""
        self.init()
        full = ["sh", "-c", 'exec "$@" >/dev/full', "sh"]
        _, error = self.tool("tls", "show", "pki", expected=1, prefix=full)
        self.assertIn("cannot write to standard output: No space left on device", error)
        reading, writing = os.pipe()
        os.close(reading)
        result = subprocess.run([program(), "tls", "show", "pki"], cwd=self.workdir, stdin=subprocess.DEVNULL,
                                stdout=writing, stderr=subprocess.PIPE, timeout=settings.seconds(30), check=False)
        os.close(writing)
        self.assertEqual((result.returncode, result.stderr), (1, b""))

    def test_usage(self):
        """A command line that cannot be ends with 2 and says so on standard error."""
        for arguments in ([], ["tls"], ["tls", "init"], ["tls", "init", "pki", "--bogus"], ["tls", "init", "a", "b"],
                          ["bogus"], ["tls", "init", "pki", "--days", "many"]):
            out, error = self.tool(*arguments, expected=2)
            self.assertEqual(out, "")
            self.assertNotEqual(error, "")
        self.assertIn("blockexport", self.tool("--version")[0])
        self.assertIn("--psk", self.tool("tls", "init", "--help")[0])


class ProgramsTest(ToolTest):
    """Servers and clients of others use the directories as they are."""

    def start(self, *command):
        """A server; it ends with the test."""
        path = tools.shutil.which(command[0], path=tools.PATH)
        if path is None:
            self.skipTest(f"{command[0]} is not installed")
        process = subprocess.Popen([path, *command[1:]], cwd=self.workdir, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def await_socket(self, name):
        """Waits until a server listens there."""
        def listens():
            with socket.socket(socket.AF_UNIX) as client:
                return client.connect_ex(self.path(name)) == 0
        until(listens, what=f"a server on {name}")

    def start_nbdkit(self, *arguments):
        """nbdkit on a unix socket."""
        self.start("nbdkit", "-f", "-U", self.path("s"), *arguments, "memory", "1M")
        self.await_socket("s")

    def uri(self, *parameters, user=""):
        """Of that socket."""
        return f"nbds+unix://{user}/?socket={self.path('s')}&" + "&".join(parameters)

    def test_nbdkit_and_nbdinfo(self):
        """With certificates of both sides, verified by both."""
        self.init()
        self.start_nbdkit("--tls=require", f"--tls-certificates={self.path('pki')}", "--tls-verify-peer")
        uri = self.uri(f"tls-certificates={self.path('pki')}", "tls-hostname=localhost")
        self.assertEqual(tools.run("nbdinfo", "--size", uri), "1048576\n")
        # Another CA's client is refused.
        self.init("other")
        self.assertNotEqual(tools.finish("nbdinfo", self.uri(f"tls-certificates={self.path('other')}",
                                                             "tls-hostname=localhost")).returncode, 0)

    def test_nbdkit_and_nbdinfo_with_a_shared_key(self):
        """The user of the key gets in, and no other."""
        self.init("psk", "--psk", "--client", "anna")
        self.start_nbdkit("--tls=require", f"--tls-psk={self.path('psk', 'keys.psk')}")
        key = f"tls-psk-file={self.path('psk', 'keys.psk')}"
        self.assertEqual(tools.run("nbdinfo", "--size", self.uri(key, user="anna@")), "1048576\n")
        self.assertNotEqual(tools.finish("nbdinfo", self.uri(key, user="bob@")).returncode, 0)

    @unittest.skipUnless(os.access(settings.REFERENCE, os.X_OK), "qemu-storage-daemon is not installed")
    def test_qemu_takes_the_directory_as_it_is(self):
        """Its sanity checks pass, its server asks for the client's certificate, qemu-img and nbdinfo have it."""
        self.init()
        server = self.start(settings.REFERENCE, "--blockdev", "null-co,node-name=n,size=1048576,read-zeroes=on",
                   "--object", f"tls-creds-x509,id=tls,dir={self.path('pki')},endpoint=server,verify-peer=on",
                   "--object", "authz-simple,id=acl,identity=CN=client",
                   "--nbd-server", "addr.type=inet,addr.host=127.0.0.1,addr.port=0,tls-creds=tls,tls-authz=acl",
                   "--export", "nbd,id=e,node-name=n,name=n")

        def listens():
            self.assertIsNone(server.poll(), "it ended at the start")
            return processes.listening_ports(server.pid)
        # It looks for a prime for Diffie-Hellman first, which takes as long as it takes.
        (port,) = until(listens, 100, "a server on a port")
        uri = f"nbds://127.0.0.1:{port}/n?tls-certificates={self.path('pki')}"
        self.assertEqual(tools.run("nbdinfo", "--size", uri), "1048576\n")
        credentials = f"tls-creds-x509,id=tls,dir={self.path('pki')},endpoint=client"
        told = tools.run("qemu-img", "info", "--object", credentials,
                         "--image-opts", f"driver=nbd,host=127.0.0.1,port={port},export=n,tls-creds=tls")
        self.assertIn("virtual size: 1 MiB", told)

"""docs/guides/tls.md: its commands, run literally, have the documented effect."""

import os
import re
import signal
import socket
import subprocess

from lib import processes, settings, tools
from lib.client_tool import ToolTest, program
from lib.wait import until

GUIDE = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "guides", "tls.md")


def section(title):
    """The text of a section."""
    with open(GUIDE, encoding="utf-8") as file:
        return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", file.read(), re.S | re.M).group(1)


def commands(title):
    """The commands of the first shell block of a section."""
    return re.search(r"^```sh\n(.*?)^```", section(title), re.S | re.M).group(1).splitlines()


class GuideTest(ToolTest):
    """Both programs are found by the PATH, as the guide says."""

    def setUp(self):
        super().setUp()
        os.symlink(program(), os.path.join(self.bin(), "blockexport"))
        os.symlink(settings.program(), os.path.join(self.bin(), "blockexportd"))
        self.environment = {"PATH": f"{self.bin()}:{tools.PATH}", "HOME": self.workdir, "LC_ALL": "C.UTF-8"}

    def bin(self):
        """Where they are."""
        os.makedirs(self.path("bin"), exist_ok=True)
        return self.path("bin")

    def shell(self, command):
        """Runs a command as the reader would; its output. It must succeed."""
        # nbdinfo shows what `file` makes of the disk, which may be any bytes.
        result = subprocess.run(["/bin/sh", "-c", command], cwd=self.workdir, env=self.environment, text=True,
                                errors="replace", stdin=subprocess.DEVNULL, capture_output=True,
                                timeout=settings.seconds(60), check=False)
        self.assertEqual(result.returncode, 0, f"{command}\n{result.stdout}\n{result.stderr}")
        return result.stdout

    def require_tls(self):
        """Skips where the server has no TLS credentials."""
        if "tls-creds-x509 options" not in self.shell("blockexportd --object tls-creds-x509,help"):
            self.skipTest("this server has no tls-creds-x509 yet")

    def stop_server(self):
        """Ends the server that a command left behind; it must end."""
        path = self.path("disk.pid")
        if not os.path.exists(path):
            return
        with open(path, encoding="ascii") as file:
            pid = int(file.read())
        os.kill(pid, signal.SIGTERM)
        until(lambda: not processes.alive(pid), what="the server's end")

    @settings.unlike_qemu("the guide is for our server")
    def test_from_nothing_in_five_commands(self):
        """The last of five commands shows the disk, over TLS."""
        lines = commands("Five commands")
        self.assertEqual(len(lines), 5)
        self.require_tls()
        if tools.shutil.which("nbdinfo", path=tools.PATH) is None:
            self.skipTest("nbdinfo is not installed")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.addCleanup(self.stop_server)
        for line in lines:
            out = self.shell(line.replace("10809", str(port)))
        told = re.search(r"^The last one answers.*?^```\n(.*?)^```", section("Five commands"), re.S | re.M)
        # The client chooses the form of replies, by its age.
        out = out.replace("using structured packets", "using extended packets")
        for text in told.group(1).splitlines():
            self.assertIn(text.strip(), out)
        # And QEMU's client, with the command of its section.
        qemu = commands("QEMU as the client")[0]
        if tools.shutil.which("qemu-img", path=tools.PATH) is not None:
            self.assertIn("virtual size: 64 MiB", self.shell(qemu.replace("10809", str(port))))

    @settings.unlike_qemu("the guide is for our server")
    def test_authorization_objects(self):
        """Each object of the guide can be made as it stands there, given its file."""
        os.makedirs(self.path("etc"))
        rules = re.search(r"^```json\n(.*?)^```", section("Authorization"), re.S | re.M)
        self.write(rules.group(1), "etc", "acl.json")
        lines = commands("Authorization")
        self.assertEqual(len(lines), 4)
        for line in lines:
            line = line.replace("/etc/blockexportd", self.path("etc"))
            self.shell(f"blockexportd {line} --object iothread,help")

    def test_other_directories(self):
        """The two other uses of init make what the guide says."""
        self.shell(commands("Files of each host")[0])
        self.assertIn("DNS:disks.example, IP:192.0.2.7", self.shell("blockexport tls show pki"))
        self.shell(commands("Shared keys")[0])
        self.assertIn("user 'anna'", self.shell("blockexport tls show psk"))

    def test_more_clients(self):
        """A further client and server, an archive, renewal and revocation, in the order in which they stand there."""
        self.init()
        lines = commands("More clients, renewal, revocation")
        self.assertEqual(len(lines), 7)
        for line in lines:
            out = self.shell(line)
        self.assertIn("IP:192.0.2.8", out)
        self.assertIn("revoked      by ca-crl.pem", out)
        self.assertTrue(os.path.exists(self.path("anna.tar")))
        self.shell(commands("Shared keys")[0])
        self.shell(re.search("`(blockexport tls add psk [^`]*)`", section("Shared keys")).group(1))
        self.assertIn("user 'bob'", self.shell("blockexport tls show psk"))

    def test_messages_of_the_last_section(self):
        """What the last table says that `tls check` says, it says of a directory with such a fault."""
        table = section("Troubleshooting").split("Under TLS 1.3")[0]
        said = re.findall(r"^\| (`.*?`) \|", table, re.M)
        self.assertGreater(len(said), 5)
        told = "\n".join(self.messages())
        for row in said:
            for text in re.findall("`(.*?)`", row):
                self.assertIn(text, told)

    def messages(self):
        """What check says of directories with each of those faults."""
        self.init()
        self.init("other")
        yield self.check("pki", "--host", "elsewhere", fault=True)
        os.chmod(self.path("pki", "server-key.pem"), 0o644)
        yield self.check(fault=True)
        for name in ("server-cert.pem", "client-cert.pem"):
            os.replace(self.path("other", name), self.path("pki", name))
        yield self.check(fault=True)
        server = 'cn = "s"\ntls_www_server\nsigning_key\n'
        for dates in (("2020-01-01", "2021-01-01"), ("2090-01-01", "2091-01-01")):
            os.remove(self.path("pki", "server-cert.pem"))
            self.sign(server + 'activation_date = "{}"\nexpiration_date = "{}"\n'.format(*dates),
                      "pki/server-cert.pem", "pki/server-key.pem")
            yield self.check(fault=True)
        os.remove(self.path("pki", "ca-cert.pem"))
        yield self.check(fault=True)

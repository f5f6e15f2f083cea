"""The client tool `blockexport`, and directories of TLS credentials with deviations made by certtool."""

import os
import subprocess
import unittest

from lib import daemon, settings, tools


def program():
    """The path of the tool: BLOCKEXPORT, or beside the server that ctest built."""
    default = os.environ.get("BLOCKEXPORTD_DEFAULT", "")
    path = os.environ.get("BLOCKEXPORT") or os.path.join(os.path.dirname(default), "blockexport")
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"the client tool to test is not there: {path}")
    return path


class ToolTest(unittest.TestCase):
    """Each test has a private directory."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def path(self, *names):
        """A path in the private directory."""
        return os.path.join(self.workdir, *names)

    def tool(self, *arguments, expected=0, prefix=(), umask=-1):
        """Runs the tool; (stdout, stderr). It must end with that code, within its time."""
        result = subprocess.run([*prefix, program(), *arguments], cwd=self.workdir, capture_output=True, text=True,
                                stdin=subprocess.DEVNULL, timeout=settings.seconds(30), umask=umask, check=False)
        self.assertEqual(result.returncode, expected, f"{result.stdout}\n{result.stderr}")
        return result.stdout, result.stderr

    def init(self, name="pki", *arguments):
        """A fine directory."""
        self.tool("tls", "init", name, *arguments)
        return name

    def check(self, name="pki", *arguments, fault):
        """What `tls check` says; with `fault` it must find one."""
        return self.tool("tls", "check", name, *arguments, expected=1 if fault else 0)[0]

    def write(self, text, *names):
        """A file in the private directory, for its owner alone."""
        private = lambda path, flags: os.open(path, flags, 0o600)
        with open(self.path(*names), "w", encoding="utf-8", opener=private) as file:
            file.write(text)

    def read(self, *names):
        """What a file holds."""
        with open(self.path(*names), encoding="utf-8") as file:
            return file.read()

    def sign(self, template, certificate, key, ca="pki"):
        """Lets certtool sign a certificate for a new key, as the template says, with the CA in a directory."""
        self.write(template, "template")
        if not os.path.exists(self.path(key)):
            tools.run("certtool", "--generate-privkey", "--ecc", "--outfile", self.path(key))
            os.chmod(self.path(key), 0o600)
        tools.run("certtool", "--generate-certificate", "--load-ca-certificate", self.path(ca, "ca-cert.pem"),
                  "--load-ca-privkey", self.path(ca, "ca-key.pem"), "--load-privkey", self.path(key),
                  "--template", self.path("template"), "--outfile", self.path(certificate))

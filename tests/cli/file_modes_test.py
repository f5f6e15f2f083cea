"""Key and secret files that other users can read: they are used with a warning, and refused with strict-modes."""

import os
import re
import subprocess
import unittest

from lib import certificates, settings, tools, wait
from lib.images import MIB
from lib.testcase import DaemonTest

SOMEBODY = 12345


class FileModesTest(DaemonTest):
    """Objects that are made of files with other modes and owners than they should have."""

    @classmethod
    def prepare(cls):
        cls.pki = certificates.make(cls.path("pki"))
        cls.pki.add_user("alice")
        cls.pki.revoke("client")
        os.chmod(cls.pki.file("keys.psk"), 0o600)
        with open(cls.path("password"), "w", encoding="ascii") as file:
            file.write("geheim")
        os.chmod(cls.path("password"), 0o600)
        return []

    def kinds(self):
        """What each object is made with, and its files that nobody else may read."""
        directory = {"dir": self.pki.path}
        return [({"qom-type": "tls-creds-x509", "endpoint": "server", **directory}, self.pki.file("server-key.pem")),
                ({"qom-type": "tls-creds-x509", "endpoint": "client", **directory}, self.pki.file("client-key.pem")),
                ({"qom-type": "tls-creds-psk", "endpoint": "server", **directory}, self.pki.file("keys.psk")),
                ({"qom-type": "tls-creds-psk", "endpoint": "client", "username": "alice", **directory},
                 self.pki.file("keys.psk")),
                ({"qom-type": "secret", "file": self.path("password")}, self.path("password"))]

    def add(self, properties, **more):
        """Makes the object and removes it; why it could not be made, and what the log said."""
        before = len(self.daemon.stderr())
        reply = self.qmp.command("object-add", {"id": "o", **properties, **more})
        if "return" in reply:
            self.qmp.execute("object-del", {"id": "o"})
        said = self.daemon.stderr()[before:].decode()
        warnings = [line for line in said.splitlines() if "fix it with" in line]
        return reply.get("error", {}).get("desc"), warnings

    def changed(self, path, mode):
        """The file has this mode until the end of the test."""
        self.addCleanup(os.chmod, path, os.stat(path).st_mode & 0o7777)
        os.chmod(path, mode)

    def test_key_that_others_can_read(self):
        """It is taken as it is."""
        for properties, path in self.kinds():
            self.changed(path, 0o644)
            self.assertIsNone(self.add(properties)[0], path)

    @settings.unlike_qemu("it says nothing")
    def test_warning(self):
        """The log has one line with the chmod that mends it; after that there is none."""
        for properties, path in self.kinds():
            for mode in (0o644, 0o666, 0o620):
                self.changed(path, mode)
                _, warnings = self.add(properties)
                self.assertEqual(len(warnings), 1, warnings)
                self.assertIn(f"{properties['qom-type']} 'o': {path}: its mode {mode:04o} lets other users read "
                              "the key", warnings[0])
                tools.run("/bin/sh", "-c", warnings[0].split("fix it with: ")[1])
                self.assertEqual(self.add(properties), (None, []))

    @settings.unlike_qemu("it does not know the option")
    def test_strict(self):
        """With strict-modes the object is refused with the same text, until the mode is corrected."""
        for properties, path in self.kinds():
            self.changed(path, 0o644)
            text, _ = self.add(properties, **{"strict-modes": True})
            self.assertRegex(text, f"^Unable to use (credentials )?{re.escape(path)}: its mode 0644 lets other users "
                                   f"read the key; fix it with: chmod 600 {re.escape(path)}$")
            os.chmod(path, 0o640)
            self.assertEqual(self.add(properties, **{"strict-modes": True}), (None, []))

    @unittest.skipUnless(os.geteuid() == 0, "only root can give files away")
    @settings.unlike_qemu("it says nothing")
    def test_key_of_somebody_else(self):
        """It is taken with a warning that has the chown, and refused with strict-modes."""
        for properties, path in self.kinds():
            self.addCleanup(os.chown, path, 0, 0)
            os.chown(path, SOMEBODY, SOMEBODY)
            text, warnings = self.add(properties)
            self.assertIsNone(text)
            self.assertEqual(len(warnings), 1, warnings)
            self.assertIn(f"{path}: it belongs to user {SOMEBODY}, who is neither root nor us; fix it with: "
                          f"chown 0 {path}", warnings[0])
            self.assertIn("belongs to user", self.add(properties, **{"strict-modes": True})[0])
            os.chown(path, 0, 0)

    @settings.unlike_qemu("it says nothing")
    def test_what_is_trusted(self):
        """Files that are no secret, and that everybody can change, are warned of too, and refused with strict-modes."""
        properties = self.kinds()[0][0]
        for name in ("ca-cert.pem", "server-cert.pem", "ca-crl.pem"):
            self.changed(self.pki.file(name), 0o646)
            text, warnings = self.add(properties)
            self.assertIsNone(text)
            self.assertEqual(len(warnings), 1, warnings)
            self.assertIn(f"{name}: its mode 0646 lets everybody change what is trusted", warnings[0])
            self.assertIn("everybody change", self.add(properties, **{"strict-modes": True})[0])
            tools.run("/bin/sh", "-c", warnings[0].split("fix it with: ")[1])

    @settings.unlike_qemu("it says nothing")
    def test_once(self):
        """New files are no reason to say it again, as long as it is the same."""
        self.changed(self.pki.file("server-key.pem"), 0o644)
        before = len(self.daemon.stderr())
        self.qmp.execute("object-add", {"id": "followed", **self.kinds()[0][0]})
        self.addCleanup(self.qmp.command, "object-del", {"id": "followed"})
        for turn in (1, 2):
            with open(self.pki.file("server-cert.pem"), "rb") as file:
                self.pki.write("server-cert.pem", file.read(), 0o644)
            wait.until(lambda: self.daemon.stderr()[before:].count(b"were loaded") >= turn, 10, "the new files")
        self.assertEqual(self.daemon.stderr()[before:].count(b"lets other users read the key"), 1)

    @settings.unlike_qemu("it does not know the option")
    def test_properties(self):
        """strict-modes is a property of each kind that reads secrets, off by default."""
        for properties, _ in self.kinds():
            for given in ({}, {"strict-modes": True}):
                self.qmp.execute("object-add", {"id": "o", **properties, **given})
                self.addCleanup(self.qmp.command, "object-del", {"id": "o"})
                listed = {entry["name"]: entry["type"] for entry in self.qmp.execute("qom-list", {"path": "o"})}
                self.assertEqual(listed["strict-modes"], "bool")
                self.assertEqual(self.qmp.execute("qom-get", {"path": "o", "property": "strict-modes"}), bool(given))
                self.qmp.execute("object-del", {"id": "o"})
            help_text = tools.run(settings.program(), "--object", f"{properties['qom-type']},help")
            self.assertIn("  strict-modes=<bool>\n", help_text)

    @settings.unlike_qemu("it has no such limit")
    def test_length(self):
        """A file of credentials may have four mebibytes, and not one byte more; the error names the file."""
        path = self.pki.file("ca-cert.pem")
        with open(path, "rb") as file:
            content = file.read()
        self.addCleanup(self.pki.write, "ca-cert.pem", content, 0o644)
        # The text before the first certificate is a comment.
        comment = b"#" * (4 * MIB - len(content) - 1) + b"\n"
        self.pki.write("ca-cert.pem", comment + content, 0o644)
        self.assertIsNone(self.add(self.kinds()[0][0])[0])
        self.pki.write("ca-cert.pem", b"#" + comment + content, 0o644)
        self.assertEqual(self.add(self.kinds()[0][0])[0],
                         f"Unable to access credentials {path}: longer than {4 * MIB} bytes")

    def test_command_line(self):
        """A line with such a key starts the server."""
        self.changed(self.pki.file("server-key.pem"), 0o644)
        result = subprocess.run([settings.program(), "--object",
                                 f"tls-creds-x509,id=t,endpoint=server,dir={self.pki.path}", "--monitor", "nothing"],
                                capture_output=True, text=True, check=False, timeout=settings.seconds(20))
        self.assertIn('--monitor nothing: chardev "nothing" not found', result.stderr)


if __name__ == "__main__":
    unittest.main()

"""Watched files: every change applies from the moment at which the server has read it."""

import os
import unittest

from lib import certificates, images, settings, wait
from lib.testcase import DaemonTest

# The files change so soon after an object was made that a watch that begins after the reading misses some changes.
ROUNDS = 15


class FollowedFilesTest(DaemonTest):
    """Objects whose files change as soon as they are there."""

    def replaced(self, path, content):
        """The file, at once another one."""
        images.write_file(f"{path}.new", content)
        os.rename(f"{path}.new", path)

    def check(self, properties, path, contents, line):
        """A change that follows the object's making at once is seen: the log has this line."""
        for number in range(ROUNDS):
            name = f"{properties['qom-type']}-{number}"
            self.qmp.execute("object-add", {"id": name, **properties})
            before = len(self.daemon.stderr())
            self.replaced(path, contents[number % 2])
            wait.until(lambda before=before: line in self.daemon.stderr()[before:], 10, "the change to be seen")
            self.qmp.execute("object-del", {"id": name})

    @settings.unlike_qemu("it does not follow the files")
    def test_credentials(self):
        """The directory of tls-creds-x509."""
        pki = certificates.make(self.path("pki"))
        with open(pki.file("server-cert.pem"), "rb") as file:
            content = file.read()
        self.check({"qom-type": "tls-creds-x509", "endpoint": "server", "dir": pki.path}, pki.file("server-cert.pem"),
                   [content, content], b"its files have changed and were loaded")

    @settings.unlike_qemu("it does not say so")
    def test_list_of_rules(self):
        """The file of authz-list-file."""
        path = self.path("rules")
        contents = [b'{"rules": [{"match": "%s", "policy": "allow"}]}' % name for name in (b"one", b"two")]
        images.write_file(path, contents[1])
        self.check({"qom-type": "authz-list-file", "filename": path}, path, contents, b"1 rules in use")


if __name__ == "__main__":
    unittest.main()

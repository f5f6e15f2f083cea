"""docs/guides/encryption.md: its commands, run literally, do what they say."""

import os
import time
import unittest

from lib import images, settings, tools
from lib.guide import GuideCase
from lib.images import KIB, MIB
from lib.qmp import QmpClient

OPTIONS = "driver=qcow2,encrypt.format=luks,encrypt.key-secret=k,file.driver=file,file.filename=disk.qcow2"


class EncryptionTest(GuideCase):
    """The passphrase is in a file, as a credential of systemd is."""

    guide = "encryption.md"
    export = "disk"

    def run_commands(self, title):
        """The QMP commands of a section; a job is awaited, and must not fail."""
        with QmpClient(self.path("monitor.sock")) as qmp:
            for command in self.qmp_commands(title):
                qmp.execute(command["execute"], command["arguments"])
                if "job-id" in command["arguments"]:
                    self.await_job(qmp, command["arguments"]["job-id"])

    def await_job(self, qmp, identity):
        """Waits for the end of a job, and dismisses it."""
        deadline = time.monotonic() + settings.seconds(60)
        while qmp.wait_event("JOB_STATUS_CHANGE", timeout=60.0)["data"]["status"] != "concluded":
            self.assertLess(time.monotonic(), deadline)
        (job,) = [job for job in qmp.execute("query-jobs") if job["id"] == identity]
        self.assertNotIn("error", job)
        qmp.execute("job-dismiss", {"id": identity})

    def read_with(self, key):
        """The result of QEMU's reading with the passphrase in a file of the credentials."""
        return tools.finish("qemu-io", "-r", "--object", f"secret,id=k,file=credentials/{key}", "--image-opts", OPTIONS,
                            "-c", "read -P 120 1M 64k", cwd=self.workdir)

    def test_image_and_new_passphrase(self):
        """The disk is written through the export, the passphrase changes, and QEMU reads with the new one alone."""
        self.shell(self.script("Make an image and serve it"))
        self.run_commands("Make an image and serve it")
        self.write(MIB, b"x" * 64 * KIB, "disk")
        images.write_file(self.path("credentials", "new-key"), b"another passphrase")
        os.chmod(self.path("credentials", "new-key"), 0o600)
        self.run_commands("Change the passphrase")
        connection = self.connect("disk")
        self.assertEqual(connection.read(MIB, 4096), b"x" * 4096)
        self.stop_server()
        self.assertIn("encrypted: yes", self.shell(self.script("Change the passphrase")))
        self.assertEqual(self.read_with("new-key").returncode, 0)
        self.assertIn("Invalid password", self.read_with("disk-key").stderr)

    def test_images_without_a_daemon(self):
        """A new image, and a disk that is encrypted; no passphrase stands in a command."""
        os.mkdir(self.path("credentials"), 0o700)
        images.write_file(self.path("credentials", "disk-key"), b"a passphrase")
        os.chmod(self.path("credentials", "disk-key"), 0o600)
        images.make_sparse(self.path("plain.img"), 8 * MIB, [(MIB, 100 * KIB)])
        self.assertIn("encrypted: yes", self.shell(self.script("Images without a daemon")))
        self.assertIn("Images are identical.", self.shell(self.script("Images without a daemon", 1)))
        options = "driver=luks,key-secret=k,file.driver=file,file.filename=disk.luks"
        tools.run("qemu-img", "compare", "--object", "secret,id=k,file=credentials/disk-key", "--image-opts", options,
                  "driver=raw,file.driver=file,file.filename=plain.img", cwd=self.workdir, timeout=60)
        for number in range(len(self.blocks("Images without a daemon"))):
            self.assertNotIn("data=", self.script("Images without a daemon", number))


if __name__ == "__main__":
    unittest.main()

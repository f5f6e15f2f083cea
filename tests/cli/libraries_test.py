"""Shared libraries of the server: libpam is loaded only on demand, and an error says when it is missing."""

import os
import subprocess
import unittest

from lib import daemon, images, settings

PAM = {"libpam.so", "libaudit.so", "libcap-ng.so"}


def loaded_libraries(pid):
    """The names of the libraries that a process has mapped."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
        paths = {line.split(maxsplit=5)[5].strip() for line in file if "/" in line}
    return {os.path.basename(path) for path in paths if ".so" in path}


def of_pam(names):
    """Those of some libraries that come with PAM."""
    return {name for name in names if any(name.startswith(prefix) for prefix in PAM)}


class PamLibraryTest(unittest.TestCase):
    """libpam, which brings libaudit and libcap-ng with it."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def path(self, name):
        """A path in the private directory."""
        return os.path.join(self.workdir, name)

    def start(self, **options):
        """A server with a monitor."""
        server = daemon.Daemon(self.workdir, nbd_server=None, **options)
        self.addCleanup(server.kill)
        return server.start()

    def without_pam(self):
        """The environment of a host whose libpam cannot be loaded."""
        os.mkdir(self.path("lib"))
        images.write_file(self.path("lib/libpam.so.0"), b"")
        return {**os.environ, "LD_LIBRARY_PATH": self.path("lib")}

    @settings.unlike_qemu("it is linked with libpam, or has no authz-pam")
    def test_not_linked(self):
        """The program does not ask the loader for it, nor does anything that it is linked with."""
        listed = subprocess.run(["ldd", settings.program()], capture_output=True, text=True, timeout=60, check=True)
        names = {line.split()[0] for line in listed.stdout.splitlines()}
        self.assertTrue(any(name.startswith("libgnutls.so") for name in names), names)
        self.assertEqual(of_pam(names), set())

    @settings.unlike_qemu("it is linked with libpam, or has no authz-pam")
    def test_loaded_by_the_first_object(self):
        """A server has it from the first authz-pam object on."""
        server = self.start()
        self.assertEqual(of_pam(loaded_libraries(server.pid)), set())
        server.qmp.execute("object-add", {"qom-type": "authz-pam", "id": "door", "service": "nothing"})
        self.assertIn("libpam.so", {name[:9] for name in loaded_libraries(server.pid)})
        server.stop()

    @settings.unlike_qemu("it is linked with libpam, or has no authz-pam")
    def test_missing_at_the_start(self):
        """Where it is not there, the command line's error says which, and the hint what to install."""
        result = subprocess.run([settings.program(), "--object", "authz-pam,id=door,service=nothing"],
                                env=self.without_pam(), cwd=self.workdir, stdin=subprocess.DEVNULL,
                                capture_output=True, timeout=settings.seconds(15), check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"cannot use PAM: ", result.stderr)
        self.assertIn(b"libpam.so.0", result.stderr)
        self.assertIn(b"apt install libpam0g", result.stderr)

    @settings.unlike_qemu("it is linked with libpam, or has no authz-pam")
    def test_missing_while_it_runs(self):
        """Where it is not there, object-add fails and the server goes on; the id is free."""
        server = self.start(environment=self.without_pam())
        answer = server.qmp.command("object-add", {"qom-type": "authz-pam", "id": "door", "service": "nothing"})
        self.assertIn("cannot use PAM: ", answer["error"]["desc"])
        server.qmp.execute("object-add", {"qom-type": "authz-simple", "id": "door", "identity": "anna"})
        server.stop()

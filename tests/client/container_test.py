"""The root of the container: both programs run in it as its user, read-only; and the file that engines load."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
import unittest

from lib import settings
from lib.client_tool import ToolTest, program

USER = 65532


def can_isolate():
    """Whether this process may make mount namespaces and change the root."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], capture_output=True,
                                                check=False).returncode == 0


class ContainerTest(ToolTest):
    """A root made from the build tree of the programs under test."""

    @classmethod
    def setUpClass(cls):
        cls.build = os.path.dirname(os.path.realpath(settings.program()))
        if not os.path.exists(os.path.join(cls.build, "cmake_install.cmake")):
            raise unittest.SkipTest("the programs are in no build tree")
        if settings.sanitized():
            raise unittest.SkipTest("a sanitizer's program is no shipped one")

    def setUp(self):
        super().setUp()
        self.assertEqual(os.path.dirname(os.path.realpath(program())), self.build)
        os.chmod(self.workdir, 0o755)
        self.root = self.path("root")
        subprocess.run(["packaging/container/make_root.sh", self.build, self.root], cwd=settings.ROOT, check=True,
                       timeout=settings.seconds(60))

    def test_contents(self):
        """Programs, libraries, configuration; no shell, nothing that changes identities, nothing others can write."""
        names = set()
        for folder, _, files in os.walk(self.root):
            for name in files:
                path = os.path.join(folder, name)
                names.add(os.path.relpath(path, self.root))
                self.assertFalse(os.stat(path).st_mode & 0o6002, path)
        self.assertLessEqual({"usr/bin/blockexportd", "usr/bin/blockexport", "etc/passwd",
                              "etc/blockexport/blockexport.toml"}, names)
        self.assertEqual({name for name in names if name.startswith(("bin/", "usr/bin/", "usr/sbin/"))},
                         {"usr/bin/blockexportd", "usr/bin/blockexport"})

    @unittest.skipUnless(can_isolate(), "only root can change the root of a process")
    def test_it_runs_read_only(self):
        """As its user, with a root that cannot be written, the daemon starts and the health check passes."""
        script = f"""
set -e
mount --bind {self.root} {self.root}
mount -o remount,ro,bind {self.root}
mount -t tmpfs -o uid={USER},gid={USER},mode=0750 tmpfs {self.root}/run/blockexport
within() {{ chroot --userspec={USER}:{USER} {self.root} "$@"; }}
chroot --userspec={USER}:{USER} {self.root} \\
  /usr/bin/blockexportd --chardev socket,id=m,path=/run/blockexport/qmp.sock,server=on,wait=off --monitor m \\
  --nbd-server addr.type=unix,addr.path=/run/blockexport/nbd.sock --pidfile /run/blockexport/pid &
daemon=$!
for _ in $(seq 200); do if [ -e {self.root}/run/blockexport/pid ]; then break; fi; sleep 0.1; done
within /usr/bin/blockexport ping --timeout 3
within /usr/bin/blockexport add --id x /usr/bin/blockexport
within /usr/bin/blockexport exports
kill $daemon
wait $daemon
if within /usr/bin/blockexport ping --timeout 3; then exit 3; fi
"""
        result = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], env={
            "PATH": os.environ["PATH"], "LC_ALL": "C"}, capture_output=True, text=True,
                                timeout=settings.seconds(90), check=False)
        self.assertEqual(result.returncode, 0, f"{result.stdout}\n{result.stderr}")
        self.assertIn("answers", result.stdout)
        self.assertIn("/usr/bin/blockexport", result.stdout)

    def test_image_file(self):
        """The digests are right, and the configuration is that of the Containerfile."""
        path = self.path("image.tar")
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1000000000"}
        for target in (path, self.path("again.tar")):
            subprocess.run(["/usr/bin/python3", "-B", "tools/image_file.py", self.root, target, "--tag", "x:1"],
                           cwd=settings.ROOT, env=environment, check=True, timeout=settings.seconds(60),
                           stdout=subprocess.DEVNULL)
        with tarfile.open(path) as tar:
            (entry,) = json.load(tar.extractfile("manifest.json"))
            config_bytes = tar.extractfile(entry["Config"]).read()
            layer = tar.extractfile(entry["Layers"][0]).read()
        self.assertEqual(entry["RepoTags"], ["x:1"])
        self.assertEqual(entry["Config"], hashlib.sha256(config_bytes).hexdigest() + ".json")
        config = json.loads(config_bytes)
        self.assertEqual(config["rootfs"]["diff_ids"], ["sha256:" + hashlib.sha256(layer).hexdigest()])
        self.assertEqual(config["config"]["User"], "65532:65532")
        self.assertEqual(config["config"]["Entrypoint"], ["/usr/bin/blockexportd"])
        self.assertEqual(config["config"]["Healthcheck"]["Test"][:3], ["CMD", "/usr/bin/blockexport", "ping"])
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            owners = {member.name: member.uid for member in tar.getmembers()}
        self.assertEqual((owners["run/blockexport"], owners["usr/bin/blockexportd"]), (USER, 0))
        with open(path, "rb") as one, open(self.path("again.tar"), "rb") as other:
            self.assertEqual(one.read(), other.read())


if __name__ == "__main__":
    unittest.main()

"""The Debian packages and the container: their files agree with the rest of the tree."""

import os
import re
import unittest

from tool_case import ROOT


def packages_of(text):
    """The names in a list of packages, without versions."""
    return {re.split(r"[ (:]", each.strip())[0] for each in text.split(",") if each.strip()}


class DebianTest(unittest.TestCase):
    def setUp(self):
        self.control = (ROOT / "debian/control").read_text(encoding="utf-8")

    def field(self, name, paragraph=0):
        """A field of the control file, with its continuation."""
        text = self.control.split("\n\n")[paragraph]
        return re.search(rf"^{name}:(.*?)(?=^\S|\Z)", text, re.S | re.M).group(1)

    def test_build_dependencies(self):
        """They are what tools/setup.sh installs for a build, but for what only makes it faster."""
        script = (ROOT / "tools/setup.sh").read_text(encoding="utf-8")
        wanted = set(re.search(r"^build_packages=\((.*?)\)", script, re.S | re.M).group(1).split())
        found = packages_of(self.field("Build-Depends"))
        self.assertEqual(wanted - found, {"ccache"})
        self.assertEqual(found - wanted, {"debhelper-compat", "dh-sequence-installsysusers", "scdoc"})

    def test_version(self):
        """The newest entry of the changelog is the version of the project."""
        project = re.search(r"^project\(\w+ VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"),
                            re.M).group(1)
        first = (ROOT / "debian/changelog").read_text(encoding="utf-8").splitlines()[0]
        self.assertEqual(re.match(r"blockexport \(([0-9.]+)\) ", first).group(1), project)

    def test_no_test_is_compiled(self):
        """The preset of the package has no tests, and nobody runs them in the build."""
        rules = (ROOT / "debian/rules").read_text(encoding="utf-8")
        self.assertIn("cmake --preset programs", rules)
        self.assertRegex(rules, r"override_dh_auto_test:\n\n")

    def test_tests_of_the_packages(self):
        """Each that debian/tests/control names is there and can be run; there is no other."""
        text = (ROOT / "debian/tests/control").read_text(encoding="utf-8")
        names = set(re.findall(r"^Tests: (\S+)", text, re.M))
        self.assertEqual(names, {path.name for path in (ROOT / "debian/tests").iterdir()} - {"control"})
        for name in names:
            self.assertTrue(os.access(ROOT / "debian/tests" / name, os.X_OK), name)
        for client in ("nbdinfo", "nbdcopy", "fio"):
            self.assertIn(client, (ROOT / "debian/tests/clients").read_text(encoding="utf-8"))


class ContainerTest(unittest.TestCase):
    def setUp(self):
        self.text = (ROOT / "packaging/container/Containerfile").read_text(encoding="utf-8")

    def test_user_and_health(self):
        """The last stage has nothing of the build, another user than root, and a health check."""
        last = self.text.split("\nFROM ")[-1]
        self.assertTrue(last.startswith("scratch\n"))
        self.assertIn("USER 65532:65532", last)
        self.assertRegex(last, r'HEALTHCHECK .*"/usr/bin/blockexport", "ping"')
        self.assertNotIn("RUN ", last)

"""Every script of tests/qmp/scripts, against the server under test and against qemu-storage-daemon if installed."""

import os
import sys
import unittest

import replay
from lib import settings
from script import Script


class OursTest(unittest.TestCase):
    """The server under test answers as the scripts say."""


class ReferenceTest(unittest.TestCase):
    """qemu-storage-daemon answers so too, but for what differences.toml lists: the newest one at hand."""

    @classmethod
    def setUpClass(cls):
        """Says which one it is."""
        if os.access(settings.REFERENCE, os.X_OK):
            version = ".".join(map(str, settings.qemu_version(settings.REFERENCE)))
            print(f"the reference is {settings.REFERENCE}, version {version}", file=sys.stderr)


class DifferencesTest(unittest.TestCase):
    """The list of differences is in order."""

    def test_entries_name_a_script_and_a_reason(self):
        """Each entry names a script and a step that exist, and says why."""
        scripts = {Script(path).name: Script(path) for path in replay.all_scripts()}
        for entry in replay.Differences().entries:
            self.assertIn(entry["script"], scripts)
            self.assertGreater(len(entry["reason"]), 10, entry)
            self.assertLessEqual({"before", "since"} & set(entry), set(entry), entry)
            if not entry.get("skip"):
                self.assertIn(entry["step"], [str(step) for step in scripts[entry["script"]].steps], entry["script"])

    def test_there_are_enough_scripts(self):
        """At least 60 scripts."""
        self.assertGreaterEqual(len(replay.all_scripts()), 60)


def make_test(path, reference):
    """A test method for one script."""
    def test(self):
        script = Script(path)
        differences = replay.Differences()
        program = settings.REFERENCE if reference else settings.program()
        if reference and not os.access(program, os.X_OK):
            self.skipTest("qemu-storage-daemon is not installed")
        version = settings.qemu_version(program)
        if version and differences.skipped(script, version):
            self.skipTest(differences.skipped(script, version))
        problems = replay.compare(script, replay.play(script, program), version, differences)
        if problems:
            told = f" {'.'.join(map(str, version))}" if version else ""
            self.fail(f"{program}{told}\n{problems}")
    with open(path, encoding="utf-8") as file:
        test.__doc__ = file.readline().strip("# \n")
    return test


for script_path in replay.all_scripts():
    name = "test_" + os.path.basename(script_path)[:-len(".txt")]
    setattr(OursTest, name, make_test(script_path, False))
    setattr(ReferenceTest, name, make_test(script_path, True))

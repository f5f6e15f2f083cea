"""The build tree of the programs alone, which needs no GoogleTest, and the same tree with the tests."""

import re
import subprocess

from tool_case import ROOT, ToolCase, purposes_of


class ConfigureTest(ToolCase):
    def configure(self, tests, *options):
        """Configures the tree as the presets do; its output."""
        result = self.run_tool("cmake", "-S", str(ROOT), "-B", str(self.place / "tree"), "-G", "Ninja",
                               "-DCMAKE_CXX_COMPILER=clang++-19", "-DCMAKE_C_COMPILER=clang-19",
                               f"-DBLOCKEXPORT_TESTS={tests}", *options, timeout_s=200)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return result.stdout

    def test_there_and_back(self):
        """Without tests nothing asks for GoogleTest; with them, in the same tree, it is used."""
        self.configure("OFF", "-DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON")
        tree = (self.place / "tree/build.ninja").read_text(encoding="utf-8")
        self.assertIn("build blockexportd: ", tree)
        self.assertNotIn("base_test", tree)
        self.assertNotIn("gtest", tree)
        self.configure("ON", "-DCMAKE_DISABLE_FIND_PACKAGE_GTest=OFF")
        self.assertIn("base_test", (self.place / "tree/build.ninja").read_text(encoding="utf-8"))
        self.configure("OFF")
        self.assertNotIn("base_test", (self.place / "tree/build.ninja").read_text(encoding="utf-8"))

    def test_presets(self):
        """`make build` and `make test` share a tree; only the second puts the tests in."""
        self.assertNotIn("test", purposes_of("build"))
        listed = subprocess.run(["cmake", "-N", "--preset", "programs", "-B", str(self.place / "none")], cwd=ROOT,
                                capture_output=True, text=True, timeout=60, check=True).stdout
        self.assertIn('BLOCKEXPORT_TESTS="OFF"', listed)
        listed = subprocess.run(["cmake", "-N", "--preset", "release", "-B", str(self.place / "none")], cwd=ROOT,
                                capture_output=True, text=True, timeout=60, check=True).stdout
        self.assertIn('BLOCKEXPORT_TESTS="ON"', listed)
        folders = re.findall(r'"binaryDir": "([^"]+)"', (ROOT / "CMakePresets.json").read_text(encoding="utf-8"))
        self.assertEqual(len(folders), len(set(folders)))

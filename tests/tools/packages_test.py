"""tools/setup.sh: the packages for each purpose, with a package manager that only records its commands."""

import re

from tool_case import ROOT, ToolCase, purposes_of

# Packages without which tests, and only tests, do not run.
OF_TESTS = {"libgtest-dev", "libgmock-dev", "libclang-rt-19-dev", "llvm-19", "libpam0g-dev", "qemu-system-common",
            "nbdkit", "fio", "strace", "clang-tidy-19"}


class PackagesTest(ToolCase):
    def setUp(self):
        super().setUp()
        self.orders = self.place / "orders"
        self.stand_in("apt-get", f'echo "$@" >>{self.orders}')
        self.stand_in("sudo", 'exec "$@"')
        self.stand_in("dpkg-query", "exit 1")

    def installed_for(self, *purposes):
        """The packages that are installed where there is none yet."""
        self.orders.unlink(missing_ok=True)
        result = self.run_tool("tools/setup.sh", *purposes)
        self.assertEqual(result.returncode, 0, result.stderr)
        orders = self.orders.read_text(encoding="utf-8").splitlines()
        order = next(line for line in orders if " install " in f" {line} ")
        return {word for word in order.split() if not word.startswith("--") and word != "install"}

    def test_what_make_serve_installs(self):
        """The compiler, the libraries and the clients of the tour; nothing that serves tests."""
        purposes = purposes_of("serve")
        self.assertEqual(purposes, ["build", "clients"])
        packages = self.installed_for(*purposes)
        self.assertLessEqual({"clang-19", "libgnutls28-dev", "libnbd-bin", "qemu-utils"}, packages)
        self.assertEqual(packages & OF_TESTS, set())

    def test_what_make_test_installs(self):
        """The packages of the build and of the tests; a sanitizer's run-time only for the sanitizers."""
        packages = self.installed_for(*purposes_of("test"))
        self.assertLessEqual({"clang-19", "libgtest-dev", "nbdkit"}, packages)
        self.assertNotIn("llvm-19", packages)
        for target in ("asan", "tsan", "fuzz"):
            self.assertIn("libclang-rt-19-dev", self.installed_for(*purposes_of(target)), target)

    def test_every_purpose_is_known(self):
        """What the Makefile and the continuous integration ask for."""
        for path in ("Makefile", ".ci/run"):
            for line in re.findall(r"tools/setup\.sh ([a-z ]+)", (ROOT / path).read_text(encoding="utf-8")):
                self.assertNotEqual(self.installed_for(*line.split()), set())

    def test_an_unknown_purpose(self):
        """It is refused, and nothing installed."""
        result = self.run_tool("tools/setup.sh", "build", "tests")
        self.assertEqual(result.returncode, 2)
        self.assertIn("unknown purpose 'tests'", result.stderr)
        self.assertFalse(self.orders.exists())

    def test_nothing_is_missing(self):
        """Where all is there no package manager is asked."""
        self.stand_in("dpkg-query", "printf installed")
        self.assertEqual(self.run_tool("tools/setup.sh", "build", "clients").returncode, 0)
        self.assertFalse(self.orders.exists())

"""tools/peer_root.sh and tools/bare_machine.sh without their requirements: they name the missing one."""

import re

from tool_case import ROOT, ToolCase

NO_MIRROR = "exit 0"
# Names a mirror, and then fails as one that nobody answers for.
DEAD_MIRROR = 'if [[ $1 == indextargets ]]; then echo "Debian http://127.0.0.1:9/debian/"; else exit 100; fi'


class PeerRootTest(ToolCase):
    def peers(self, *arguments):
        return self.run_tool("tools/peer_root.sh", *arguments)

    def test_nothing_was_downloaded(self):
        """--cached asks no mirror: exit code 3."""
        self.stand_in("apt-get", "echo asked >&2; exit 100")
        result = self.peers("--cached")
        self.assertEqual((result.returncode, result.stdout), (3, ""))
        self.assertIn("none were downloaded before", result.stderr)
        self.assertNotIn("asked", result.stderr)

    def test_what_was_downloaded_before(self):
        """The folder is printed, and no mirror asked."""
        folder = self.place / "cache/peers/bin"
        folder.mkdir(parents=True)
        (folder / "VERSIONS").write_text("nbdkit 1.48.1-1\n", encoding="utf-8")
        self.stand_in("apt-get", "exit 100")
        for arguments in ((), ("--cached",)):
            result = self.peers(*arguments)
            self.assertEqual((result.returncode, result.stdout), (0, f"{folder}\n"), result.stderr)

    def test_no_mirror(self):
        """A host without one: exit code 3, and why."""
        self.stand_in("apt-get", NO_MIRROR)
        result = self.peers()
        self.assertEqual((result.returncode, result.stdout), (3, ""))
        self.assertIn("has no Debian mirror", result.stderr)

    def test_a_mirror_that_does_not_answer(self):
        """Exit code 3, and nothing half made is left."""
        self.stand_in("apt-get", DEAD_MIRROR)
        result = self.peers()
        self.assertEqual((result.returncode, result.stdout), (3, ""))
        self.assertIn("apt or the mirror refused", result.stderr)
        self.assertEqual([path.name for path in (self.place / "cache/peers").iterdir()], [])
        self.assertEqual(self.peers("--cached").returncode, 3)


class BareMachineTest(ToolCase):
    def test_left_out(self):
        """Where no machine can be made each one is named, with the reason; exit code 77."""
        self.stand_in("apt-get", NO_MIRROR)
        self.stand_in("debootstrap", "exit 1")
        result = self.run_tool("tools/bare_machine.sh")
        self.assertEqual(result.returncode, 77, result.stderr)
        self.assertEqual([line.split(": ")[:2] for line in result.stdout.splitlines()],
                         [["bare_machine", f"{suite} left out"] for suite in ("bookworm", "trixie")])

    def test_unknown_words(self):
        """Another suite than those that are supported is refused."""
        result = self.run_tool("tools/bare_machine.sh", "bullseye")
        self.assertEqual(result.returncode, 2)
        self.assertIn("usage: ", result.stderr)

    def test_no_test_needs_a_name(self):
        """No test connects to a name: a bare machine has no /etc/hosts, so that not even `localhost` resolves."""
        found = [f"{path.relative_to(ROOT)}: {use}"
                 for folder in ("tests", "docs/guides") for path in (ROOT / folder).rglob("*")
                 if path.suffix in (".py", ".sh", ".md", ".txt")
                 for use in re.findall(r"""//(?:[\w{}]*@)?localhost[:/]|host=localhost\b|\(["']localhost["'], ?\w""",
                                       path.read_text(encoding="utf-8"))
                 if "tls-hostname=" not in use]
        found = [use for use in found if not use.startswith("tests/tools/machines_test.py")]
        self.assertEqual(found, [])

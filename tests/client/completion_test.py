"""Completion of `blockexport` in bash, zsh and fish: commands, options, values, and what a running daemon has."""

import os
import shutil
import subprocess
import time

from lib import images, settings
from lib.client_tool import program
from lib.images import MIB
from lib.testcase import DaemonTest, file_node, nbd_export

# Stands for the functions of zsh's own completion, and prints what they would offer.
ZSH = """
compdef() { : }
compset() { words[CURRENT]=${words[CURRENT]#*=} }
_files() { print -l -- *(N) }
compadd() {
  local name=${@[-1]} word
  for word in ${(P)name}; do [[ $word == ${words[CURRENT]}* ]] && print -r -- $word; done
}
source $1; shift
words=("$@") CURRENT=$#
_blockexport
"""


class CompletionTest(DaemonTest):
    """A daemon with two exports and nodes, and the three scripts."""

    @classmethod
    def prepare(cls):
        images.make_sparse(cls.path("disk.img"), MIB, [])
        return [*file_node("alpha", cls.path("disk.img"), **{"read-only": "on"}), *nbd_export("alpha"),
                *file_node("beta", cls.path("disk.img"), **{"read-only": "on"}), *nbd_export("beta2", "beta")]

    def setUp(self):
        super().setUp()
        if settings.is_qemu():
            self.skipTest("a second monitor is an addition of ours")
        os.makedirs(self.path("bin"), exist_ok=True)
        if not os.path.exists(self.path("bin/blockexport")):
            os.symlink(program(), self.path("bin/blockexport"))
            os.symlink(settings.program(), self.path("bin/blockexportd"))
        self.environment = {"PATH": f"{self.path('bin')}:{os.environ['PATH']}", "HOME": self.workdir,
                            "LC_ALL": "C.UTF-8", "BLOCKEXPORT_MONITOR": self.path("tool.sock"), "TERM": "dumb"}
        subprocess.run(["/usr/bin/python3", "-B", os.path.join(settings.ROOT, "tools", "manual"), "--completion",
                        "--programs", self.path("bin"), "--output", self.path("completion")], check=True,
                       timeout=settings.seconds(60))
        self.qmp.execute("chardev-add", {"id": "tool", "backend": {"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": self.path("tool.sock")}}, "server": True, "wait": False}}})
        self.addCleanup(self.qmp.execute, "chardev-remove", {"id": "tool"})
        self.qmp.execute("object-add", {"qom-type": "monitor-qmp", "id": "tool-monitor", "chardev": "tool"})
        self.addCleanup(self.qmp.execute, "object-del", {"id": "tool-monitor"})
        os.makedirs(self.path("files"), exist_ok=True)
        with open(self.path("files/image.raw"), "w", encoding="ascii"):
            pass

    def run_shell(self, *arguments):
        """What a shell prints; it must print no error."""
        result = subprocess.run(arguments, cwd=self.path("files"), env=self.environment, capture_output=True, text=True,
                                stdin=subprocess.DEVNULL, timeout=settings.seconds(60), check=False)
        self.assertEqual(result.stderr, "", arguments)
        return result.stdout.split("\n")[:-1]

    def in_bash(self, line):
        """The completions of a line in bash."""
        script = ("source completion/blockexport.bash; cd files; COMP_LINE=$1 COMP_POINT=${#1}; _blockexport; "
                  "printf '%s\\n' \"${COMPREPLY[@]}\"")
        result = self.run_shell("bash", "-c", f"cd ..; {script}", "bash", line)
        return {word for word in result if word}

    def in_zsh(self, line):
        """The same in zsh."""
        words = line.split()
        if line.endswith(" "):
            words.append("")
        return set(self.run_shell("zsh", "-f", "-c", ZSH, "zsh", self.path("completion/_blockexport"), *words))

    def in_fish(self, line):
        """The same in fish, without the descriptions."""
        found = self.run_shell("fish", "--no-config", "-c",
                               'source $argv[1]; complete -C "$argv[2]"', self.path("completion/blockexport.fish"),
                               line)
        return {word.split("\t")[0] for word in found}

    def shells(self):
        """Those that are installed."""
        return [(name, getattr(self, f"in_{name}")) for name in ("bash", "zsh", "fish") if shutil.which(name)]

    def check(self, line, expected):
        """Each shell offers these words, and no other."""
        for name, complete in self.shells():
            with self.subTest(shell=name, line=line):
                found = complete(line)
                # On a loaded machine the daemon may take longer than a shell waits.
                for _ in range(10):
                    if not expected or found:
                        break
                    found = complete(line)
                self.assertEqual(found, set(expected))

    def test_commands(self):
        """Those of each level, and those that begin as the word does; hidden ones never."""
        self.check("blockexport res", ["resize", "restore"])
        self.check("blockexport tls re", ["renew", "revoke"])
        for name, complete in self.shells():
            with self.subTest(shell=name):
                words = complete("blockexport ")
                self.assertLessEqual({"serve", "status", "exports", "image", "tls"}, words)
                self.assertEqual([word for word in words if word.startswith("_")], [])

    def test_options(self):
        """Those of the command, and none of another one."""
        self.check("blockexport exports --", ["--help", "--monitor", "--timeout", "--json"])
        self.check("blockexport image snapshot --cr", ["--create"])
        self.check("blockexport del --mo", ["--monitor", "--mode"])

    def test_fixed_values(self):
        """The words that an option takes, also after other arguments."""
        self.check("blockexport del x --mode h", ["hide", "hard"])
        self.check("blockexport backup end monday ", ["success", "abort"])

    def test_files(self):
        """Of an argument and of an option."""
        self.check("blockexport add ", ["image.raw"])
        self.check("blockexport image convert image.raw ", ["image.raw"])

    def test_exports_and_nodes(self):
        """What the daemon has at this moment, as the first argument alone."""
        self.check("blockexport del ", ["alpha", "beta2"])
        self.check("blockexport del --mode hard b", ["beta2"])
        self.check("blockexport resize alpha ", [])
        self.check("blockexport backup begin x --disk ", ["alpha", "beta"])

    def test_the_monitor_of_the_line(self):
        """--monitor on the line goes before the environment."""
        self.environment["BLOCKEXPORT_MONITOR"] = self.path("none.sock")
        self.check("blockexport del ", [])
        self.check(f"blockexport del --monitor {self.path('tool.sock')} ", ["alpha", "beta2"])

    def test_no_daemon(self):
        """Nothing is printed, and nobody waits: also not for a monitor that is occupied."""
        for path in (self.path("none.sock"), self.daemon.qmp_path):
            started = time.monotonic()
            result = subprocess.run([program(), "__complete", "exports", "--monitor", path], capture_output=True,
                                    timeout=settings.seconds(30), check=False)
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, b"", b""))
            self.assertLess(time.monotonic() - started, settings.seconds(10))

    def test_words(self):
        """The words alone, a line each; of clients the numbers, and without clients none."""
        self.assertEqual(self.run_shell(program(), "__complete", "exports"), ["alpha", "beta2"])
        self.assertEqual(sorted(self.run_shell(program(), "__complete", "nodes")), ["alpha", "beta"])
        self.assertEqual(self.run_shell(program(), "__complete", "clients"), [])


if __name__ == "__main__":
    import unittest
    unittest.main()

"""docs/guides/configuration.md: its commands, run literally, have the documented effect; every mistake is found."""

import os
import re
import signal
import subprocess
import unittest

from lib import settings
from lib.daemon import free_port
from lib.guide import GuideCase
from lib.wait import until

TEN_LINES = "A server with TLS in ten lines of configuration"
FULL = "The full example"
# Names of objects, which the administrator chooses.
IDS = re.compile(r"^\[(\w+)\.([\w-]+)(?:\.(\w+))?\]$|^\[(\w+)\]$")
KEY = re.compile(r"(?<![\w\"/.-])([a-z][a-z-]*(?:\.[a-z-]+)*)(?= = )")


class ConfigurationGuideTest(GuideCase):
    """The daemon of the guide."""

    guide = "configuration.md"

    def setUp(self):
        super().setUp()
        self.port = free_port()

    def on_port(self, text):
        """The commands, with a port that is free."""
        return text.replace("10809", str(self.port))

    def log(self):
        """The log so far."""
        with open(self.path("daemon.log"), encoding="utf-8") as log:
            return log.read()

    def start(self):
        """The first section up to the start; the answer of nbdinfo."""
        self.shell(self.on_port(self.script(TEN_LINES)))
        return self.shell(self.on_port(self.script(TEN_LINES, 1)))

    def test_ten_lines(self):
        """Ten lines of configuration make a server with TLS."""
        answer = self.start()
        self.assertIn("newstyle-fixed with TLS", answer)
        self.assertIn("export-size: 67108864", answer)
        with open(self.path("blockexport.toml"), encoding="utf-8") as file:
            self.assertEqual(len(file.readlines()), 10)

    def test_mistake(self):
        """The misspelt key of the guide gives the line of the guide."""
        self.shell(self.script(TEN_LINES))
        path = self.path("blockexport.toml")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("writable", "witable"))
        result = subprocess.run([self.path("bin", "blockexportd"), "--config", path, "--check-config"], text=True,
                                capture_output=True, check=False, timeout=settings.seconds(20))
        shown = re.search(r"^/srv/.*\n", self.section(TEN_LINES), re.M).group()
        self.assertEqual(result.stderr, shown.replace("/srv/", self.workdir + "/"))
        self.assertEqual(result.returncode, 2)

    def test_reload(self):
        """A file in exports.d is an export after SIGHUP, and none after its removal and another one."""
        self.start()
        self.shell(self.script("One more export, one reload"))
        until(lambda: "configuration reloaded from" in self.log(), what="the reload")
        uri = f"nbds://127.0.0.1:{self.port}/%s?tls-certificates={self.path('pki')}"
        self.assertIn("a second disk", self.shell(f"nbdinfo '{uri % 'more'}'"))
        os.unlink(self.path("exports.d", "more.toml"))
        os.kill(self.server_pid(), signal.SIGHUP)
        until(lambda: self.log().count("configuration reloaded from") == 2, what="the second reload")
        self.shell(f"! nbdinfo '{uri % 'more'}'")
        self.assertIn("export-size: 67108864", self.shell(f"nbdinfo '{uri % 'disk'}'"))


class MistakesTest(GuideCase):
    """The full example, with one mistake at a time."""

    guide = "configuration.md"

    def setUp(self):
        super().setUp()
        self.lines = re.search(r"^```toml\n(.*?)^```", self.section(FULL), re.S | re.M).group(1).splitlines()

    def check(self, lines):
        """Exit code and errors of --check-config for a file with these lines."""
        with open(self.path("main.toml"), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        os.chmod(self.path("main.toml"), 0o600)
        result = subprocess.run([self.path("bin", "blockexportd"), "--config", "main.toml", "--check-config"],
                                cwd=self.workdir, text=True, capture_output=True, check=False,
                                timeout=settings.seconds(20))
        return result.returncode, result.stderr

    def assert_refused(self, number, line, wanted):
        """The example with another line of that number is refused, with its place and a word of the message."""
        changed = [*self.lines]
        changed[number] = line
        code, errors = self.check(changed)
        self.assertEqual(code, 2, f"{line}: {errors}")
        here = [one for one in errors.splitlines() if one.startswith(f"{self.path('main.toml')}:{number + 1}:")]
        self.assertTrue(any(wanted in one for one in here), f"{line}: {wanted!r} is not in\n{errors}")

    def test_example(self):
        """The example itself is accepted."""
        self.assertEqual(self.check(self.lines), (0, ""))

    def test_misspelt_keys(self):
        """A key with one wrong letter is refused with the right one."""
        tried = 0
        for number, line in enumerate(self.lines):
            for match in KEY.finditer(line):
                parts = match.group(1).split(".")
                for i, part in enumerate(parts):
                    wrong = part[:-1] + ("q" if part[-1] != "q" else "x")
                    path = ".".join([*parts[:i], wrong, *parts[i + 1:]])
                    self.assert_refused(number, line[:match.start()] + path + line[match.end():], part)
                    tried += 1
        self.assertGreater(tried, 60)

    def test_misspelt_sections(self):
        """A section with one wrong letter is refused with the right one."""
        for number, line in enumerate(self.lines):
            match = IDS.match(line)
            for part in filter(None, match.group(1, 3, 4) if match else ()):
                wrong = part[:-1] + "q"
                self.assert_refused(number, line.replace(part, wrong), part)

    def test_wrong_types(self):
        """A value of another type is refused at its place."""
        tried = 0
        for number, line in enumerate(self.lines):
            for match in KEY.finditer(line):
                value = re.match(r" = (\"[^\"]*\"|\[(?:\"[^\"]*\"|[^\]\"])*\]|\{.*\}|true|false|[\d_]+)",
                                 line[match.end():])
                name = match.group(1).split(".")[-1]
                wrong = '"text"' if re.match(r"[\[{tf\d]", value.group(1)) else "[7]"
                end = match.end() + value.end()
                if wrong == '"text"' and value.group(1)[0] in "{[":
                    wrong = "7"
                self.assert_refused(number, f"{line[:match.end()]} = {wrong}{line[end:]}", name)
                tried += 1
        self.assertGreater(tried, 50)


if __name__ == "__main__":
    unittest.main()

"""The manual pages: they name every option and every entry of the schema, and the recipes work as they stand."""

import json
import os
import re
import shutil
import subprocess
import unittest

from lib import images, settings
from lib.client_tool import program
from lib.guide import GuideCase
from lib.images import KIB, MIB

# Options of other programs that the pages written by hand name.
FOREIGN = {"--size"}


def make_pages(folder):
    """Writes the pages in scdoc's language; their texts by name."""
    programs = os.path.join(folder, "programs")
    os.makedirs(programs)
    os.symlink(program(), os.path.join(programs, "blockexport"))
    os.symlink(settings.program(), os.path.join(programs, "blockexportd"))
    output = os.path.join(folder, "manual")
    subprocess.run(["/usr/bin/python3", "-B", os.path.join(settings.ROOT, "tools", "manual"), "--source", "--programs",
                    programs, "--output", output], check=True, timeout=settings.seconds(60))
    pages = {}
    for name in os.listdir(output):
        if name.endswith(".scd"):
            with open(os.path.join(output, name), encoding="utf-8") as file:
                pages[name.removesuffix(".scd")] = file.read()
    return pages


def described(page, command=None):
    """The options that have an entry: in a section of a command, or in the whole page."""
    if command is not None:
        page = re.search(rf"^## {re.escape(command)}\n(.*?)(?=^#|\Z)", page, re.S | re.M).group(1)
    heads = [line for line in page.splitlines() if line.startswith("*-")]
    return {name for head in heads for name in re.findall(r"(?<!\w)--?[A-Za-z][A-Za-z-]*", head)}


class ManualTest(GuideCase):
    """The pages of the programs under test."""

    def setUp(self):
        super().setUp()
        self.pages = make_pages(self.path("manual"))
        self.tree = json.loads(self.tool("__describe")[0])

    def commands(self, tree=None, path=()):
        """Each command that can be run, with its words."""
        for command in (tree or self.tree)["commands"]:
            if command["commands"]:
                yield from self.commands(command, (*path, command["name"]))
            else:
                yield " ".join((*path, command["name"])), command

    def test_options_of_the_tool(self):
        """Each command has a section with each of its options, and no other; --help of a command shows the same."""
        page = self.pages["blockexport.1"]
        count = 0
        for name, command in self.commands():
            with self.subTest(command=name):
                known = {word for option in command["options"] for word in option["names"]} - {"-h", "--help"}
                self.assertEqual(described(page, name), known)
                shown = self.tool(*name.split(), "--help")[0]
                self.assertEqual(set(re.findall(r"^ +(?:-\w,)?(--[a-z-]+)", shown, re.M)) - {"--help"},
                                 {word for word in known if word.startswith("--")})
                for argument in command["arguments"]:
                    self.assertRegex(page, rf"\n_{argument['name']}_\n")
                count += 1
        self.assertGreater(count, 25)

    def test_options_of_the_daemon(self):
        """The table that the daemon parses by has the options of the page."""
        with open(os.path.join(settings.ROOT, "src", "daemon", "command_line.cc"), encoding="utf-8") as file:
            table = re.search(r"constexpr option kOptions\[\] = (.*?);", file.read(), re.S).group(1)
        names = {f"--{name}" for name in re.findall(r'\{"([a-z-]+)"', table)}
        self.assertGreater(len(names), 10)
        found = {name for name in described(self.pages["blockexportd.8"]) if name.startswith("--")}
        self.assertEqual(found, names)

    def test_entries_of_the_schema(self):
        """Each command, event and type of the schema has a section."""
        page = self.pages["blockexport-qmp.7"].replace("\\", "")
        names = []
        for name in os.listdir(os.path.join(settings.ROOT, "schema")):
            if name.endswith(".json") and name != "features.json":
                with open(os.path.join(settings.ROOT, "schema", name), encoding="utf-8") as file:
                    names += re.findall(r"^\{ *'(?:command|event|struct|union|enum|alternate)': *'([^']+)'(?!.*'if')",
                                        file.read(), re.M)
        self.assertGreater(len(names), 200)
        self.assertEqual([name for name in names if f"\n## {name}\n" not in page], [])

    def test_help_of_each_driver_and_export(self):
        """--blockdev DRIVER,help and --export TYPE,help list the options of the type, its driver's own among them."""
        schema = self.schema_members()
        for option, union in (("--blockdev", "BlockdevOptions"), ("--export", "BlockExportOptions")):
            types = self.daemon_help(option, "help").splitlines()[1:]
            self.assertGreater(len(types), 0)
            for name in (each.strip() for each in types):
                with self.subTest(option=option, type=name):
                    said = self.daemon_help(option, f"{name},help")
                    shown = {key.split(".")[0] for key in re.findall(r"^  ([^=]+)=<", said, re.M)}
                    self.assertEqual(shown, set(schema[union][name]))

    def daemon_help(self, option, argument):
        """What the daemon prints for it."""
        result = subprocess.run([settings.program(), option, argument], capture_output=True, text=True,
                                timeout=settings.seconds(20), check=False)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def schema_members(self):
        """Of each union of options: the members with each of its types."""
        script = ("import sys, json; sys.path.insert(0, 'tools')\n"
                  "from qapic.main import compile_schema\nfrom qapic.condition import Features\n"
                  "schema = compile_schema('schema/blockexport.json', Features.load('schema/features.json'))\n"
                  "members = lambda type_: [one.name for one in type_.all_members()] if type_ else []\n"
                  "print(json.dumps({name: {one.name: members(schema.entities[name]) + members(one.type)\n"
                  "      for one in schema.entities[name].branches}\n"
                  "      for name in ('BlockdevOptions', 'BlockExportOptions')}))")
        result = subprocess.run(["/usr/bin/python3", "-B", "-c", script], cwd=settings.ROOT, capture_output=True,
                                text=True, timeout=settings.seconds(30), check=True)
        return json.loads(result.stdout)

    def test_texts_by_hand(self):
        """They name no option that does not exist."""
        known = {name for _, command in self.commands() for option in command["options"] for name in option["names"]}
        known |= described(self.pages["blockexportd.8"]) | FOREIGN | {"--help", "--version"}
        folder = os.path.join(settings.ROOT, "docs", "manual")
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", file.read()))
            self.assertEqual(used - known, set(), name)

    @unittest.skipUnless(shutil.which("scdoc") and shutil.which("man"), "scdoc or man is not installed")
    def test_pages_are_shown_without_warnings(self):
        """scdoc takes each page, and man renders it without a word."""
        for name, source in self.pages.items():
            with self.subTest(page=name):
                made = subprocess.run(["scdoc"], input=source, capture_output=True, text=True, check=False,
                                      timeout=settings.seconds(30))
                self.assertEqual((made.returncode, made.stderr), (0, ""))
                path = self.path(name)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(made.stdout)
                shown = subprocess.run(["man", "--warnings", "--local-file", path], capture_output=True, text=True,
                                       check=False, timeout=settings.seconds(60),
                                       env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
                self.assertEqual((shown.returncode, shown.stderr), (0, ""))
                self.assertIn("SEE ALSO", shown.stdout)

    def test_recipes(self):
        """Each recipe works as it stands, in a directory with disk.img."""
        recipes = re.findall(r"^```\n(.*?)^```", self.pages["blockexport-recipes.7"], re.S | re.M)
        self.assertGreaterEqual(len(recipes), 6)
        for number, recipe in enumerate(recipes):
            with self.subTest(recipe=recipe.splitlines()[0]):
                os.makedirs(self.path(str(number)))
                images.make_sparse(self.path(str(number), "disk.img"), 4 * MIB, [(MIB, 100 * KIB)])
                end = "trap 'test ! -e daemon.pid || kill $(cat daemon.pid) || true' EXIT"
                self.shell(f"cd {number}\n{end}\n{recipe}")


if __name__ == "__main__":
    unittest.main()

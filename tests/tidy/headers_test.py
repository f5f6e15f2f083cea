"""Headers that compile alone."""

import json
import shutil
import unittest

from tidy_case import TidyCase

from tidy_rules import headers, tree

COMPILER = shutil.which("clang++-19")
GOOD = "// Good.\n#pragma once\n#include <cstdint>\nstruct Good { std::uint8_t a; };\n"


@unittest.skipUnless(COMPILER, "clang++-19 is not installed")
class HeadersTest(TidyCase):
    def build(self):
        """A build directory that knows how src/base/a.cc is compiled."""
        build = self.root / "build"
        build.mkdir(exist_ok=True)
        source = f"{self.root}/src/base/a.cc"
        command = f"ccache {COMPILER} -I{self.root}/src -std=c++23 -O2 -g1 -fsanitize=address -o a.o -c {source}"
        entry = {"directory": str(build), "file": source, "command": command}
        (build / "compile_commands.json").write_text(json.dumps([entry]), encoding="utf-8")
        return build

    def run_check(self):
        return headers.check(tree.load(self.root), self.root, self.build())

    def test_options_are_those_that_matter(self):
        compiler, options = headers.compiler_options(self.build())[""]
        self.assertEqual(compiler, COMPILER)
        self.assertEqual(options, [f"-I{self.root}/src", "-std=c++23"])

    def test_good_header(self):
        self.write("src/base/good.h", GOOD)
        self.write("src/net/user.h", '// User.\n#pragma once\n#include "base/good.h"\ninline Good good;\n')
        self.assertEqual(self.run_check(), [])

    def test_header_that_leans_on_its_includer(self):
        self.write("src/base/bad.h", "// Bad.\n#pragma once\nstd::uint8_t a();\n")
        found = self.run_check()
        self.assertEqual(len(found), 1)
        self.assertTrue(found[0].startswith("src/base/bad.h:1: does not compile alone"), found[0])

    def test_header_without_guard(self):
        self.write("src/base/bad.h", "// Bad.\nstruct Bad {};\n")
        self.assertIn("redefinition", "".join(self.run_check()))

    def test_change_of_an_included_header_is_seen(self):
        self.write("src/base/good.h", GOOD)
        self.write("src/net/user.h", '// User.\n#pragma once\n#include "base/good.h"\ninline Good good;\n')
        self.assertEqual(self.run_check(), [])
        self.write("src/base/good.h", GOOD.replace("Good", "Other"))
        self.assertEqual([finding.split(":")[0] for finding in self.run_check()], ["src/net/user.h"])

    def test_seen_good_is_not_compiled_again(self):
        self.write("src/base/good.h", GOOD)
        self.run_check()
        (self.build() / "compile_commands.json").touch()
        marks = list((self.root / "build/tidy-headers").iterdir())
        self.run_check()
        self.assertEqual(list((self.root / "build/tidy-headers").iterdir()), marks)


if __name__ == "__main__":
    unittest.main()

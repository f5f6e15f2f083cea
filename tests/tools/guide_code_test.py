"""tools/guide_code.py: the blocks of a page that become a file, and the limit on the code of a guide."""

from tool_case import ROOT, ToolCase

PAGE = """# A page
```cpp a.h
int a();
```
Words.
```cpp b.h
int b();
```
```sh
make a.h
```
```cpp a.h

int more();
```
"""


class GuideCodeTest(ToolCase):
    def setUp(self):
        super().setUp()
        self.page = self.place / "page.md"
        self.page.write_text(PAGE, encoding="utf-8")

    def take(self, page, name, output="-"):
        """Runs the tool."""
        return self.run_tool("python3", "-B", "tools/guide_code.py", str(page), name, str(output))

    def test_takes_the_blocks_of_one_name(self):
        """In their order, an empty line between two; nothing of other blocks."""
        result = self.take(self.page, "a.h")
        self.assertEqual((result.returncode, result.stdout), (0, "int a();\n\n\nint more();\n"))
        self.assertEqual(self.take(self.page, "b.h").stdout, "int b();\n")

    def test_makes_the_folders_of_its_output(self):
        """As the first build of a fresh clone needs them; what was there is replaced."""
        output = self.place / "gen" / "guide" / "b.h"
        for _ in range(2):
            self.assertEqual(self.take(self.page, "b.h", output).returncode, 0)
            self.assertEqual(output.read_text(encoding="utf-8"), "int b();\n")

    def test_a_page_without_the_code(self):
        """It says which page and which block, and leaves no empty file."""
        output = self.place / "c.h"
        result = self.take(self.page, "c.h", output)
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stderr, f"{self.page}: no block of code begins with ```cpp c.h\n")
        self.assertFalse(output.exists())

    def test_the_driver_of_the_guide_is_short(self):
        """A newcomer reads all of it."""
        result = self.take(ROOT / "docs/guides/driver.md", "byte_counter.h")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertLessEqual(len(result.stdout.splitlines()), 120)

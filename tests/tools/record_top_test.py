"""tools/record_top.py: the screen that it reads from a terminal, and the picture that it draws."""

import importlib.util
import unittest
import xml.etree.ElementTree

from tool_case import ROOT

SVG = "{http://www.w3.org/2000/svg}"


def load():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("record_top", ROOT / "tools/record_top.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class RecordTopTest(unittest.TestCase):
    def setUp(self):
        self.tool = load()

    def test_screen(self):
        """A second picture replaces the first one, also where its lines are shorter and fewer."""
        screen = self.tool.Screen()
        screen.write("\x1b[?1049h\x1b[?25l\x1b[Hfirst line\x1b[K\r\nsecond\x1b[K\r\nthird\x1b[K\x1b[J")
        self.assertEqual(screen.text()[:3], ["first line", "second", "third"])
        screen.write("\x1b[Hnew\x1b[K\r\n\x1b[K\x1b[J")
        self.assertEqual([line for line in screen.text() if line], ["new"])

    def test_a_line_that_is_too_long(self):
        """It ends at the edge."""
        screen = self.tool.Screen()
        screen.write("x" * (self.tool.COLUMNS + 5))
        self.assertEqual(screen.text()[0], "x" * self.tool.COLUMNS)

    def test_picture(self):
        """Each line is a text of the picture, with its signs, and heads of tables stand out."""
        text = self.tool.draw(["EXPORT  READ", "<a&b>   1", "", "CLIENT  EXPORT"], "blockexport top")
        lines = list(xml.etree.ElementTree.fromstring(text).iter(f"{SVG}text"))
        self.assertEqual([line.text.replace("\xa0", " ") for line in lines],
                         ["$ blockexport top", "EXPORT  READ", "<a&b>   1", "CLIENT  EXPORT"])
        self.assertEqual([line.get("class") for line in lines], [None, "head", None, "head"])

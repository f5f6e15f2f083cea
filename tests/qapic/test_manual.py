"""Manual pages from a schema: every entry, the options of a struct with those in it, and text without markup."""

import re
import shutil
import subprocess
import unittest

from support import SchemaTest

from qapic.emit.manual import emit_manual, emit_options
from qapic.emit.scdoc import escape, paragraphs

TEXT = """
##
# @Mode:
#
# How.
#
# @fast: Quickly.
##
{ 'enum': 'Mode', 'data': [ 'fast' ] }

##
# @Inner:
#
# A part of a_b and *c*.
#
# @id: Its name.
#
# @kind: Its kind.
#
# @level: How much. See @mode.
##
{ 'struct': 'Inner', 'data': { 'id': 'str', 'kind': 'Mode', '*level': 'int' } }

##
# @Options:
#
# Options of a thing.
#
# @mode: The mode.
#
# @parts: Its parts:
#
#     - one
#     - another one
#       that is long
##
{ 'struct': 'Options', 'data': { 'mode': 'Mode', '*parts': [ 'Inner' ] } }

##
# @do-it:
#
# Do it.
#
# @options: What to do.
#
# Returns: the level.
#
# Errors:
#     - If it cannot be done
#
# Example:
#
#     -> { "execute": "do-it" }
##
{ 'command': 'do-it', 'data': { 'options': 'Options' }, 'returns': 'Inner' }

##
# @DONE:
#
# It is done.
##
{ 'event': 'DONE' }
"""


class ManualTest(SchemaTest):
    def test_sections(self):
        """Commands, events and types, each by its name, with what is said about it."""
        page = emit_manual(self.compile(TEXT))
        self.assertEqual(re.findall(r"^##? (.*)$", page, re.M),
                         ["COMMANDS", "do-it", "EVENTS", "DONE", "TYPES", "Inner", "Mode", "Options"])
        self.assertIn("*options* (Options)\n\tWhat to do.\n", page)
        self.assertIn("Returns Inner: the level.\n", page)
        self.assertIn("Errors:\n\n- If it cannot be done\n", page)
        self.assertIn('```\n    -> { "execute": "do-it" }\n```\n', page)
        self.assertIn("*level* (optional int)\n\tHow much. See *mode*.\n", page)

    def test_options(self):
        """Keys with dots, the values of an enumeration, lists, and what is required."""
        page = emit_options(self.compile(TEXT), "Options")
        self.assertIn("*mode* (*fast*)\n\tThe mode.\n", page)
        self.assertIn("*parts* (\\[Inner\\])\n\tIts parts:\n\n\t- one\n\t- another one that is long\n", page)
        self.assertIn("## parts.ID\n\nA part of a\\_b and \\*c\\*.\n", page)
        self.assertIn("*parts.ID.level* (int)\n", page)
        self.assertIn("*parts.ID.id* (str)\n\tIts name.\n\n\tIt is the name of the table.\n", page)
        self.assertIn("*parts.ID.kind* (*fast*)\n\tIts kind.\n\n\tIt is required.\n", page)

    def test_escaping(self):
        """Text is text, also where it begins as a list or a request."""
        self.assertEqual(escape("- a_b *c* [d] 'e'"), "\\- a\\_b \\*c\\* \\[d\\] 'e'")
        self.assertEqual(escape(".SH X\n'x"), "\\.SH X\n\\'x")
        self.assertEqual(paragraphs("a\nb\n\n- c\n- d\n"), ["a b", "- c\n- d"])

    @unittest.skipUnless(shutil.which("scdoc"), "scdoc is not installed")
    def test_scdoc_takes_it(self):
        """The sections and the options."""
        schema = self.compile(TEXT)
        for text in (emit_manual(schema), "# OPTIONS\n\n" + emit_options(schema, "Options")):
            done = subprocess.run(["scdoc"], input=f'x(7) "a" "b"\n\n{text}', capture_output=True, text=True,
                                  check=False, timeout=30)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("a_b and *c*", done.stdout)


if __name__ == "__main__":
    unittest.main()

"""`blockexport` with an unknown word: it suggests a similar one."""

import unittest

from lib.client_tool import ToolTest

USAGE = 2


class WordsTest(ToolTest):
    """Slips on the command line of the tool."""

    def assert_suggested(self, meant, typed, *arguments):
        """It is a mistake of usage, and the last line says what was meant."""
        _, said = self.tool(*arguments, expected=USAGE)
        self.assertEqual(said.splitlines()[-1], f"Did you mean '{meant}' instead of '{typed}'?")

    def test_commands(self):
        """The first word, and the second one."""
        self.assert_suggested("tls", "tsl", "tsl")
        self.assert_suggested("tls", "tsl", "tsl", "init", "pki")
        self.assert_suggested("init", "intt", "tls", "intt", "pki")
        self.assert_suggested("renew", "renwe", "tls", "renwe", "pki")

    def test_options(self):
        """Those of a command, with a value in either form."""
        self.assert_suggested("--host", "--hots", "tls", "init", "pki", "--hots", "a")
        self.assert_suggested("--days", "--dasy", "tls", "init", "pki", "--dasy=3")

    def test_what_is_like_nothing(self):
        """Nothing is suggested."""
        for arguments in (("quite-another",), ("tls", "quite-another"), ("tls", "init", "pki", "--quite-another")):
            _, said = self.tool(*arguments, expected=USAGE)
            self.assertNotIn("Did you mean", said)


if __name__ == "__main__":
    unittest.main()

"""Names in the documentation."""

import unittest

from tidy_case import TidyCase

from tidy_rules import documented

SCHEMA = {"schema/a.json": "{ 'event': 'BLOCK_EXPORT_DELETED', 'data': {} }\n{ 'command': 'blockdev-add' }\n",
          "src/daemon/command_line.cc": '{"blockdev", required_argument, nullptr, 1}, {"daemonize", no_argument, 2}\n'}


class DocumentedTest(TidyCase):
    def test_what_there_is(self):
        self.assert_clean(documented, {**SCHEMA, "docs/a.md": "`BLOCK_EXPORT_DELETED`, `blockdev-add`\n",
                                       "README.md": '{"execute": "blockdev-add"}\n{"event": "BLOCK_EXPORT_DELETED"}\n'})

    def test_events(self):
        for text in ("`BLOCK_IO_ERROR`\n", '{"event": "SHUTDOWN"}\n'):
            self.assert_one(documented, {**SCHEMA, "docs/guides/a.md": "# A\n" + text}, "docs/guides/a.md:2:",
                            "there is no event")

    def test_commands(self):
        for text in ("`block-stream`\n", '{"execute": "stop"}\n'):
            self.assert_one(documented, {**SCHEMA, "README.md": text}, "README.md:1:", "there is no command")

    def test_options_of_the_daemon(self):
        start = "build/blockexportd --blockdev file \\\n    --daemonise\nnbdinfo --map x\n"
        self.assert_one(documented, {**SCHEMA, "README.md": start}, "README.md:2:", "no option --daemonise")
        self.assert_clean(documented, {**SCHEMA, "README.md": start.replace("daemonise", "daemonize")})

    def test_what_is_told_not_to_be_there(self):
        self.assert_clean(documented, {**SCHEMA, "docs/a.md": "| `block-stream` | the command is not there yet |\n"})

    def test_other_pages_and_words(self):
        self.assert_clean(documented, {**SCHEMA, "tests/README.md": "`BLOCK_IO_ERROR`\n",
                                       "docs/a.md": "`BLOCKEXPORT_CACHE`, `NBD_CMD_READ`, BLOCK_SIZE, `null-co`\n"})


if __name__ == "__main__":
    unittest.main()

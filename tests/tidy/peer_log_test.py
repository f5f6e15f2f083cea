"""Lines about peers that nothing limits."""

import unittest

from tidy_case import TidyCase

from tidy_rules import peer_log

PATH = "src/export/nbd/transmission/transmission.cc"


class PeerLogTest(TidyCase):
    def test_the_type(self):
        self.assert_one(peer_log, {PATH: "void f(const Log& log) {\n  log.info(text);\n}\n"}, f"{PATH}:1:", "PeerLog")

    def test_the_log_of_another(self):
        path = "src/export/nbd/server/connection_tls.cc"
        self.assert_one(peer_log, {path: "void f() {\n  server_.log_.warning(text);\n}\n"}, f"{path}:2:", "PeerLog")

    def test_a_limited_log(self):
        self.assert_clean(peer_log, {PATH: "void f(const PeerLog& log) {\n  log.info(text);\n}\n"})

    def test_elsewhere(self):
        self.assert_clean(peer_log, {"src/control/blockdev.cc": "void f(const Log& log) {\n  log.info(text);\n}\n"})


if __name__ == "__main__":
    unittest.main()

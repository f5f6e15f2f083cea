"""Components that include each other."""

import unittest

from tidy_case import TidyCase

from tidy_rules import cycles


class CyclesTest(TidyCase):
    def test_a_source_includes_its_header_and_what_is_below(self):
        self.assert_clean(cycles, {
            "src/block/node.h": '#include "block/driver.h"\n',
            "src/block/node.cc": '#include "block/node.h"\n#include "block/edge.h"\n',
            "src/block/edge.h": '#include "block/driver.h"\n',
            "src/block/driver.h": "",
        })

    def test_two_components_by_their_sources(self):
        self.assert_one(cycles, {
            "src/block/edge.h": "",
            "src/block/edge.cc": '#include "block/edge.h"\n#include "block/node.h"\n',
            "src/block/node.h": '#include "block/edge.h"\n',
        }, "src/block/edge.cc:2:", "block/edge -> block/node -> block/edge")

    def test_three_components(self):
        self.assert_one(cycles, {
            "src/net/a.h": '#include "net/b.h"\n',
            "src/net/b.h": "",
            "src/net/b.cc": '#include "net/c.h"\n',
            "src/net/c.h": '#include "net/a.h"\n',
        }, "src/net/a.h:1:", "net/a -> net/b -> net/c -> net/a")

    def test_tests_may_include_what_they_test(self):
        self.assert_clean(cycles, {
            "src/net/a.h": "",
            "src/net/testing/b.h": '#include "net/a.h"\n',
            "src/net/a_test.cc": '#include "net/testing/b.h"\n',
        })


if __name__ == "__main__":
    unittest.main()

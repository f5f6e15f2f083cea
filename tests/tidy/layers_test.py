"""Include layering."""

import unittest

from tidy_case import TidyCase

from tidy_rules import layers


class LayersTest(TidyCase):
    def test_lower_levels_and_own_folder_are_free(self):
        self.assert_clean(layers, {
            "src/block/node.cc": '#include "block/node.h"\n#include "base/errno.h"\n#include "aio/task/task.h"\n',
            "src/daemon/main.cc": '#include "control/control.h"\n#include <vector>\n',
        })

    def test_higher_level(self):
        text = '\n#include "json/value.h"\n'
        self.assert_one(layers, {"src/base/log.cc": text}, "src/base/log.cc:2:", "higher level")

    def test_same_level(self):
        self.assert_one(layers, {"src/export/nbd/server/server.cc": '#include "qmp/session.h"\n'},
                        "src/export/nbd/server/server.cc:1:", "same level")

    def test_block_never_includes_a_driver(self):
        self.assert_one(layers, {"src/block/graph.cc": '#include "drivers/file/file.h"\n'},
                        "src/block/graph.cc:1:", "higher level")

    def test_backends_are_private(self):
        self.assert_one(layers, {"src/net/listen.cc": '#include "aio/epoll/epoll_backend.h"\n'},
                        "src/net/listen.cc:1:", "private to aio/")
        self.assert_one(layers, {"src/net/listen.cc": "", "tests/sim/run.cc": '#include "aio/uring/ring.h"\n'},
                        "tests/sim/run.cc:1:", "private to aio/")

    def test_owner_may_include_its_backends(self):
        self.assert_clean(layers, {"src/aio/reactor/reactor.cc": '#include "aio/epoll/epoll_backend.h"\n'})

    def test_includes_are_rooted(self):
        self.assert_one(layers, {"src/base/log.cc": '#include "log.h"\n'}, "src/base/log.cc:1:", "not rooted")
        self.assert_one(layers, {"src/base/log.cc": '#include "../base/log.h"\n'}, "src/base/log.cc:1:", "not rooted")

    def test_our_own_headers_stand_in_quotes(self):
        self.assert_one(layers, {"src/base/log.cc": "#include <base/log.h>\n"}, "src/base/log.cc:1:", "<>")

    def test_unknown_folder_of_a_file(self):
        self.assert_one(layers, {"src/extra/a.cc": ""}, "src/extra/a.cc:1:", "extra is not in tools/layers.toml")

    def test_unknown_folder_of_an_include(self):
        self.assert_one(layers, {"src/base/b.cc": '#include "extra/a.h"\n'},
                        "src/base/b.cc:1:", "extra is not in tools/layers.toml")

    def test_subfolders(self):
        self.assert_one(layers, {"src/export/nbd/wire/wire.cc": '#include "export/nbd/server/server.h"\n'},
                        "src/export/nbd/wire/wire.cc:1:", "export/nbd/wire includes server")
        self.assert_one(layers, {"src/export/nbd/handshake/a.cc": '\n#include "export/nbd/transmission/payload.h"\n'},
                        "src/export/nbd/handshake/a.cc:2:", "not below it")
        self.assert_one(layers, {"src/export/nbd/other.cc": ""}, "src/export/nbd/other.cc:1:", "no subfolder")
        self.assert_one(layers, {"src/export/engine/a.h": '#include "export/nbd/wire/wire.h"\n'},
                        "src/export/engine/a.h:1:", "export/engine includes nbd")
        self.assert_one(layers, {"src/export/engine/a.h": '#include "export/export.h"\n'},
                        "src/export/engine/a.h:1:", "export/engine includes .")
        self.assert_clean(layers, {
            "src/export/nbd/server/a.cc": '#include "export/nbd/wire/wire.h"\n#include "export/nbd/server/b.h"\n',
            "src/export/nbd/wire/a_test.cc": '#include "export/nbd/testing/client.h"\n#include "base/errno.h"\n',
            "src/export/engine/a_test.cc": '#include "export/registry.h"\n',
            "src/export/registry.h": '#include "export/export.h"\n#include "export/engine/session_states.h"\n',
        })

    def test_tests_elsewhere_see_every_layer(self):
        self.assert_clean(layers, {"fuzz/qmp.cc": '#include "qmp/session.h"\n#include "export/nbd/wire/wire.h"\n'})


if __name__ == "__main__":
    unittest.main()

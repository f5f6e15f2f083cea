"""Raw pointers to nodes, edges and exports that are held over a co_await."""

import unittest

from tidy_case import TidyCase

from tidy_rules import awaits

PATH = "src/control/a.cc"


class AwaitsTest(TidyCase):
    def test_a_pointer_that_is_used_afterwards(self):
        for declaration in ("block::Node* node = find(name);", "Node& node = *find(name);",
                            "CO_TRY_ASSIGN(block::Node * node, lookup(name));", "exports::Export* node = one;"):
            text = f"Task<void> f() {{\n  {declaration}\n  co_await g();\n  node->h();\n}}\n"
            self.assert_one(awaits, {PATH: text}, f"{PATH}:2:", "over a co_await")

    def test_a_pointer_that_is_handed_to_what_is_awaited(self):
        text = "Task<void> f() {\n  for (Edge* edge : edges()) {\n    co_await edge->quiesce();\n  }\n}\n"
        self.assert_one(awaits, {PATH: text}, f"{PATH}:2:", "holds Edge 'edge'")

    def test_used_up_before(self):
        text = "Task<void> f() {\n  Node* node = find(name);\n  node->h();\n  co_await g();\n}\n"
        self.assert_clean(awaits, {PATH: text})

    def test_what_is_awaited_for_it(self):
        text = "Task<void> f() {\n  CO_TRY_ASSIGN(Node * node, co_await open());\n  node->h();\n}\n"
        self.assert_clean(awaits, {PATH: text})

    def test_owned(self):
        text = "Task<void> f() {\n  std::unique_ptr<Edge> edge = take();\n  co_await g();\n  edge->h();\n}\n"
        self.assert_clean(awaits, {PATH: text})

    def test_other_folders(self):
        text = "Task<void> f() {\n  Node* node = find(name);\n  co_await g();\n  node->h();\n}\n"
        self.assert_clean(awaits, {"src/block/a.cc": text})


if __name__ == "__main__":
    unittest.main()

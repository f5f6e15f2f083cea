// The graph with real drivers. The texts and the order of errors are those of qemu-storage-daemon.
#include "block/graph.h"

#include <unistd.h>

#include "block/graph_info.h"
#include "block/testing/reactor_test.h"
#include "block/testing/temp_dir.h"
#include "drivers/driver_table.h"
#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::drivers {
namespace {

using block::Edge;
using block::Graph;
using block::Node;
using block::Permission;
using block::Permissions;
using block::PermissionSet;

const Permissions kWriter{.used = Permission::kConsistentRead | Permission::kWrite,
                          .shared = PermissionSet::all() - Permission::kResize};

class GraphTest : public block::ReactorTest {
 protected:
  using Members = std::initializer_list<json::Object::Member>;
  static schema::BlockdevOptions options(Members members) {
    auto decoded = schema::decode<schema::BlockdevOptions>(json::Object(members));
    EXPECT_TRUE(decoded) << (decoded ? "" : decoded.error().message());
    return decoded ? *decoded : schema::BlockdevOptions{};
  }
  static std::string text_of(const Result<>& result) { return result ? "" : result.error().message(); }

  // The error's message, or "".
  std::string add(Members members) { return text_of(run(graph_.add(options(members)))); }
  std::string remove(const std::string& name) { return text_of(run(graph_.remove(name))); }
  std::string resize(const std::string& name, std::int64_t size) { return text_of(run(graph_.resize(name, size))); }
  std::string reopen(std::vector<schema::BlockdevOptions> list) { return text_of(run(graph_.reopen(std::move(list)))); }
  std::string reopen(Members members) { return reopen(std::vector{options(members)}); }
  // Null after a failure, whose message is in error_.
  std::unique_ptr<Edge> attach(const std::string& name, Permissions permissions) {
    auto edge =
        run(graph_.attach(name, {.name = "root", .description = std::string(block::kUnnamedUser)}, permissions));
    error_ = edge ? "" : edge.error().message();
    return edge ? std::move(*edge) : nullptr;
  }
  void detach(std::unique_ptr<Edge> edge) { run(graph_.detach(std::move(edge))); }

  block::TempDir directory_;
  std::string path_ = directory_.sparse_file("image", 1 << 20);
  BuiltInDrivers drivers_;
  Trace trace_;
  Graph graph_{reactor(), drivers_, trace_};
  std::string error_;
};

TEST_F(GraphTest, AddsAndRemovesNodes) {
  EXPECT_EQ(add({{"driver", "file"}, {"filename", path_}, {"node-name", "f"}}), "");
  EXPECT_EQ(add({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}}), "");
  ASSERT_NE(graph_.find("r"), nullptr);
  EXPECT_EQ(graph_.find("r")->size_bytes(), 1u << 20);
  EXPECT_EQ(remove("f"), "Block device f is in use");
  EXPECT_EQ(remove("r"), "");
  EXPECT_EQ(remove("r"), "Failed to find node with node-name='r'");
  EXPECT_EQ(remove("f"), "");
  EXPECT_TRUE(graph_.nodes().empty());
}

TEST_F(GraphTest, ChecksNames) {
  EXPECT_EQ(add({{"driver", "null-co"}}), "'node-name' must be specified for the root node");
  EXPECT_EQ(add({{"driver", "null-co"}, {"node-name", "1x"}}), "Invalid node-name: '1x'");
  EXPECT_EQ(add({{"driver", "null-co"}, {"node-name", ""}}), "Invalid node-name: ''");
  EXPECT_EQ(add({{"driver", "null-co"}, {"node-name", "a2345678901234567890123456789012"}}), "Node name too long");
  EXPECT_EQ(add({{"driver", "null-co"}, {"node-name", "a234567890123456789012345678901"}}), "");
  EXPECT_EQ(add({{"driver", "null-co"}, {"node-name", "n"}}), "");
  EXPECT_EQ(add({{"driver", "file"}, {"filename", "/none"}, {"node-name", "n"}}), "Duplicate nodes with node-name='n'");
  EXPECT_EQ(
      add({{"driver", "raw"}, {"node-name", "x"}, {"file", json::Object{{"driver", "null-co"}, {"node-name", "x"}}}}),
      "Duplicate nodes with node-name='x'");
  EXPECT_EQ(add({{"driver", "raw"}, {"node-name", "x"}, {"file", "q"}}), "Cannot find device='q' nor node-name='q'");
}

TEST_F(GraphTest, RefusesContradictoryOptions) {
  EXPECT_EQ(add({{"driver", "null-co"}, {"node-name", "n"}, {"force-share", true}}),
            "force-share=on can only be used with read-only images");
  EXPECT_EQ(add({{"driver", "null-co"}, {"node-name", "n"}, {"detect-zeroes", "unmap"}}),
            "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap");
  EXPECT_EQ(add({{"driver", "null-co"}, {"node-name", "n"}, {"size", -1}}),
            "Value '-1' is out of range for parameter 'size'");
}

TEST_F(GraphTest, InlineChildrenInheritAndGoWithTheirParent) {
  EXPECT_EQ(add({{"driver", "raw"},
                 {"node-name", "r"},
                 {"read-only", true},
                 {"cache", json::Object{{"no-flush", true}}},
                 {"file", json::Object{{"driver", "file"}, {"filename", path_}}}}),
            "");
  ASSERT_EQ(graph_.nodes().size(), 2u);
  const Node& child = *graph_.nodes().front().node;
  EXPECT_EQ(child.name().substr(0, 6), "#block");
  EXPECT_TRUE(child.read_only());
  EXPECT_TRUE(child.options().cache_no_flush);
  EXPECT_EQ(child.options().discard, block::DiscardMode::kUnmap);
  EXPECT_EQ(remove(child.name()), "Node " + child.name() + " is not owned by the monitor");
  EXPECT_EQ(remove("r"), "");
  EXPECT_TRUE(graph_.nodes().empty());
}

TEST_F(GraphTest, AFailureLeavesNothingBehind) {
  EXPECT_EQ(add({{"driver", "raw"},
                 {"node-name", "r"},
                 {"offset", 2000000},
                 {"file", json::Object{{"driver", "file"}, {"filename", path_}}}}),
            "Offset (2000000) cannot be greater than size of the containing file (1048576)");
  EXPECT_TRUE(graph_.nodes().empty());
}

TEST_F(GraphTest, AnExportKeepsItsNode) {
  EXPECT_EQ(
      add({{"driver", "raw"}, {"node-name", "r"}, {"file", json::Object{{"driver", "file"}, {"filename", path_}}}}),
      "");
  auto edge = attach("r", kWriter);
  ASSERT_NE(edge, nullptr) << error_;
  EXPECT_EQ(remove("r"), "Node r is in use");
  EXPECT_EQ(graph_.nodes().front().node->permissions().used, kWriter.used);
  detach(std::move(edge));
  EXPECT_TRUE(graph_.nodes().front().node->permissions().used.empty());
  EXPECT_EQ(remove("r"), "");
}

TEST_F(GraphTest, NamesTheUsersOfAConflict) {
  EXPECT_EQ(add({{"driver", "file"}, {"filename", path_}, {"node-name", "f"}}), "");
  EXPECT_EQ(add({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}}), "");
  auto edge = attach("r", kWriter);
  ASSERT_NE(edge, nullptr) << error_;
  EXPECT_EQ(resize("r", 2 << 20),
            "Permission conflict on node 'r': permissions 'resize' are both required by an unnamed block device (uses "
            "node 'r' as 'root' child) and unshared by an unnamed block device (uses node 'r' as 'root' child).");
  EXPECT_EQ(resize("f", 2 << 20),
            "Permission conflict on node 'f': permissions 'resize' are both required by an unnamed block device (uses "
            "node 'f' as 'root' child) and unshared by node 'r' (uses node 'f' as 'file' child).");
  detach(std::move(edge));
}

TEST_F(GraphTest, ReadOnlyNodesHaveNoWriters) {
  EXPECT_EQ(add({{"driver", "file"}, {"filename", path_}, {"node-name", "f"}, {"read-only", true}}), "");
  EXPECT_EQ(add({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}}), "");
  EXPECT_EQ(attach("r", kWriter), nullptr);
  EXPECT_EQ(error_, "Block node is read-only");
  EXPECT_TRUE(graph_.find("r")->permissions().used.empty());
}

TEST_F(GraphTest, Resizes) {
  EXPECT_EQ(add({{"driver", "raw"},
                 {"node-name", "r"},
                 {"file", json::Object{{"driver", "file"}, {"filename", path_}, {"node-name", "f"}}}}),
            "");
  EXPECT_EQ(resize("r", 2 << 20), "");
  EXPECT_EQ(graph_.find("r")->size_bytes(), 2u << 20);
  EXPECT_EQ(graph_.find("f")->size_bytes(), 2u << 20);
  EXPECT_EQ(resize("r", -1), "Parameter 'size' expects a >0 size");
  EXPECT_EQ(resize("none", 1), "Cannot find device='' nor node-name='none'");
  EXPECT_EQ(add({{"driver", "null-co"}, {"node-name", "n"}}), "");
  EXPECT_EQ(resize("n", 1 << 20), "Image format driver does not support resize");
}

TEST_F(GraphTest, TwoGraphsLockAFileAgainstEachOther) {
  EXPECT_EQ(add({{"driver", "file"}, {"filename", path_}, {"node-name", "f"}}), "");
  auto edge = attach("f", {.used = Permission::kWrite, .shared = Permission::kConsistentRead});
  ASSERT_NE(edge, nullptr) << error_;
  Graph other(reactor(), drivers_, trace_);
  EXPECT_EQ(text_of(run(other.add(options({{"driver", "file"}, {"filename", path_}, {"node-name", "f"}})))), "");
  auto refused = run(other.attach("f", {.name = "root"}, {.used = Permission::kWrite}));
  EXPECT_EQ(refused.error().message(), "Failed to get \"write\" lock");
  detach(std::move(edge));
  auto granted = run(other.attach("f", {.name = "root"}, {.used = Permission::kWrite}));
  ASSERT_TRUE(granted) << granted.error().message();
  run(other.detach(std::move(*granted)));
}

TEST_F(GraphTest, LimitsItsDepth) {
  EXPECT_EQ(add({{"driver", "null-co"}, {"node-name", "n1"}}), "");
  for (int i = 2; i <= 256; i++) {
    std::string below = "n" + std::to_string(i - 1);
    ASSERT_EQ(add({{"driver", "raw"}, {"node-name", "n" + std::to_string(i)}, {"file", below}}), "") << i;
  }
  EXPECT_EQ(add({{"driver", "raw"}, {"node-name", "more"}, {"file", "n256"}}),
            "The block graph would be more than 256 nodes deep");
  char byte = 'x';
  iovec vector{&byte, 1};
  EXPECT_TRUE(run(graph_.find("n256")->read({0, 1}, block::IoBuffers(&vector, 1))));
}

TEST_F(GraphTest, ClosesFromTheTop) {
  EXPECT_EQ(add({{"driver", "file"}, {"filename", path_}, {"node-name", "f"}}), "");
  EXPECT_EQ(add({{"driver", "raw"}, {"node-name", "a"}, {"file", "f"}}), "");
  EXPECT_EQ(add({{"driver", "raw"}, {"node-name", "b"}, {"file", "a"}}), "");
  run(graph_.close());
  EXPECT_TRUE(graph_.nodes().empty());
}

class ReopenTest : public GraphTest {
 protected:
  ReopenTest() {
    EXPECT_EQ(add({{"driver", "file"}, {"filename", path_}, {"node-name", "f"}}), "");
    EXPECT_EQ(add({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}}), "");
  }
};

TEST_F(ReopenTest, RequiresAnExistingNode) {
  EXPECT_EQ(reopen({{"driver", "raw"}, {"file", "f"}}), "node-name not specified");
  EXPECT_EQ(reopen({{"driver", "raw"}, {"node-name", "q"}, {"file", "f"}}), "Failed to find node with node-name='q'");
  EXPECT_EQ(reopen(std::vector<schema::BlockdevOptions>{}), "");
}

TEST_F(ReopenTest, RefusesToChangeFixedOptions) {
  EXPECT_EQ(reopen({{"driver", "host_device"}, {"node-name", "f"}, {"filename", path_}}),
            "Cannot change the option 'driver'");
  EXPECT_EQ(reopen({{"driver", "file"}, {"node-name", "f"}, {"filename", "/other"}}),
            "Cannot change the option 'filename'");
  EXPECT_EQ(reopen({{"driver", "file"}, {"node-name", "f"}, {"filename", path_}, {"locking", "off"}}),
            "Cannot change the option 'locking'");
  EXPECT_EQ(reopen({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}, {"force-share", true}, {"read-only", true}}),
            "Cannot change the option 'force-share'");
  EXPECT_EQ(reopen({{"driver", "raw"}, {"node-name", "r"}, {"file", json::Object{{"driver", "null-co"}}}}),
            "Cannot change the option 'file.driver'");
  EXPECT_EQ(add({{"driver", "null-co"}, {"node-name", "n"}, {"size", 1000}}), "");
  EXPECT_EQ(reopen({{"driver", "null-co"}, {"node-name", "n"}}), "Option 'size' cannot be reset to its default value");
  EXPECT_EQ(reopen({{"driver", "null-co"}, {"node-name", "n"}, {"size", 1000}}), "");
}

TEST_F(ReopenTest, ChangesTheAccessToAFile) {
  EXPECT_EQ(reopen({{"driver", "file"}, {"node-name", "f"}, {"filename", path_}, {"read-only", true}}), "");
  EXPECT_TRUE(graph_.find("f")->read_only());
  EXPECT_EQ(attach("r", kWriter), nullptr);
  EXPECT_EQ(error_, "Block node is read-only");
  EXPECT_EQ(reopen({{"driver", "file"}, {"node-name", "f"}, {"filename", path_}}), "");
  auto edge = attach("r", kWriter);
  ASSERT_NE(edge, nullptr) << error_;
  char text[] = "x";
  iovec vector{text, 1};
  EXPECT_TRUE(run(edge->node().write({0, 1}, block::IoBuffers(&vector, 1), {})));
  EXPECT_EQ(reopen({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}, {"read-only", true}}),
            "Read-only block node 'r' cannot support read-write users");
  EXPECT_TRUE(edge->is_open());
  detach(std::move(edge));
}

TEST_F(ReopenTest, KeepsItsLocks) {
  auto edge = attach("f", {.used = Permission::kWrite, .shared = {}});
  ASSERT_NE(edge, nullptr) << error_;
  EXPECT_EQ(
      reopen({{"driver", "file"}, {"node-name", "f"}, {"filename", path_}, {"cache", json::Object{{"direct", true}}}}),
      "");
  Graph other(reactor(), drivers_, trace_);
  EXPECT_EQ(text_of(run(other.add(options({{"driver", "file"}, {"filename", path_}, {"node-name", "f"}})))), "");
  auto refused = run(other.attach("f", {.name = "root"}, {.used = Permission::kWrite}));
  EXPECT_EQ(refused.error().message(), "Failed to get \"write\" lock");
  detach(std::move(edge));
}

TEST_F(ReopenTest, RefusesAFileThatWasReplaced) {
  std::filesystem::rename(path_, path_ + ".old");
  directory_.sparse_file("image", 512);
  EXPECT_EQ(reopen({{"driver", "file"}, {"node-name", "f"}, {"filename", path_}, {"read-only", true}}),
            "'" + path_ + "' is no longer the file that was opened");
  EXPECT_FALSE(graph_.find("f")->read_only());
}

TEST_F(ReopenTest, SwitchesToAnotherChild) {
  EXPECT_EQ(add({{"driver", "null-co"}, {"node-name", "n"}, {"size", 4096}}), "");
  EXPECT_EQ(reopen({{"driver", "raw"}, {"node-name", "r"}, {"file", "n"}}), "");
  EXPECT_EQ(graph_.find("r")->size_bytes(), 4096u);
  EXPECT_EQ(remove("f"), "");
  EXPECT_EQ(reopen({{"driver", "raw"}, {"node-name", "r"}, {"file", "r"}}),
            "Making 'r' a file child of 'r' would create a cycle");
  EXPECT_EQ(reopen({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}}), "Cannot find device='' nor node-name='f'");
}

TEST_F(ReopenTest, AFailureUndoesEarlierReopens) {
  EXPECT_EQ(add({{"driver", "null-co"}, {"node-name", "n"}, {"size", 4096}}), "");
  EXPECT_EQ(reopen({options({{"driver", "raw"}, {"node-name", "r"}, {"file", "n"}, {"offset", 512}}),
                    options({{"driver", "null-co"}, {"node-name", "n"}, {"size", 8192}})}),
            "Cannot change the option 'size'");
  EXPECT_EQ(graph_.find("r")->size_bytes(), 1u << 20);
  EXPECT_EQ(remove("f"), "Block device f is in use");
}

TEST_F(ReopenTest, InlineChildrenFollowTheirParent) {
  std::string other = directory_.sparse_file("other", 4096);
  json::Object file{{"driver", "file"}, {"filename", other}};
  EXPECT_EQ(add({{"driver", "raw"}, {"node-name", "in"}, {"read-only", true}, {"file", file}}), "");
  EXPECT_EQ(reopen({{"driver", "raw"}, {"node-name", "in"}, {"file", file}}), "");
  for (const block::GraphNode& entry : graph_.nodes()) EXPECT_FALSE(entry.node->read_only());
  EXPECT_EQ(reopen({{"driver", "raw"}, {"node-name", "in"}, {"file", "f"}}), "");
  EXPECT_EQ(graph_.nodes().size(), 3u);
}

TEST_F(GraphTest, DescribesItsNodes) {
  EXPECT_EQ(add({{"driver", "file"}, {"filename", path_}, {"node-name", "f"}}), "");
  EXPECT_EQ(add({{"driver", "raw"}, {"node-name", "whole"}, {"file", "f"}}), "");
  EXPECT_EQ(add({{"driver", "raw"}, {"node-name", "part"}, {"file", "whole"}, {"offset", 512}}), "");
  auto nodes = run(block::named_block_nodes(graph_, block::BackingImages::kIncluded));
  ASSERT_EQ(nodes.size(), 3u);
  EXPECT_EQ(nodes[0].node_name, "part");
  EXPECT_EQ(nodes[0].file, R"(json:{"driver": "raw", "offset": 512, "file": {"driver": "raw", "file": )"
                           R"({"driver": "file", "filename": ")" +
                               path_ + R"("}}})");
  EXPECT_EQ(nodes[0].image.virtual_size, (1 << 20) - 512);
  EXPECT_EQ(nodes[1].file, path_);
  EXPECT_EQ(nodes[1].image.actual_size, 0);
  EXPECT_EQ(nodes[2].drv, "file");
  EXPECT_TRUE(nodes[2].image.format_specific);
}

TEST_F(GraphTest, ReportsStatisticsOfItsNodes) {
  EXPECT_EQ(
      add({{"driver", "raw"}, {"node-name", "r"}, {"file", json::Object{{"driver", "file"}, {"filename", path_}}}}),
      "");
  char text[] = "abc";
  iovec vector{text, 3};
  EXPECT_TRUE(run(graph_.find("r")->write({10, 3}, block::IoBuffers(&vector, 1), {})));
  auto stats = block::block_statistics(graph_);
  ASSERT_EQ(stats.size(), 2u);
  EXPECT_EQ(stats[1].stats.wr_bytes, 3);
  EXPECT_EQ(stats[1].stats.wr_highest_offset, 13);
  ASSERT_TRUE(stats[1].parent);
  EXPECT_TRUE((*stats[1].parent)->driver_specific);
}

TEST_F(GraphTest, ShowsTheUsersOfNodes) {
  EXPECT_EQ(add({{"driver", "raw"}, {"node-name", "r"}, {"file", json::Object{{"driver", "null-co"}}}}), "");
  auto edge = attach("r", kWriter);
  auto shown = block::block_graph(graph_);
  EXPECT_EQ(shown.nodes.size(), 3u);
  ASSERT_EQ(shown.edges.size(), 2u);
  using enum schema::BlockPermission;
  for (const schema::XDbgBlockGraphEdge& each : shown.edges) {
    EXPECT_EQ(each.perm, (std::vector{kWrite, kConsistentRead}));
    EXPECT_EQ(each.shared_perm, (std::vector{kWriteUnchanged, kWrite, kConsistentRead}));
  }
  detach(std::move(edge));
}

// A client that reads its reply slowly keeps the file open that the reply is sent from, and nothing else of the node.
TEST_F(GraphTest, AReplyFromTheOldDescriptionKeepsNoLockAfterAReopen) {
  std::string path = directory_.file("shared", std::string(1 << 20, 'x'));
  ASSERT_EQ(add({{"driver", "file"}, {"filename", path}, {"node-name", "f"}}), "");
  auto edge = attach("f", kWriter);
  ASSERT_NE(edge, nullptr) << error_;
  auto span = edge->node().try_share(reactor(), {0, 1 << 20});
  if (!span) GTEST_SKIP() << "the kernel does not report cached pages";
  std::string reopened =
      reopen({{"driver", "file"}, {"node-name", "f"}, {"filename", path}, {"cache", json::Object{{"direct", true}}}});
  if (!reopened.empty()) GTEST_SKIP() << reopened;
  EXPECT_EQ(span->file.use_count(), 1);
  detach(std::move(edge));
  EXPECT_EQ(remove("f"), "");
  char byte = '-';
  EXPECT_EQ(pread(span->file->fd(), &byte, 1, 4096), 1);
  EXPECT_EQ(byte, 'x');
  EXPECT_EQ(add({{"driver", "file"}, {"filename", path}, {"node-name", "f"}}), "");
  auto writer = attach("f", kWriter);
  EXPECT_NE(writer, nullptr) << error_;
  if (writer != nullptr) detach(std::move(writer));
}

class ReferenceTest : public GraphTest {
 protected:
  std::unique_ptr<Edge> attach_to(schema::BlockdevRef reference, Permissions permissions) {
    auto edge = run(graph_.attach(std::move(reference),
                                  {.name = "root", .description = std::string(block::kUnnamedUser)}, permissions));
    error_ = edge ? "" : edge.error().message();
    return edge ? std::move(*edge) : nullptr;
  }
  static schema::BlockdevRef reference(const std::string& name) { return schema::BlockdevRef{name}; }
  static schema::BlockdevRef definition(Members members) { return schema::BlockdevRef{options(members)}; }
};

TEST_F(ReferenceTest, ANodeThatIsNamedStaysBehind) {
  ASSERT_EQ(add({{"driver", "null-co"}, {"node-name", "n"}}), "");
  std::unique_ptr<Edge> edge = attach_to(reference("n"), kWriter);
  ASSERT_NE(edge, nullptr) << error_;
  EXPECT_EQ(edge->node().name(), "n");
  EXPECT_EQ(remove("n"), "Node n is in use");
  detach(std::move(edge));
  EXPECT_NE(graph_.find("n"), nullptr);
  EXPECT_EQ(remove("n"), "");
}

TEST_F(ReferenceTest, ANodeThatIsDefinedGoesWithItsLastEdge) {
  std::unique_ptr<Edge> edge = attach_to(
      definition({{"driver", "raw"}, {"file", json::Object{{"driver", "file"}, {"filename", path_}}}}), kWriter);
  ASSERT_NE(edge, nullptr) << error_;
  ASSERT_EQ(graph_.nodes().size(), 2u);
  const std::string name = edge->node().name();
  std::unique_ptr<Edge> second = attach(name, {});
  ASSERT_NE(second, nullptr);
  detach(std::move(edge));
  EXPECT_EQ(graph_.nodes().size(), 2u);
  detach(std::move(second));
  EXPECT_TRUE(graph_.nodes().empty());
}

TEST_F(ReferenceTest, AFailureLeavesTheGraphAsItWas) {
  EXPECT_EQ(attach_to(reference("nowhere"), {}), nullptr);
  EXPECT_EQ(error_, "Cannot find device='nowhere' nor node-name='nowhere'");
  EXPECT_EQ(attach_to(definition({{"driver", "file"}, {"filename", "/none"}}), {}), nullptr);
  EXPECT_EQ(error_, "Could not open '/none': No such file or directory");
  EXPECT_EQ(attach_to(definition({{"driver", "null-co"}, {"node-name", "x"}, {"read-only", true}}), kWriter), nullptr);
  EXPECT_EQ(error_, "Block node is read-only");
  EXPECT_TRUE(graph_.nodes().empty());
  ASSERT_EQ(add({{"driver", "null-co"}, {"node-name", "x"}}), "");
  EXPECT_EQ(attach_to(definition({{"driver", "null-co"}, {"node-name", "x"}}), {}), nullptr);
  EXPECT_EQ(error_, "Duplicate nodes with node-name='x'");
  EXPECT_EQ(graph_.nodes().size(), 1u);
}

TEST_F(ReferenceTest, ADefinitionMayReferToNodes) {
  ASSERT_EQ(add({{"driver", "null-co"}, {"node-name", "n"}}), "");
  std::unique_ptr<Edge> edge = attach_to(definition({{"driver", "raw"}, {"file", "n"}}), kWriter);
  ASSERT_NE(edge, nullptr) << error_;
  EXPECT_EQ(graph_.nodes().size(), 2u);
  detach(std::move(edge));
  EXPECT_EQ(graph_.nodes().size(), 1u);
}

}  // namespace
}  // namespace blockexport::drivers

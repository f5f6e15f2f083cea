// Children that images name: options that they inherit, chains, loops, limits, cancellation.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "aio/sync/sync.h"
#include "block/chain.h"
#include "block/graph.h"
#include "block/testing/reactor_test.h"
#include "schema/codec.h"

namespace blockexport::block {
namespace {

// A driver whose verbs no test calls.
class IdleDriver : public Driver {
 public:
  aio::Task<IoResult> read(Range, IoBuffers) override { co_return fail(EIO); }
  aio::Task<IoResult> write(Range, IoBuffers, WriteOptions) override { co_return fail(EIO); }
  aio::Task<IoResult> write_zeroes(Range, ZeroOptions) override { co_return fail(EIO); }
  aio::Task<IoResult> discard(Range) override { co_return fail(EIO); }
  aio::Task<IoResult> flush() override { co_return IoResult(); }
  aio::Task<IoResult> extents(Range, Extents&) override { co_return fail(EIO); }
  aio::Task<IoResult> prefetch(Range) override { co_return fail(EIO); }
  std::uint64_t size_bytes() const override { return 4096; }
  Limits limits() const override { return {}; }
  std::string_view format_name() const override { return "idle"; }
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions&, const schema::BlockdevOptions&, NodeOptions&,
                                     ReopenChildren&) override {
    co_return Result<>();
  }
};

// A host file; files of one inode are one file.
class File final : public IdleDriver {
 public:
  File(std::string path, std::uint64_t inode) : file_{.path = std::move(path), .device = 1, .inode = inode} {}
  std::optional<HostFile> host_file() const override { return file_; }

 private:
  HostFile file_;
};

class Image final : public IdleDriver {
 public:
  explicit Image(std::vector<std::unique_ptr<Edge>> children) : children_(std::move(children)) {}
  std::vector<Edge*> children() const override {
    std::vector<Edge*> all;
    for (const auto& child : children_) all.push_back(child.get());
    return all;
  }

 private:
  std::vector<std::unique_ptr<Edge>> children_;
};

// Names in the headers of images, by the path of the file.
struct Header {
  std::optional<std::string> backing = {};
  std::optional<std::string> data_file = {};
};

// "file" opens a File, "raw" an Image. The name of a file is its path; "json" names have options of their own.
struct NamingDrivers final : DriverTable {
  explicit NamingDrivers(aio::Reactor& reactor) : may_resolve(reactor) { may_resolve.set(); }

  aio::Task<Result<std::unique_ptr<Driver>>> open(const schema::BlockdevOptions& options, const NodeOptions&,
                                                  ChildOpener& children) override {
    if (const auto* file = options.as_if<schema::BlockdevDriver::kFile>()) {
      named[file->filename] = children.is_named_by_image();
      auto inode = inodes.find(file->filename);
      co_return std::make_unique<File>(file->filename, inode != inodes.end() ? inode->second : ++files);
    }
    const auto& image = options.as<schema::BlockdevDriver::kRaw>();
    std::vector<std::unique_ptr<Edge>> edges(1);
    CO_TRY_ASSIGN(edges[0], co_await children.open_child(image.file, "file", ChildRole::kData));
    const Edge& file = *edges.front();
    const Header header = headers[file.node().driver().host_file()->path];
    if (header.data_file) {
      edges.emplace_back();
      CO_TRY_ASSIGN(edges.back(),
                    co_await children.open_named_child({.kind = ReferenceKind::kDataFile, .name = *header.data_file},
                                                       file, ChildRole::kData));
    }
    if (header.backing) {
      edges.emplace_back();
      CO_TRY_ASSIGN(edges.back(), co_await children.open_named_child({.name = *header.backing, .format = "raw"}, file,
                                                                     ChildRole::kBacking));
    }
    co_return std::make_unique<Image>(std::move(edges));
  }

  aio::Task<Result<schema::BlockdevOptions>> resolve(ImageReference reference, std::string image_path) override {
    resolved.push_back(image_path + " -> " + reference.name);
    ++resolving;
    const IoResult waited = co_await may_resolve.wait();
    --resolving;
    if (!waited) co_return fail("The opening was cancelled");
    if (auto given = options_by_name.find(reference.name); given != options_by_name.end()) {
      co_return schema::decode<schema::BlockdevOptions>(given->second);
    }
    const json::Object file{{"driver", "file"}, {"filename", reference.name}};
    if (reference.kind == ReferenceKind::kDataFile)
      co_return schema::decode<schema::BlockdevOptions>(json::Value(file));
    co_return schema::decode<schema::BlockdevOptions>(json::Value(json::Object{{"driver", "raw"}, {"file", file}}));
  }

  aio::Event may_resolve;
  int resolving = 0;
  std::uint64_t files = 1000;
  std::map<std::string, std::uint64_t> inodes;
  std::map<std::string, Header> headers;
  std::map<std::string, json::Value> options_by_name;
  std::map<std::string, bool> named;
  std::vector<std::string> resolved;
};

aio::Task<void> add_and_tell(Graph& graph, schema::BlockdevOptions options, std::optional<std::string>& error) {
  Result<> result = co_await graph.add(std::move(options));
  error = result ? "" : result.error().message();
}

class GraphNamedChildrenTest : public ReactorTest {
 protected:
  ~GraphNamedChildrenTest() override { run(graph_.close()); }

  static schema::BlockdevOptions image(const std::string& path, json::Object members = {}) {
    members.set("driver", "raw");
    members.set("node-name", "top");
    members.set("file", json::Object{{"driver", "file"}, {"filename", path}});
    auto decoded = schema::decode<schema::BlockdevOptions>(json::Value(std::move(members)));
    EXPECT_TRUE(decoded);
    return *decoded;
  }
  std::string add(schema::BlockdevOptions options) {
    Result<> result = run(graph_.add(std::move(options)));
    return result ? "" : result.error().message();
  }
  Node& top() { return *graph_.find("top"); }

  Trace trace_;
  NamingDrivers drivers_{reactor()};
  Graph graph_{reactor(), drivers_, trace_};
};

TEST_F(GraphNamedChildrenTest, ABackingFileIsAnAnonymousReadOnlyNodeOverItsFile) {
  drivers_.headers["dir/top"].backing = "base";
  ASSERT_EQ(add(image("dir/top", {{"auto-read-only", true}, {"cache", json::Object{{"no-flush", true}}}})), "");
  EXPECT_EQ(drivers_.resolved, std::vector<std::string>{"dir/top -> base"});
  Node* base = backing_node(top());
  ASSERT_NE(base, nullptr);
  EXPECT_TRUE(base->name().starts_with("#block")) << base->name();
  EXPECT_EQ(top().driver().children().back()->name(), "backing");
  EXPECT_TRUE(base->options().read_only);
  EXPECT_FALSE(base->options().auto_read_only);
  EXPECT_TRUE(base->options().cache_no_flush);
  const Node& file = *image_node(*base);
  EXPECT_TRUE(file.options().read_only);
  EXPECT_TRUE(file.options().cache_no_flush);
  EXPECT_FALSE(top().options().read_only);
  EXPECT_EQ(graph_.nodes().size(), 4u);
  EXPECT_FALSE(graph_.about(*base).owned_by_user);
}

TEST_F(GraphNamedChildrenTest, ADataFileInheritsWhatAnInlineChildWould) {
  drivers_.headers["top"].data_file = "data";
  ASSERT_EQ(add(image("top", {{"auto-read-only", true}})), "");
  Edge& data = *top().driver().children().back();
  EXPECT_EQ(data.name(), "data-file");
  EXPECT_FALSE(data.node().options().read_only);
  EXPECT_TRUE(data.node().options().auto_read_only);
  EXPECT_EQ(data.node().options().discard, DiscardMode::kUnmap);
}

TEST_F(GraphNamedChildrenTest, OnlyWhatAnImageNamesIsUntrusted) {
  drivers_.headers["top"].backing = "base";
  ASSERT_EQ(add(image("top")), "");
  EXPECT_EQ(drivers_.named, (std::map<std::string, bool>{{"base", true}, {"top", false}}));
}

TEST_F(GraphNamedChildrenTest, NodesOfAChainGoWithTheirImage) {
  drivers_.headers["top"].backing = "middle";
  drivers_.headers["middle"] = {.backing = "base", .data_file = "data"};
  ASSERT_EQ(add(image("top")), "");
  EXPECT_EQ(graph_.nodes().size(), 7u);
  EXPECT_EQ(drivers_.resolved, (std::vector<std::string>{"top -> middle", "middle -> data", "middle -> base"}));
  ASSERT_TRUE(run(graph_.remove("top")));
  EXPECT_TRUE(graph_.nodes().empty());
}

TEST_F(GraphNamedChildrenTest, AnImageThatNamesItselfIsRefusedAtOnce) {
  drivers_.headers["top"].backing = "top";
  drivers_.inodes["top"] = 7;
  EXPECT_EQ(add(image("top")),
            "Could not open backing file: 'top' contains an image above it in the chain, which would never end");
  EXPECT_EQ(drivers_.resolved.size(), 1u);
  EXPECT_TRUE(graph_.nodes().empty());
}

TEST_F(GraphNamedChildrenTest, ALoopThroughAnotherNameOfAFileIsRefused) {
  drivers_.headers["top"].backing = "middle";
  drivers_.headers["middle"].backing = "link";
  drivers_.headers["link"] = drivers_.headers["top"];
  drivers_.inodes = {{"top", 7}, {"link", 7}};
  EXPECT_EQ(add(image("top")),
            "Could not open backing file: Could not open backing file: 'link' contains an image above it in the chain, "
            "which would never end");
  EXPECT_EQ(drivers_.resolved.size(), 2u);
}

TEST_F(GraphNamedChildrenTest, AnImageIsNotItsOwnDataFile) {
  drivers_.headers["top"].data_file = "top";
  drivers_.inodes["top"] = 7;
  EXPECT_EQ(add(image("top")), "'top' contains an image above it in the chain, which would never end");
}

TEST_F(GraphNamedChildrenTest, AFileBesideTheChainMayBeUsedTwice) {
  drivers_.headers["top"] = {.backing = "base", .data_file = "data"};
  drivers_.headers["base"].data_file = "data";
  drivers_.inodes["data"] = 7;
  EXPECT_EQ(add(image("top", {{"read-only", true}})), "");
}

TEST_F(GraphNamedChildrenTest, AChainOfTheGreatestDepthOpensAndALongerOneDoesNot) {
  for (std::size_t i = 0; i < kBackingChainDepthMax; ++i) {
    drivers_.headers["image" + std::to_string(i)].backing = "image" + std::to_string(i + 1);
  }
  EXPECT_EQ(add(image("image0")), "");
  EXPECT_EQ(graph_.nodes().size(), 2 * (kBackingChainDepthMax + 1));
  ASSERT_TRUE(run(graph_.remove("top")));
  drivers_.headers["image" + std::to_string(kBackingChainDepthMax)].backing = "one more";
  std::string error = add(image("image0"));
  EXPECT_TRUE(error.ends_with("The chain of images has more than 200 images")) << error;
  EXPECT_LT(error.size(), 400u);
  EXPECT_TRUE(graph_.nodes().empty());
}

TEST_F(GraphNamedChildrenTest, TheNumberOfNamesInATreeIsLimited) {
  // Each image stands on two others, so there are 2^20 of them.
  for (int i = 0; i < 20; ++i) {
    const std::string name = "level" + std::to_string(i);
    const std::string below = "level" + std::to_string(i + 1);
    drivers_.headers[name] = {.backing = below, .data_file = "twin " + below};
    const json::Object file{{"driver", "file"}, {"filename", below}};
    drivers_.options_by_name["twin " + below] = json::Object{{"driver", "raw"}, {"file", file}};
  }
  std::string error = add(image("level0"));
  EXPECT_TRUE(error.ends_with("The images refer to more than 400 files")) << error;
  EXPECT_LE(drivers_.resolved.size(), kImageReferencesMax);
}

TEST_F(GraphNamedChildrenTest, ATooLongNameIsRefusedBeforeItIsResolved) {
  drivers_.headers["top"].backing = std::string(kImageNameBytesMax + 1, 'x');
  EXPECT_EQ(add(image("top")), "Could not open backing file: The name inside the image has more than 4096 bytes");
  EXPECT_TRUE(drivers_.resolved.empty());
}

TEST_F(GraphNamedChildrenTest, AnImageCannotReferToANodeOfTheDaemon) {
  auto other = schema::decode<schema::BlockdevOptions>(
      json::Value(json::Object{{"driver", "file"}, {"filename", "secret"}, {"node-name", "other"}}));
  ASSERT_EQ(add(*other), "");
  drivers_.headers["top"].backing = "json";
  drivers_.options_by_name["json"] = json::Object{{"driver", "raw"}, {"file", "other"}};
  EXPECT_EQ(add(image("top")), "Could not open backing file: An image cannot refer to the node 'other'");
}

TEST_F(GraphNamedChildrenTest, AnImageCannotNameABitmapStore) {
  drivers_.headers["top"].backing = "json";
  drivers_.options_by_name["json"] =
      json::Object{{"driver", "file"}, {"filename", "base"}, {"bitmap-store", json::Object{{"filename", "victim"}}}};
  EXPECT_EQ(add(image("top")), "Could not open backing file: An image cannot refer to the bitmap store 'victim'");
}

TEST_F(GraphNamedChildrenTest, ACancelledOpeningLeavesNothing) {
  drivers_.headers["top"].backing = "base";
  drivers_.may_resolve.reset();
  std::optional<std::string> error;
  {
    aio::Scope opening{reactor()};
    opening.spawn("add", add_and_tell(graph_, image("top"), error));
    EXPECT_EQ(drivers_.resolving, 1);
    // A change of other nodes does not wait.
    auto other = schema::decode<schema::BlockdevOptions>(
        json::Value(json::Object{{"driver", "file"}, {"filename", "x"}, {"node-name", "other"}}));
    EXPECT_EQ(add(*other), "");
    opening.cancel();
    run(opening.join());
  }
  EXPECT_EQ(error, "Could not open backing file: The opening was cancelled");
  EXPECT_EQ(graph_.nodes().size(), 1u);
  drivers_.may_resolve.set();
  EXPECT_EQ(add(image("top")), "");
}

TEST_F(GraphNamedChildrenTest, AReopenLeavesANamedChildAsItIs) {
  drivers_.headers["top"].backing = "base";
  ASSERT_EQ(add(image("top")), "");
  Node* base = backing_node(top());
  const NodeOptions before = base->options();
  ASSERT_TRUE(run(graph_.reopen({image("top", {{"read-only", true}, {"cache", json::Object{{"no-flush", true}}}})})));
  EXPECT_TRUE(top().options().cache_no_flush);
  EXPECT_EQ(backing_node(top()), base);
  EXPECT_EQ(base->options(), before);
}

}  // namespace
}  // namespace blockexport::block

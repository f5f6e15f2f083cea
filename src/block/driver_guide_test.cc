// The driver of docs/guides/driver.md, compiled from that page, does what the page says.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "aio/task/current.h"
#include "block/graph.h"
#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"
#include "driver_guide/byte_counter.h"
#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::block {
namespace {

using drivers::ByteCounter;
using drivers::ByteCounts;
using Calls = std::vector<std::string>;

constexpr std::size_t kBytes = 4096;

// Opens the driver of the guide for "raw", whose options also have a child, and memory for other drivers. Outlives the
// graph.
struct GuideDrivers final : DriverTable {
  aio::Task<Result<std::unique_ptr<Driver>>> open(const schema::BlockdevOptions& options, const NodeOptions&,
                                                  ChildOpener& children) override {
    if (const auto* raw = options.as_if<schema::BlockdevDriver::kRaw>()) {
      CO_TRY_ASSIGN(std::unique_ptr<Edge> file, co_await children.open_child(raw->file, "file", ChildRole::kFiltered));
      co_return std::make_unique<ByteCounter>(std::move(file));
    }
    co_return std::make_unique<MemoryDriver>(memory(*options.node_name));
  }

  MemoryDriverState& memory(const std::string& node_name) {
    return states.try_emplace(node_name, kBytes).first->second;
  }

  std::map<std::string, MemoryDriverState> states;
};

schema::BlockdevOptions options_of(std::initializer_list<json::Object::Member> members) {
  auto decoded = schema::decode<schema::BlockdevOptions>(json::Object(members));
  EXPECT_TRUE(decoded) << (decoded ? "" : decoded.error().message());
  return decoded ? *decoded : schema::BlockdevOptions{};
}

schema::BlockdevOptions memory_options(const char* name) {
  return options_of({{"driver", "null-co"}, {"node-name", name}, {"discard", "unmap"}});
}

schema::BlockdevOptions counter_options(const char* file) {
  return options_of({{"driver", "raw"}, {"node-name", "counter"}, {"file", file}, {"discard", "unmap"}});
}

const Permissions kWriter{.used = Permission::kConsistentRead | Permission::kWrite,
                          .shared = PermissionSet::all() - Permission::kResize};

class DriverGuideTest : public ReactorTest {
 protected:
  DriverGuideTest() { EXPECT_EQ(message(run(graph_.add(memory_options("disk")))), ""); }

  void add_counter() { EXPECT_EQ(message(run(graph_.add(counter_options("disk")))), ""); }
  static std::string message(const Result<>& result) { return result ? "" : result.error().message(); }
  std::unique_ptr<Edge> attach(const char* name) {
    EdgeParent parent{.name = "root", .description = "a client", .tolerates_growth = true};
    auto edge = run(graph_.attach(name, parent, kWriter));
    EXPECT_TRUE(edge) << (edge ? "" : edge.error().message());
    return edge ? std::move(*edge) : nullptr;
  }

  Node& counter() { return *graph_.find("counter"); }
  const ByteCounts& counts() { return static_cast<ByteCounter&>(counter().driver()).counts(); }
  MemoryDriverState& disk() { return drivers_.memory("disk"); }
  IoBuffers first(std::size_t bytes) {
    vector_ = {.iov_base = memory_.data(), .iov_len = bytes};
    return {&vector_, 1};
  }

  GuideDrivers drivers_;
  Trace trace_;
  Graph graph_{reactor(), drivers_, trace_};
  std::vector<std::byte> memory_ = std::vector<std::byte>(kBytes, std::byte{7});
  iovec vector_{};
};

TEST_F(DriverGuideTest, ForwardsEveryVerbAndCountsItsBytes) {
  add_counter();
  EXPECT_TRUE(run(counter().write({512, 100}, first(100), {.force_unit_access = true})));
  EXPECT_TRUE(run(counter().read({510, 20}, first(20))));
  EXPECT_EQ(memory_[1], std::byte{0});
  EXPECT_EQ(memory_[2], std::byte{7});
  EXPECT_TRUE(run(counter().write_zeroes({0, 3}, {.may_unmap = true})));
  EXPECT_TRUE(run(counter().discard({5, 1000})));
  EXPECT_TRUE(run(counter().flush()));
  EXPECT_TRUE(run(counter().prefetch({0, 4000})));
  Extents extents;
  EXPECT_TRUE(run(counter().extents({0, 4000}, extents)));
  EXPECT_EQ(extents, (Extents{{.length = 4000, .data = true}}));
  EXPECT_EQ(disk().calls,
            (Calls{"write 512+100 fua", "read 510+20", "write_zeroes 0+3 unmap", "discard 5+1000", "flush"}));
  EXPECT_EQ(counts().read, 20u);
  EXPECT_EQ(counts().write, 100u);
  EXPECT_EQ(counts().write_zeroes, 3u);
}

TEST_F(DriverGuideTest, DoesNotCountFailedRequests) {
  add_counter();
  EXPECT_EQ(run(counter().write_zeroes({0, 8}, {.no_fallback = true})).error(), Errno(ENOTSUP));
  disk().error = EIO;
  EXPECT_EQ(run(counter().read({0, 8}, first(8))).error(), Errno(EIO));
  EXPECT_EQ(run(counter().write({0, 8}, first(8), {})).error(), Errno(EIO));
  EXPECT_EQ(run(counter().write_zeroes({0, 8}, {})).error(), Errno(EIO));
  EXPECT_EQ(counts().read, 0u);
  EXPECT_EQ(counts().write, 0u);
  EXPECT_EQ(counts().write_zeroes, 0u);
}

TEST_F(DriverGuideTest, CountsARequestOnceWhetherItsTryVerbSucceedsOrNot) {
  add_counter();
  EXPECT_TRUE(counter().try_read(reactor(), {0, 16}, first(16)));
  EXPECT_TRUE(counter().try_write(reactor(), {0, 32}, first(32)));
  disk().try_verbs = false;
  EXPECT_EQ(counter().try_read(reactor(), {0, 64}, first(64)).error(), Errno(EAGAIN));
  EXPECT_TRUE(run(counter().read({0, 64}, first(64))));
  EXPECT_EQ(counter().try_write(reactor(), {0, 128}, first(128)).error(), Errno(EAGAIN));
  EXPECT_TRUE(run(counter().write({0, 128}, first(128), {})));
  EXPECT_EQ(counts().read, 16u + 64);
  EXPECT_EQ(counts().write, 32u + 128);
  EXPECT_EQ(disk().calls, (Calls{"try_read 0+16", "try_write 0+32", "read 0+64", "write 0+128"}));
}

TEST_F(DriverGuideTest, KnowsExtentsWhereItsChildDoes) {
  add_counter();
  Extents extents;
  EXPECT_TRUE(counter().try_extents(reactor(), {7, 9}, extents));
  EXPECT_EQ(extents, (Extents{{.length = 9, .data = true}}));
  disk().try_verbs = false;
  EXPECT_EQ(counter().try_extents(reactor(), {7, 9}, extents).error(), Errno(EAGAIN));
}

TEST_F(DriverGuideTest, CountsSharedBytesAsRead) {
  add_counter();
  EXPECT_EQ(counter().try_share(reactor(), {512, 1024}).error(), Errno(EAGAIN));
  EXPECT_EQ(counts().read, 0u);
  disk().shares = true;
  auto span = counter().try_share(reactor(), {512, 1024});
  ASSERT_TRUE(span);
  EXPECT_EQ(span->offset, 512u);
  EXPECT_EQ(counts().read, 1024u);
  // A part of it still has to be read.
  EXPECT_TRUE(run(counter().read_shared({512, 100}, first(100))));
  EXPECT_EQ(counts().read, 1024u);
  EXPECT_EQ(disk().calls, (Calls{"read 512+100"}));
}

TEST_F(DriverGuideTest, ShowsTheNodeBelow) {
  disk().limits = {.request_alignment = 512, .optimal_bytes = 65536};
  EXPECT_EQ(message(run(graph_.remove("disk"))), "");
  EXPECT_EQ(message(run(graph_.add(memory_options("disk")))), "");
  add_counter();
  EXPECT_EQ(counter().size_bytes(), kBytes);
  EXPECT_EQ(counter().limits().optimal_bytes, 65536u);
  EXPECT_EQ(counter().limits().request_alignment, 1u);
  EXPECT_TRUE(run(counter().read({1, 2}, first(2))));
  EXPECT_EQ(disk().calls, (Calls{"read 0+512"}));
  EXPECT_EQ(counts().read, 2u);
  std::vector<Edge*> children = counter().driver().children();
  ASSERT_EQ(children.size(), 1u);
  EXPECT_EQ(&children[0]->node(), graph_.find("disk"));
  EXPECT_EQ(children[0]->parent().node, &counter());
}

TEST_F(DriverGuideTest, NeedsAndSharesThePermissionsOfItsUsers) {
  add_counter();
  EXPECT_TRUE(graph_.find("disk")->permissions().used.empty());
  auto edge = attach("counter");
  EXPECT_EQ(graph_.find("disk")->permissions(), kWriter);
  run(graph_.detach(std::move(edge)));
  EXPECT_TRUE(graph_.find("disk")->permissions().used.empty());
}

TEST_F(DriverGuideTest, ResizesTheNodeBelow) {
  add_counter();
  auto edge = attach("counter");
  EXPECT_EQ(message(run(graph_.resize("counter", 2 * kBytes))), "");
  EXPECT_EQ(counter().size_bytes(), 2 * kBytes);
  EXPECT_EQ(disk().bytes.size(), 2 * kBytes);
  run(graph_.detach(std::move(edge)));
}

TEST_F(DriverGuideTest, CanBeReopenedOverAnotherNodeWhileClientsUseIt) {
  drivers_.memory("other").bytes.assign(2 * kBytes, std::byte{9});
  drivers_.memory("other").limits.optimal_bytes = 65536;
  EXPECT_EQ(message(run(graph_.add(memory_options("other")))), "");
  add_counter();
  auto edge = attach("counter");
  EXPECT_TRUE(run(counter().read({0, 8}, first(8))));
  EXPECT_EQ(memory_[0], std::byte{0});
  EXPECT_EQ(message(run(graph_.reopen({counter_options("other")}))), "");
  EXPECT_EQ(counter().size_bytes(), 2 * kBytes);
  EXPECT_EQ(counter().limits().optimal_bytes, 65536u);
  EXPECT_EQ(graph_.find("other")->permissions(), kWriter);
  EXPECT_TRUE(graph_.find("disk")->permissions().used.empty());
  EXPECT_TRUE(run(counter().read({0, 8}, first(8))));
  EXPECT_EQ(memory_[0], std::byte{9});
  EXPECT_EQ(counts().read, 16u);
  run(graph_.detach(std::move(edge)));
}

// A client that is always inside its edge, except between two reads.
struct Reader {
  Edge& edge;
  bool stop = false;
  std::uint64_t reads = 0;
  std::uint64_t counted_reads = 0;  // number of reads that began while its edge led to the filter
};

aio::Task<void> keep_reading(Reader& reader) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  std::vector<std::byte> bytes(512);
  const iovec vector{.iov_base = bytes.data(), .iov_len = bytes.size()};
  while (!reader.stop) {
    EXPECT_TRUE(co_await reader.edge.enter());
    Node& node = reader.edge.node();
    (void)co_await reactor.sleep_until(reactor.now_ns() + 20'000);
    EXPECT_TRUE(co_await node.read({0, 512}, {&vector, 1}));
    EXPECT_EQ(&reader.edge.node(), &node) << "the graph has changed under a request";
    ++reader.reads;
    if (node.name() == "counter") ++reader.counted_reads;
    reader.edge.leave();
  }
}

aio::Task<void> wait_for_reads(const Reader& reader, std::uint64_t more) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  const std::uint64_t enough = reader.reads + more;
  while (reader.reads < enough) (void)co_await reactor.sleep_until(reactor.now_ns() + 20'000);
}

aio::Task<void> put_in_and_take_out(Graph& graph, Reader& reader) {
  co_await wait_for_reads(reader, 10);
  std::vector<GraphStep> put_in{AddNode{counter_options("disk")}, ReplaceNode{.name = "disk", .by = "counter"}};
  EXPECT_TRUE(co_await graph.apply(std::move(put_in)));
  const ByteCounts& counts = static_cast<ByteCounter&>(graph.find("counter")->driver()).counts();
  EXPECT_EQ(reader.edge.node().name(), "counter");
  EXPECT_EQ(graph.find("disk")->permissions(), kWriter);
  co_await wait_for_reads(reader, 10);

  // First the filter loses its users, so that the test can check it at that moment; both steps could be one change.
  std::vector<GraphStep> go_around{ReplaceNode{.name = "counter", .by = "disk"}};
  EXPECT_TRUE(co_await graph.apply(std::move(go_around)));
  EXPECT_EQ(reader.edge.node().name(), "disk");
  co_await wait_for_reads(reader, 10);
  EXPECT_GE(reader.counted_reads, 9u);
  EXPECT_EQ(counts.read, 512 * reader.counted_reads);
  std::vector<GraphStep> take_out{RemoveNode{"counter"}};
  EXPECT_TRUE(co_await graph.apply(std::move(take_out)));
  EXPECT_EQ(graph.find("counter"), nullptr);
  co_await wait_for_reads(reader, 10);
  reader.stop = true;
}

TEST_F(DriverGuideTest, CanBeInsertedAndRemovedWhileAClientReads) {
  auto edge = attach("disk");
  Reader reader{.edge = *edge};
  start(keep_reading(reader));
  run(put_in_and_take_out(graph_, reader));
  EXPECT_GE(reader.reads, 40u);
  EXPECT_LT(reader.counted_reads, reader.reads);
  EXPECT_EQ(std::ranges::count(disk().calls, "read 0+512"), static_cast<std::ptrdiff_t>(reader.reads));
  run(graph_.detach(std::move(edge)));
}

}  // namespace
}  // namespace blockexport::block

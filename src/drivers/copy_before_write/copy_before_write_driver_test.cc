// Copy-before-write and snapshot-access over memory: the calls that reach source and target, what readers see, and each
// way in which a copy can fail.
#include "drivers/copy_before_write/copy_before_write_driver.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "block/bitmap/dirty_bitmap.h"
#include "block/graph.h"
#include "block/testing/filter_drivers.h"
#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"
#include "drivers/options.h"
#include "drivers/snapshot_access/snapshot_access_driver.h"
#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::drivers {
namespace {

using namespace std::string_literals;
using block::Edge;
using block::Extents;
using block::IoBuffers;
using block::MemoryDriverState;
using block::Node;
using block::Permission;
using block::Permissions;
using block::Range;
using Calls = std::vector<std::string>;

constexpr std::uint32_t kCluster = 512;
constexpr std::size_t kBytes = 8 * kCluster + 100;

const Permissions kWriter{.used = Permission::kConsistentRead | Permission::kWrite,
                          .shared = block::PermissionSet::all() - Permission::kResize};

// null-co is memory, raw the filter above; the clusters of the others are small. Outlives the graph.
struct MemoryTable final : block::DriverTable, block::PointInTimeObserver {
  aio::Task<Result<std::unique_ptr<block::Driver>>> open(const schema::BlockdevOptions& options,
                                                         const block::NodeOptions&,
                                                         block::ChildOpener& children) override {
    using schema::BlockdevDriver;
    if (const auto* raw = options.as_if<BlockdevDriver::kRaw>()) {
      CO_TRY_ASSIGN(auto file, co_await children.open_child(raw->file, "file", block::ChildRole::kFiltered));
      co_return std::make_unique<block::ReopenableFilter>(std::move(file));
    }
    if (const auto* access = options.as_if<BlockdevDriver::kSnapshotAccess>()) {
      CO_TRY_ASSIGN(auto file, co_await children.open_child(access->file, "file", block::ChildRole::kData));
      CO_TRY_ASSIGN(auto driver, SnapshotAccessDriver::open(std::move(file)));
      co_return std::move(driver);
    }
    if (const auto* cbw = options.as_if<BlockdevDriver::kCopyBeforeWrite>()) {
      CO_TRY_ASSIGN(auto file, co_await children.open_child(cbw->file, "file", block::ChildRole::kFiltered));
      CO_TRY_ASSIGN(auto target, co_await children.open_child(cbw->target, "target", block::ChildRoles()));
      CO_TRY_ASSIGN(CopyBeforeWriteOptions plain, copy_before_write_options(*cbw));
      plain.cluster_bytes = kCluster;
      const block::DirtyBits* only = nullptr;
      if (cbw->bitmap) {
        CO_TRY_ASSIGN(const auto* bitmap, children.find_bitmap(cbw->bitmap->node, cbw->bitmap->name));
        only = &bitmap->bits();
      }
      CO_TRY_ASSIGN(auto driver, CopyBeforeWriteDriver::open(plain, std::move(file), std::move(target), only, this));
      co_return std::move(driver);
    }
    co_return std::make_unique<block::MemoryDriver>(memory(*options.node_name));
  }

  void point_in_time_given_up(std::string_view node_name, Errno cause) override {
    given_up.push_back(std::string(node_name) + ": " + errno_text(cause));
  }

  MemoryDriverState& memory(const std::string& name) { return states.try_emplace(name, kBytes).first->second; }

  std::map<std::string, MemoryDriverState> states;
  std::vector<std::string> given_up;
};

class CopyBeforeWriteTest : public block::ReactorTest {
 protected:
  using Members = std::initializer_list<json::Object::Member>;

  CopyBeforeWriteTest() {
    for (std::size_t i = 0; i < kBytes; ++i) disk().bytes[i] = static_cast<std::byte>(i / kCluster + 1);
    frozen_ = disk().bytes;
    add({{"driver", "null-co"}, {"node-name", "disk"}, {"discard", "unmap"}});
    add({{"driver", "null-co"}, {"node-name", "scratch"}, {"discard", "unmap"}});
    add({{"driver", "raw"}, {"node-name", "top"}, {"file", "disk"}, {"discard", "unmap"}});
    auto edge = run(graph_.attach("top", {.name = "root"}, kWriter));
    EXPECT_TRUE(edge.has_value());
    writer_ = std::move(*edge);
  }
  ~CopyBeforeWriteTest() override {
    if (reader_ != nullptr) run(graph_.detach(std::move(reader_)));
    run(graph_.detach(std::move(writer_)));
    run(graph_.close());
  }

  static schema::BlockdevOptions options_of(const json::Object& members) {
    auto decoded = schema::decode<schema::BlockdevOptions>(json::Value(members));
    EXPECT_TRUE(decoded) << (decoded ? "" : decoded.error().message());
    return *decoded;
  }
  static std::string text_of(const Result<>& result) { return result ? "" : result.error().message(); }
  void add(json::Object members) { EXPECT_EQ(text_of(run(graph_.add(options_of(members)))), ""); }
  std::string reopen(json::Object members) {
    std::vector<schema::BlockdevOptions> list{options_of(members)};
    return text_of(run(graph_.reopen(std::move(list))));
  }
  static json::Object filter(Members more = {}) {
    json::Object members{{"driver", "copy-before-write"},
                         {"node-name", "cbw"},
                         {"file", "disk"},
                         {"target", "scratch"},
                         {"discard", "unmap"}};
    for (const auto& member : more) members.set(member.first, member.second);
    return members;
  }
  static json::Object top_on(const char* file) {
    return {{"driver", "raw"}, {"node-name", "top"}, {"file", file}, {"discard", "unmap"}};
  }
  void freeze(Members more = {}) {
    add(filter(more));
    EXPECT_EQ(reopen(top_on("cbw")), "");
    add({{"driver", "snapshot-access"}, {"node-name", "access"}, {"file", "cbw"}, {"discard", "unmap"}});
    auto edge = run(graph_.attach("access", {.name = "root"}, {.used = Permission::kConsistentRead}));
    EXPECT_TRUE(edge.has_value());
    reader_ = std::move(*edge);
    disk().calls.clear();
  }

  Node& top() { return writer_->node(); }
  Node& access() { return reader_->node(); }
  MemoryDriverState& disk() { return drivers_.memory("disk"); }
  MemoryDriverState& scratch() { return drivers_.memory("scratch"); }

  IoResult write(std::uint64_t offset, std::uint64_t length, int value = 0xee) {
    std::vector<std::byte> bytes(length, static_cast<std::byte>(value));
    const iovec vector{bytes.data(), length};
    return run(top().write({offset, length}, {&vector, 1}, {}));
  }
  IoResult read_then(std::uint64_t offset, std::uint64_t length) {
    got_.assign(length, std::byte{0});
    const iovec vector{got_.data(), length};
    return run(access().read({offset, length}, {&vector, 1}));
  }
  // True if all bytes of the range are read as they were.
  bool is_as_it_was(std::uint64_t offset, std::uint64_t length) {
    return read_then(offset, length) && std::ranges::equal(got_, std::span(frozen_).subspan(offset, length));
  }
  Calls calls_of(MemoryDriverState& state) { return std::exchange(state.calls, {}); }

  MemoryTable drivers_;
  Trace trace_;
  block::Graph graph_{reactor(), drivers_, trace_};
  std::unique_ptr<Edge> writer_;
  std::unique_ptr<Edge> reader_;
  std::vector<std::byte> frozen_;
  std::vector<std::byte> got_;
};

TEST_F(CopyBeforeWriteTest, TheFirstChangeOfAClusterCopiesItOnce) {
  freeze();
  EXPECT_TRUE(write(600, 100));
  EXPECT_EQ(calls_of(disk()), (Calls{"try_read 512+512", "write 600+100"}));
  EXPECT_EQ(calls_of(scratch()), (Calls{"try_write 512+512"}));
  EXPECT_TRUE(write(700, 200));
  EXPECT_EQ(calls_of(disk()), (Calls{"write 700+200"}));
  EXPECT_EQ(calls_of(scratch()), Calls());
  EXPECT_TRUE(is_as_it_was(0, kBytes));
}

TEST_F(CopyBeforeWriteTest, EveryKindOfChangeCopiesAllClustersThatItTouches) {
  freeze();
  EXPECT_TRUE(run(top().write_zeroes({100, 500}, {})));
  EXPECT_EQ(calls_of(scratch()), (Calls{"try_write 0+1024"}));
  EXPECT_TRUE(run(top().discard({1536, 1})));
  EXPECT_EQ(calls_of(scratch()), (Calls{"try_write 1536+512"}));
  // The third cluster was in between; the last one is cut off by the end.
  EXPECT_TRUE(write(0, kBytes));
  EXPECT_EQ(calls_of(scratch()), (Calls{"try_write 1024+512", "try_write 2048+"s + std::to_string(kBytes - 2048)}));
  EXPECT_TRUE(is_as_it_was(0, kBytes));
}

TEST_F(CopyBeforeWriteTest, AWriteAtOnceIsForSettledClustersOnly) {
  freeze();
  std::vector<std::byte> bytes(100);
  const iovec vector{bytes.data(), bytes.size()};
  Node& filter = *graph_.find("cbw");
  EXPECT_EQ(filter.try_write(reactor(), {600, 100}, {&vector, 1}), IoResult(fail(EAGAIN)));
  EXPECT_TRUE(write(512, 1));
  EXPECT_TRUE(filter.try_write(reactor(), {600, 100}, {&vector, 1}));
  // It reaches into a cluster that was not copied.
  EXPECT_EQ(filter.try_write(reactor(), {1000, 100}, {&vector, 1}), IoResult(fail(EAGAIN)));
  EXPECT_TRUE(is_as_it_was(0, kBytes));
}

TEST_F(CopyBeforeWriteTest, ReadsOfTheNewestBytesAreTheFilesOwn) {
  freeze();
  disk().shares = true;
  Node& filter = *graph_.find("cbw");
  std::vector<std::byte> bytes(100);
  const iovec vector{bytes.data(), bytes.size()};
  EXPECT_TRUE(filter.try_read(reactor(), {600, 100}, {&vector, 1}));
  EXPECT_TRUE(filter.try_share(reactor(), {600, 100}));
  EXPECT_FALSE(access().try_read(reactor(), {600, 100}, {&vector, 1}));
  EXPECT_FALSE(access().try_share(reactor(), {600, 100}));
}

TEST_F(CopyBeforeWriteTest, ZerosAreNotCopiedByteByByte) {
  std::ranges::fill(std::span(disk().bytes).subspan(1024, 512), std::byte{0});
  frozen_ = disk().bytes;
  std::ranges::fill(scratch().bytes, std::byte{0x77});
  freeze();
  scratch().fast_zeroes = true;
  EXPECT_TRUE(write(1024, 5));
  EXPECT_EQ(calls_of(scratch()), (Calls{"write_zeroes 1024+512 unmap"}));
  EXPECT_TRUE(is_as_it_was(0, kBytes));
}

TEST_F(CopyBeforeWriteTest, OnlyTheClustersOfTheBitmapAreCopiedAndReadable) {
  std::vector<block::GraphStep> steps;
  steps.emplace_back(block::AddBitmap{.bitmap = {"disk", "b"}, .granularity_bytes = 1024});
  ASSERT_EQ(text_of(run(graph_.apply(std::move(steps)))), "");
  graph_.find("disk")->bitmaps().list().find("b")->mark({1030, 1});
  freeze({{"bitmap", json::Object{{"node", "disk"}, {"name", "b"}}}});
  EXPECT_TRUE(write(0, 2048));
  EXPECT_EQ(calls_of(scratch()), (Calls{"try_write 1024+1024"}));
  EXPECT_TRUE(is_as_it_was(1024, 1024));
  EXPECT_EQ(read_then(0, 10), IoResult(fail(EACCES)));
  EXPECT_EQ(read_then(2000, 100), IoResult(fail(EACCES)));
  Extents extents;
  EXPECT_EQ(run(access().extents({0, 2048}, extents)), IoResult(fail(EACCES)));
  EXPECT_TRUE(run(access().extents({1100, 2000}, extents)));
  EXPECT_EQ(extents, (Extents{{.length = 2048 - 1100, .data = true}}));
}

TEST_F(CopyBeforeWriteTest, AFailedCopyFailsTheRequestAndKeepsThePointInTime) {
  freeze();
  scratch().error = ENOSPC;
  EXPECT_EQ(write(600, 100), IoResult(fail(ENOSPC)));
  EXPECT_EQ(calls_of(disk()), (Calls{"try_read 512+512"}));
  EXPECT_TRUE(is_as_it_was(0, kBytes));
  scratch().error = 0;
  EXPECT_TRUE(write(600, 100));
  EXPECT_TRUE(is_as_it_was(0, kBytes));
}

TEST_F(CopyBeforeWriteTest, AFailedCopyWithoutAFallbackIsNoRefusal) {
  freeze();
  // ENOTSUP would tell the client to write zeros in another way.
  scratch().error = ENOTSUP;
  EXPECT_EQ(run(top().write_zeroes({600, 100}, {.no_fallback = true})), IoResult(fail(EIO)));
}

TEST_F(CopyBeforeWriteTest, AFailedCopyGivesThePointInTimeUpWhenAskedTo) {
  freeze({{"on-cbw-error", "break-snapshot"}});
  EXPECT_TRUE(write(10, 10));
  scratch().error = ENOSPC;
  EXPECT_TRUE(write(600, 100));
  EXPECT_EQ(disk().bytes[600], std::byte{0xee});
  // The copied bytes are worth nothing without the rest; nobody is held up any more.
  EXPECT_EQ(read_then(0, 10), IoResult(fail(EACCES)));
  EXPECT_EQ(read_then(2048, 10), IoResult(fail(EACCES)));
  Extents extents;
  EXPECT_EQ(run(access().extents({2048, 10}, extents)), IoResult(fail(EACCES)));
  scratch().calls.clear();
  EXPECT_TRUE(write(2048, 100));
  EXPECT_EQ(calls_of(scratch()), Calls());
}

TEST_F(CopyBeforeWriteTest, TheLossOfAPointInTimeIsReportedOnceWithItsCause) {
  freeze({{"on-cbw-error", "break-snapshot"}});
  EXPECT_EQ(graph_.find("cbw")->driver().point_in_time()->given_up_because(), std::nullopt);
  EXPECT_TRUE(write(10, 10));
  EXPECT_EQ(drivers_.given_up, Calls());
  scratch().error = ENOSPC;
  EXPECT_TRUE(write(600, 100));
  scratch().error = EIO;
  EXPECT_TRUE(write(2048, 100));
  EXPECT_EQ(drivers_.given_up, (Calls{"cbw: No space left on device"}));
  EXPECT_EQ(graph_.find("cbw")->driver().point_in_time()->given_up_because(), Errno(ENOSPC));
}

TEST_F(CopyBeforeWriteTest, ATargetThatIsTooSmallIsAFullOne) {
  scratch().bytes.resize(1000);
  freeze();
  EXPECT_TRUE(write(10, 10));
  EXPECT_EQ(write(600, 10), IoResult(fail(ENOSPC)));
  EXPECT_TRUE(is_as_it_was(0, kBytes));
}

aio::Task<void> set_after(aio::Reactor& reactor, std::uint64_t ns, aio::Event& event) {
  (void)co_await reactor.sleep_until(reactor.now_ns() + ns);
  event.set();
}

TEST_F(CopyBeforeWriteTest, ACopyThatTakesTooLongFailsTheRequestAndGoesOn) {
  freeze({{"cbw-timeout", 1}});
  disk().try_verbs = false;
  aio::Event pause(reactor());
  disk().read_pause = &pause;
  start(set_after(reactor(), 1'200'000'000, pause));
  EXPECT_EQ(write(600, 100), IoResult(fail(ETIMEDOUT)));
  // run() has waited for the pause too; the late copy has ended, or does so before the next request is done.
  EXPECT_TRUE(write(600, 100));
  EXPECT_EQ(calls_of(scratch()), (Calls{"try_write 512+512"}));
  EXPECT_TRUE(is_as_it_was(0, kBytes));
}

TEST_F(CopyBeforeWriteTest, ALateCopyGivesThePointInTimeUpWhenAskedTo) {
  freeze({{"cbw-timeout", 1}, {"on-cbw-error", "break-snapshot"}});
  disk().try_verbs = false;
  aio::Event pause(reactor());
  disk().read_pause = &pause;
  start(set_after(reactor(), 1'200'000'000, pause));
  EXPECT_TRUE(write(600, 100));
  EXPECT_EQ(read_then(0, 10), IoResult(fail(EACCES)));
}

TEST_F(CopyBeforeWriteTest, ACopyInTimeIsNoDifferentFromOneWithoutALimit) {
  freeze({{"cbw-timeout", 1}});
  EXPECT_TRUE(write(600, 100));
  EXPECT_EQ(calls_of(scratch()), (Calls{"try_write 512+512"}));
  EXPECT_TRUE(is_as_it_was(0, kBytes));
}

TEST_F(CopyBeforeWriteTest, DroppedClustersGiveTheirStorageBackAndAreCopiedNoMore) {
  freeze();
  EXPECT_TRUE(write(600, 1));
  calls_of(scratch());
  EXPECT_TRUE(run(access().discard({500, 1100})));
  EXPECT_EQ(calls_of(scratch()), (Calls{"discard 512+1024"}));
  EXPECT_EQ(read_then(512, 1), IoResult(fail(EACCES)));
  EXPECT_EQ(read_then(1535, 2), IoResult(fail(EACCES)));
  EXPECT_TRUE(is_as_it_was(0, 512));
  EXPECT_TRUE(is_as_it_was(1536, 512));
  EXPECT_TRUE(write(1024, 512));
  EXPECT_EQ(calls_of(scratch()), Calls());
}

TEST_F(CopyBeforeWriteTest, ThePointInTimeCannotBeWritten) {
  freeze();
  std::vector<std::byte> bytes(100);
  const iovec vector{bytes.data(), bytes.size()};
  EXPECT_EQ(run(access().write({0, 100}, {&vector, 1}, {})), IoResult(fail(EPERM)));
  EXPECT_EQ(run(access().write_zeroes({0, 100}, {})), IoResult(fail(EPERM)));
  EXPECT_TRUE(run(access().flush()));
  EXPECT_TRUE(is_as_it_was(0, kBytes));
}

TEST_F(CopyBeforeWriteTest, BesideAnotherWriterOfTheFileItHasNoUsers) {
  add(filter());
  auto edge = run(graph_.attach("cbw", {.name = "root", .description = "a client"}, kWriter));
  EXPECT_EQ(edge.error().message(),
            "Permission conflict on node 'disk': permissions 'write' are both required by node 'top' (uses node 'disk' "
            "as 'file' child) and unshared by node 'cbw' (uses node 'disk' as 'file' child).");
  const Result<> access =
      run(graph_.add(options_of({{"driver", "snapshot-access"}, {"node-name", "a"}, {"file", "cbw"}})));
  EXPECT_EQ(access.error().message(), edge.error().message());
}

TEST_F(CopyBeforeWriteTest, ItStaysWhileSomebodyReadsThePointInTime) {
  freeze();
  EXPECT_EQ(reopen(top_on("disk")),
            "Permission conflict on node 'disk': permissions 'write' are both required by node 'top' (uses node 'disk' "
            "as 'file' child) and unshared by node 'cbw' (uses node 'disk' as 'file' child).");
  run(graph_.detach(std::move(reader_)));
  EXPECT_EQ(text_of(run(graph_.remove("access"))), "");
  EXPECT_EQ(reopen(top_on("disk")), "");
  EXPECT_EQ(text_of(run(graph_.remove("cbw"))), "");
}

TEST_F(CopyBeforeWriteTest, OnlyANodeThatKeepsAPointInTimeCanBeAccessed) {
  const Result<> added =
      run(graph_.add(options_of({{"driver", "snapshot-access"}, {"node-name", "a"}, {"file", "top"}})));
  EXPECT_EQ(text_of(added), "Node 'top' keeps no point in time that snapshot-access could show");
}

TEST_F(CopyBeforeWriteTest, AReopenChangesWhatHappensOnErrors) {
  freeze();
  EXPECT_EQ(reopen(filter({{"on-cbw-error", "break-snapshot"}, {"cbw-timeout", 3}})), "");
  const auto& options = static_cast<CopyBeforeWriteDriver&>(graph_.find("cbw")->driver()).options();
  EXPECT_EQ(options.on_error, OnCopyError::kGiveUpPointInTime);
  EXPECT_EQ(options.timeout_ns, 3'000'000'000u);
  scratch().error = EIO;
  EXPECT_TRUE(write(600, 100));
  EXPECT_EQ(read_then(0, 10), IoResult(fail(EACCES)));
}

TEST_F(CopyBeforeWriteTest, AReopenKeepsTheDisksOfThePointInTime) {
  add({{"driver", "null-co"}, {"node-name", "other"}});
  freeze();
  EXPECT_EQ(reopen(filter({{"target", "other"}})), "Cannot change the option 'target'");
  EXPECT_EQ(reopen(filter({{"file", "other"}})), "Cannot make 'other' the file of a copy-before-write node");
  EXPECT_EQ(reopen(filter({{"min-cluster-size", 131072}})), "Cannot change the option 'min-cluster-size'");
  EXPECT_EQ(reopen(filter({{"bitmap", json::Object{{"node", "disk"}, {"name", "b"}}}})),
            "Cannot change the option 'bitmap'");
  EXPECT_TRUE(write(600, 100));
  EXPECT_TRUE(is_as_it_was(0, kBytes));
}

TEST_F(CopyBeforeWriteTest, TheLowerOfTwoStackedFiltersCanGoFirst) {
  add(filter({{"node-name", "lower"}}));
  EXPECT_EQ(reopen(top_on("lower")), "");
  EXPECT_TRUE(write(0, 1));
  frozen_ = disk().bytes;
  add({{"driver", "null-co"}, {"node-name", "scratch2"}});
  freeze({{"file", "lower"}, {"target", "scratch2"}});
  EXPECT_TRUE(write(600, 100));
  EXPECT_EQ(reopen(filter({{"file", "disk"}, {"target", "scratch2"}})), "");
  EXPECT_EQ(text_of(run(graph_.remove("lower"))), "");
  EXPECT_TRUE(write(5, 700));
  EXPECT_TRUE(is_as_it_was(0, kBytes));
}

TEST(CopyBeforeWriteOptionsTest, ClusterSizesHaveARange) {
  auto message_of = [](std::uint64_t min_cluster_bytes) {
    schema::BlockdevOptionsCbw options;
    options.min_cluster_size = min_cluster_bytes;
    auto plain = copy_before_write_options(options);
    return plain ? std::to_string(plain->cluster_bytes) : plain.error().message();
  };
  EXPECT_EQ(message_of(0), "65536");
  EXPECT_EQ(message_of(512), "65536");
  EXPECT_EQ(message_of(1 << 20), "1048576");
  EXPECT_EQ(message_of(std::uint64_t{1} << 31), "2147483648");
  const std::string prefix = "Cannot create block-copy-state: min-cluster-size ";
  EXPECT_EQ(message_of(std::uint64_t{1} << 32), prefix + "too large: 4294967296 > 2147483648");
  EXPECT_EQ(message_of(UINT64_MAX), prefix + "too large: 18446744073709551615 > 9223372036854775807");
  EXPECT_EQ(message_of(3 << 16), prefix + "needs to be a power of 2");
}

}  // namespace
}  // namespace blockexport::drivers

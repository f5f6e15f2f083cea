#include "drivers/blklogwrites/blklogwrites_driver.h"

#include <cstring>
#include <string>

#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"

namespace blockexport::drivers {
namespace {

using block::Edge;
using block::MemoryDriver;
using block::MemoryDriverState;
using block::Node;
using block::Permission;
using block::Permissions;
using block::Range;
using Texts = std::vector<std::string>;

class BlklogwritesDriverTest : public block::ReactorTest {
 protected:
  BlklogwritesDriverTest() { log_state_.grows = true; }

  std::string open(BlklogwritesOptions options = {}) {
    node_.reset();
    auto driver = run(BlklogwritesDriver::open(
        options, std::make_unique<Edge>(file_, block::EdgeParent{.name = "file"}, Permissions{}),
        std::make_unique<Edge>(log_, block::EdgeParent{.name = "log"}, Permissions{})));
    if (!driver) return driver.error().message();
    node_ = std::make_unique<Node>("l", std::move(*driver), block::NodeOptions{.discard = block::DiscardMode::kUnmap});
    return "";
  }
  void TearDown() override { node_.reset(); }

  IoResult write(std::uint64_t offset, std::string bytes, block::WriteOptions options = {}) {
    iovec vector{bytes.data(), bytes.size()};
    return run(node_->write({offset, bytes.size()}, block::IoBuffers(&vector, 1), options));
  }
  void set_log(std::uint64_t offset, std::string_view bytes) {
    if (log_state_.bytes.size() < offset + bytes.size()) log_state_.bytes.resize(offset + bytes.size());
    std::memcpy(log_state_.bytes.data() + offset, bytes.data(), bytes.size());
  }
  // The super block's number of entries; -1 without one.
  std::int64_t counted() {
    if (log_state_.bytes.size() < kLogSuperBytes) return -1;
    const Result<LogSuper> super = parse_log_super(log_state_.bytes);
    return super ? static_cast<std::int64_t>(super->entries) : -1;
  }
  // Entries up to the end of the log: "0+1 a" for a write of one sector that begins with that byte, "flush",
  // "discard 1+2".
  Texts entries(std::uint32_t sector_bytes = kLogSectorBytesDefault) {
    Texts found;
    for (std::uint64_t at = sector_bytes; at + kLogEntryBytes <= log_state_.bytes.size();) {
      const Result<LogEntry> entry = parse_log_entry(std::span(log_state_.bytes).subspan(at), found.size());
      if (!entry) return {entry.error().message()};
      at += sector_bytes;
      const std::string place = std::to_string(entry->sector) + "+" + std::to_string(entry->sectors);
      if (entry->flags == kLogFlush) {
        found.push_back("flush");
      } else if (entry->flags == kLogDiscard) {
        found.push_back("discard " + place);
      } else {
        EXPECT_EQ(entry->flags, 0u);
        const char first = static_cast<char>(log_state_.bytes[at]);
        found.push_back(place + " " + (first == '\0' ? std::string("0") : std::string(1, first)));
        at += entry->sectors * sector_bytes;
      }
    }
    return found;
  }

  MemoryDriverState file_state_{4096};
  MemoryDriverState log_state_{0};
  Node file_{"file", std::make_unique<MemoryDriver>(file_state_), {.discard = block::DiscardMode::kUnmap}};
  Node log_{"log", std::make_unique<MemoryDriver>(log_state_)};
  std::unique_ptr<Node> node_;
};

TEST_F(BlklogwritesDriverTest, LogsEachChangeAfterTheFile) {
  ASSERT_EQ(open(), "");
  EXPECT_TRUE(write(512, std::string(1024, 'a')));
  EXPECT_TRUE(run(node_->write_zeroes({0, 512}, {.may_unmap = true})));
  EXPECT_TRUE(run(node_->discard({1024, 1024})));
  EXPECT_EQ(counted(), -1);
  EXPECT_TRUE(run(node_->flush()));
  EXPECT_EQ(entries(), (Texts{"1+2 a", "0+1 0", "discard 2+2", "flush"}));
  EXPECT_EQ(counted(), 4);
  EXPECT_EQ(file_state_.calls, (Texts{"write 512+1024", "write_zeroes 0+512 unmap", "discard 1024+1024", "flush"}));
  EXPECT_EQ(log_state_.calls.back(), "flush");
}

TEST_F(BlklogwritesDriverTest, ADurableWriteIsAWriteAndAFlush) {
  ASSERT_EQ(open(), "");
  EXPECT_TRUE(write(0, std::string(512, 'a'), {.force_unit_access = true}));
  EXPECT_TRUE(run(node_->write_zeroes({0, 512}, {.force_unit_access = true})));
  EXPECT_EQ(entries(), (Texts{"0+1 a", "flush", "0+1 0", "flush"}));
  EXPECT_EQ(file_state_.calls, (Texts{"write 0+512", "flush", "write_zeroes 0+512", "flush"}));
}

TEST_F(BlklogwritesDriverTest, LogsWholeSectors) {
  ASSERT_EQ(open({.sector_bytes = 1024}), "");
  EXPECT_EQ(node_->limits().request_alignment, 1024u);
  EXPECT_TRUE(write(1100, "x"));
  EXPECT_TRUE(run(node_->flush()));
  EXPECT_EQ(entries(1024), (Texts{"1+1 0", "flush"}));
  EXPECT_EQ(log_state_.bytes[2048 + 76], std::byte{'x'});
}

TEST_F(BlklogwritesDriverTest, TheLastSectorMayEndAfterTheFile) {
  file_state_.bytes.resize(700);
  ASSERT_EQ(open(), "");
  EXPECT_TRUE(write(512, std::string(188, 'a')));
  EXPECT_EQ(entries(), (Texts{"1+1 a"}));
  EXPECT_EQ(file_state_.calls.back(), "write 512+188");
  std::string bytes(188, '?');
  iovec vector{bytes.data(), bytes.size()};
  EXPECT_TRUE(run(node_->read({512, 188}, block::IoBuffers(&vector, 1))));
  EXPECT_EQ(bytes, std::string(188, 'a'));
}

TEST_F(BlklogwritesDriverTest, WritesPastTheEndMakeTheFileLarger) {
  file_state_.grows = true;
  ASSERT_EQ(open(), "");
  EXPECT_TRUE(write(8192, std::string(512, 'a'), {.may_grow = true}));
  EXPECT_EQ(file_state_.bytes.size(), 8704u);
  EXPECT_EQ(entries(), (Texts{"16+1 a"}));
}

TEST_F(BlklogwritesDriverTest, WritesTheSuperBlockAfterSoManyEntries) {
  ASSERT_EQ(open({.super_interval = 2}), "");
  EXPECT_TRUE(write(0, std::string(512, 'a')));
  EXPECT_EQ(counted(), -1);
  EXPECT_TRUE(write(0, std::string(512, 'b')));
  EXPECT_EQ(counted(), 2);
  EXPECT_TRUE(write(0, std::string(512, 'c')));
  EXPECT_EQ(counted(), 2);
}

TEST_F(BlklogwritesDriverTest, ContinuesALog) {
  ASSERT_EQ(open({.sector_bytes = 1024}), "");
  EXPECT_TRUE(write(0, std::string(1024, 'a')));
  EXPECT_TRUE(run(node_->discard({1024, 2048})));
  EXPECT_TRUE(run(node_->flush()));
  ASSERT_EQ(open({.append = true}), "");
  EXPECT_TRUE(write(0, std::string(1024, 'b')));
  EXPECT_TRUE(run(node_->flush()));
  EXPECT_EQ(entries(1024), (Texts{"0+1 a", "discard 1+2", "flush", "0+1 b", "flush"}));
  EXPECT_EQ(counted(), 5);
}

TEST_F(BlklogwritesDriverTest, ContinuesALogWithMoreEntriesThanOneReadTakes) {
  ASSERT_EQ(open({.sector_bytes = 32}), "");
  constexpr int kWrites = 1500;
  for (int i = 0; i < kWrites; ++i) ASSERT_TRUE(write(0, std::string(64, 'a')));
  ASSERT_TRUE(run(node_->flush()));
  ASSERT_EQ(open({.append = true}), "");
  ASSERT_TRUE(run(node_->driver().flush()));
  EXPECT_EQ(counted(), kWrites + 2);
  const Texts found = entries(32);
  ASSERT_EQ(found.size(), std::size_t{kWrites + 2});
  EXPECT_EQ(found.back(), "flush");
}

TEST_F(BlklogwritesDriverTest, BeginsAnEmptyLogThatIsContinued) {
  ASSERT_EQ(open({.append = true}), "");
  EXPECT_TRUE(write(0, std::string(512, 'a')));
  EXPECT_TRUE(run(node_->flush()));
  EXPECT_EQ(entries(), (Texts{"0+1 a", "flush"}));
}

TEST_F(BlklogwritesDriverTest, RefusesWrongLogsAndOptions) {
  EXPECT_EQ(open({.sector_bytes = 500}), "Invalid log sector size 500");
  EXPECT_EQ(open({.super_interval = 0}), "Invalid log superblock update interval 0");
  set_log(0, std::string(20, 'x'));
  EXPECT_EQ(open({.append = true}), "Invalid log superblock magic");
  std::vector<std::byte> super(512);
  write_log_super({2, 512}, super);
  log_state_.bytes = super;
  EXPECT_EQ(open({.append = true}), "Failed to read log entry 0");
  // A file that is cut within its super block reads as one with zeros behind it.
  log_state_.bytes.resize(20);
  EXPECT_EQ(open({.append = true}), "Invalid log sector size 0");
  log_state_.bytes = super;
  log_state_.error = EIO;
  EXPECT_EQ(open({.append = true}), "Could not read log superblock: Input/output error");
}

TEST_F(BlklogwritesDriverTest, AFailedChangeOfTheFileIsNotLogged) {
  ASSERT_EQ(open(), "");
  file_state_.error = ENOSPC;
  EXPECT_EQ(write(0, std::string(512, 'a')), IoResult(fail(ENOSPC)));
  EXPECT_EQ(run(node_->write_zeroes({0, 512}, {})), IoResult(fail(ENOSPC)));
  EXPECT_EQ(run(node_->discard({0, 512})), IoResult(fail(ENOSPC)));
  EXPECT_EQ(run(node_->flush()), IoResult(fail(ENOSPC)));
  EXPECT_TRUE(log_state_.calls.empty());
}

// Whichever write of the log fails, its request fails, and the log can be read to its end.
TEST_F(BlklogwritesDriverTest, AFailedEntryLeavesItsPlaceToTheNextOne) {
  ASSERT_EQ(open(), "");
  EXPECT_TRUE(write(0, std::string(512, 'a')));
  log_state_.error = EIO;
  EXPECT_EQ(write(0, std::string(1024, 'b')), IoResult(fail(EIO)));
  EXPECT_EQ(run(node_->write_zeroes({0, 512}, {})), IoResult(fail(EIO)));
  EXPECT_EQ(run(node_->discard({0, 512})), IoResult(fail(EIO)));
  EXPECT_EQ(run(node_->flush()), IoResult(fail(EIO)));
  log_state_.error = 0;
  EXPECT_TRUE(write(512, std::string(512, 'c')));
  EXPECT_TRUE(run(node_->flush()));
  EXPECT_EQ(entries(), (Texts{"0+1 a", "1+1 c", "flush"}));
  EXPECT_EQ(counted(), 3);
}

TEST_F(BlklogwritesDriverTest, FastZeroesAreRefusedWithoutAChange) {
  file_state_.fast_zeroes = true;
  ASSERT_EQ(open(), "");
  EXPECT_EQ(run(node_->write_zeroes({0, 512}, {.no_fallback = true})), IoResult(fail(ENOTSUP)));
  EXPECT_TRUE(file_state_.calls.empty());
}

TEST_F(BlklogwritesDriverTest, ReadsAreThoseOfTheFile) {
  file_state_.shares = true;
  ASSERT_EQ(open(), "");
  char byte[512];
  iovec vector{byte, 512};
  const block::IoBuffers buffers(&vector, 1);
  EXPECT_TRUE(node_->try_read(reactor(), {0, 512}, buffers));
  EXPECT_EQ(node_->try_write(reactor(), {0, 512}, buffers), IoResult(fail(EAGAIN)));
  EXPECT_TRUE(run(node_->read({512, 512}, buffers)));
  EXPECT_TRUE(run(node_->prefetch({0, 512})));
  block::Extents extents;
  EXPECT_TRUE(run(node_->extents({0, 1024}, extents)));
  EXPECT_EQ(extents, (block::Extents{{.length = 1024, .data = true}}));
  EXPECT_TRUE(node_->try_share(reactor(), {512, 512}));
  EXPECT_EQ(run(node_->driver().locate({7, 1}))->offset, 7u);
  EXPECT_TRUE(log_state_.calls.empty());
}

TEST_F(BlklogwritesDriverTest, NobodyElseWritesTheLog) {
  ASSERT_EQ(open(), "");
  const std::vector<Edge*> children = node_->driver().children();
  const Permissions own{.used = Permission::kConsistentRead, .shared = block::PermissionSet::all()};
  const Permissions log = node_->driver().child_permissions(*children[0], own, false);
  EXPECT_EQ(log.used, Permission::kConsistentRead | Permission::kWrite | Permission::kResize);
  EXPECT_EQ(log.shared, Permission::kConsistentRead | Permission::kWriteUnchanged);
  EXPECT_EQ(node_->driver().child_permissions(*children[0], own, true).used, Permission::kConsistentRead);
  EXPECT_EQ(node_->driver().child_permissions(*children[1], own, false), own);
}

}  // namespace
}  // namespace blockexport::drivers

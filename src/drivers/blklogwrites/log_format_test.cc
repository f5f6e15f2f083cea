#include "drivers/blklogwrites/log_format.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace blockexport::drivers {
namespace {

using Bytes = std::vector<std::byte>;

Bytes entry_bytes(const LogEntry& entry) {
  Bytes bytes(kLogEntryBytes);
  write_log_entry(entry, bytes);
  return bytes;
}

Bytes super_bytes(std::uint64_t entries, std::uint32_t sector_bytes) {
  Bytes bytes(kLogSuperBytes);
  write_log_super({entries, sector_bytes}, bytes);
  return bytes;
}

std::string message_of(const Result<LogSuper>& result) {
  return result ? "" : result.error().message();
}
std::string message_of(const Result<>& result) {
  return result ? "" : result.error().message();
}

TEST(LogFormatTest, SuperBlockIsLittleEndian) {
  const Bytes bytes = super_bytes(0x0102, 4096);
  EXPECT_EQ(bytes[0], std::byte{0x72});
  EXPECT_EQ(bytes[6], std::byte{0x6a});
  EXPECT_EQ(bytes[8], std::byte{1});
  EXPECT_EQ(bytes[16], std::byte{2});
  EXPECT_EQ(bytes[17], std::byte{1});
  EXPECT_EQ(bytes[25], std::byte{0x10});
  const Result<LogSuper> super = parse_log_super(bytes);
  ASSERT_TRUE(super);
  EXPECT_EQ(*super, (LogSuper{0x0102, 4096}));
}

TEST(LogFormatTest, EntryHasFourNumbers) {
  const LogEntry entry{.sector = 1, .sectors = 2, .flags = kLogFlush | kLogMark, .data_bytes = 3};
  const Bytes bytes = entry_bytes(entry);
  EXPECT_EQ(bytes[0], std::byte{1});
  EXPECT_EQ(bytes[8], std::byte{2});
  EXPECT_EQ(bytes[16], std::byte{9});
  EXPECT_EQ(bytes[24], std::byte{3});
  EXPECT_EQ(parse_log_entry(bytes, 0).value(), entry);
}

TEST(LogFormatTest, RefusesOtherFiles) {
  Bytes bytes = super_bytes(0, 512);
  bytes[0] = std::byte{0};
  EXPECT_EQ(message_of(parse_log_super(bytes)), "Invalid log superblock magic");
  bytes = super_bytes(0, 512);
  bytes[8] = std::byte{2};
  EXPECT_EQ(message_of(parse_log_super(bytes)), "Unsupported log version 2");
  EXPECT_EQ(message_of(parse_log_super(super_bytes(0, 513))), "Invalid log sector size 513");
  EXPECT_EQ(message_of(parse_log_super(super_bytes(0, 16))), "Invalid log sector size 16");
  EXPECT_EQ(message_of(parse_log_super(super_bytes(0, 131072))), "Invalid log sector size 131072");
  EXPECT_EQ(message_of(parse_log_super(super_bytes(0, 65536))), "");
  EXPECT_EQ(parse_log_entry(entry_bytes({.flags = 0x10}), 7).error().message(), "Invalid flags 0x10 in log entry 7");
}

TEST(LogScanTest, EntriesFollowTheDataOfTheFormerOnes) {
  Result<LogScan> scan = LogScan::create({3, 512}, 512 * 7);
  ASSERT_TRUE(scan);
  EXPECT_EQ(scan->offset(), 512u);
  ASSERT_TRUE(scan->take(entry_bytes({.sectors = 2})));
  EXPECT_EQ(scan->offset(), 2048u);
  ASSERT_TRUE(scan->take(entry_bytes({.sectors = 1000, .flags = kLogDiscard})));
  EXPECT_EQ(scan->offset(), 2560u);
  ASSERT_TRUE(scan->take(entry_bytes({.sectors = 1})));
  EXPECT_EQ(scan->offset(), 3584u);
  EXPECT_TRUE(scan->is_done());
}

TEST(LogScanTest, TheLastSectorMayBeCut) {
  Result<LogScan> scan = LogScan::create({1, 512}, 512 + kLogEntryBytes);
  ASSERT_TRUE(scan);
  ASSERT_TRUE(scan->take(entry_bytes({.flags = kLogFlush})));
  EXPECT_EQ(scan->offset(), 1024u);
}

TEST(LogScanTest, RefusesEntriesAfterTheEndOfTheLog) {
  EXPECT_EQ(message_of(LogScan::create({1, 512}, 543) ? Result<>() : fail("short")), "short");
  Result<LogScan> scan = LogScan::create({2, 512}, 1024);
  ASSERT_TRUE(scan);
  EXPECT_EQ(message_of(scan->take(entry_bytes({}))), "Failed to read log entry 1");
}

TEST(LogScanTest, RefusesDataAfterTheEndOfTheLog) {
  for (const std::uint64_t sectors :
       {std::uint64_t{2}, std::uint64_t{1} << 55, std::uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 1}) {
    Result<LogScan> scan = LogScan::create({1, 512}, 512 * 3);
    ASSERT_TRUE(scan);
    EXPECT_EQ(message_of(scan->take(entry_bytes({.sectors = sectors}))), "Invalid size of log entry 0") << sectors;
  }
}

TEST(LogScanTest, LimitsTheNumberOfEntries) {
  EXPECT_TRUE(LogScan::create({kLogEntriesMax, 512}, UINT64_MAX / 2));
  EXPECT_FALSE(LogScan::create({kLogEntriesMax + 1, 512}, UINT64_MAX / 2));
}

}  // namespace
}  // namespace blockexport::drivers

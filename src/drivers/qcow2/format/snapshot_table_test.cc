#include "drivers/qcow2/format/snapshot_table.h"

#include <gtest/gtest.h>

#include <random>

namespace blockexport::drivers::qcow2 {
namespace {

Header header_with(std::uint32_t snapshots) {
  return {.size_bytes = 1u << 20, .snapshots = snapshots};
}

std::vector<Snapshot> two_snapshots() {
  Snapshot first{.l1_offset = 65536,
                 .l1_entries = 3,
                 .id = "1",
                 .name = "before",
                 .date_seconds = 5,
                 .date_nanoseconds = 6,
                 .vm_clock_ns = 7,
                 .vm_state_bytes = std::uint64_t{1} << 40,
                 .disk_bytes = 1u << 19,
                 .instruction_count = 9};
  Snapshot second = first;
  second.id = "22";
  second.extra_bytes = 31;
  second.unknown_extra.assign(7, std::byte{3});
  return {first, second};
}

TEST(Qcow2SnapshotTableTest, ATableIsReadAsItWasWritten) {
  const std::vector<Snapshot> snapshots = two_snapshots();
  const std::vector<std::byte> bytes = encode_snapshot_table(snapshots);
  const auto parsed = parse_snapshot_table(header_with(2), bytes);
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_EQ(parsed->snapshots, snapshots);
  EXPECT_EQ(parsed->table_bytes, bytes.size());
  EXPECT_EQ(parse_snapshot_table(header_with(0), {}).value(), SnapshotTable());
}

TEST(Qcow2SnapshotTableTest, OldEntriesHaveTheDefaultsOfTheirTime) {
  Snapshot old = two_snapshots()[0];
  old.extra_bytes = 0;
  old.vm_state_bytes = 4096;
  std::vector<std::byte> bytes = encode_snapshot_table({&old, 1});
  auto parsed = parse_snapshot_table(header_with(1), bytes);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->snapshots[0].vm_state_bytes, 4096u);
  EXPECT_EQ(parsed->snapshots[0].disk_bytes, 1u << 20);
  EXPECT_EQ(parsed->snapshots[0].instruction_count, kNoInstructionCount);
  old.extra_bytes = 20;  // a part of a field is unknown data
  old.unknown_extra.assign(4, std::byte{9});
  bytes = encode_snapshot_table({&old, 1});
  parsed = parse_snapshot_table(header_with(1), bytes);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->snapshots[0].disk_bytes, 1u << 19);
  EXPECT_EQ(encode_snapshot_table(parsed->snapshots), bytes);
}

TEST(Qcow2SnapshotTableTest, ATableThatIsCutOffIsNotWhole) {
  const std::vector<std::byte> bytes = encode_snapshot_table(two_snapshots());
  for (std::size_t cut = 0; cut < bytes.size(); cut++) {
    const auto part = std::span(bytes).first(cut);
    ASSERT_FALSE(has_whole_snapshot_table(header_with(2), part)) << cut;
    ASSERT_EQ(parse_snapshot_table(header_with(2), part).error().message(), "Failed to read snapshot table");
  }
  EXPECT_TRUE(has_whole_snapshot_table(header_with(2), bytes));
  EXPECT_LE(snapshot_table_bytes_min(header_with(2)), bytes.size());
  EXPECT_GE(snapshot_table_bytes_max(header_with(2)), bytes.size());
  EXPECT_EQ(snapshot_table_bytes_max(header_with(65536)), kSnapshotTableBytesMax);
}

TEST(Qcow2SnapshotTableTest, TooMuchExtraDataIsRefused) {
  Snapshot large = two_snapshots()[0];
  large.extra_bytes = 1025;
  large.unknown_extra.resize(1025 - 24);
  const auto parsed = parse_snapshot_table(header_with(1), encode_snapshot_table({&large, 1}));
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().message(), "Too much extra metadata in snapshot table entry 0");
}

TEST(Qcow2SnapshotTableTest, ATableThatIsTooLargeIsRefused) {
  Snapshot large = two_snapshots()[0];
  large.id.assign(UINT16_MAX, 'i');
  large.name.assign(UINT16_MAX, 'n');
  const std::vector<Snapshot> many(520, large);
  const auto parsed = parse_snapshot_table(header_with(520), encode_snapshot_table(many));
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().message(), "Snapshot table is too big");
}

TEST(Qcow2SnapshotTableTest, NoBytesBreakTheParser) {
  std::mt19937 random(3);
  const std::vector<std::byte> sound = encode_snapshot_table(two_snapshots());
  for (int round = 0; round < 20000; round++) {
    std::vector<std::byte> bytes = sound;
    for (unsigned flips = random() % 4; flips > 0; flips--)
      bytes[random() % bytes.size()] ^= std::byte(1 << random() % 8);
    const Header header = header_with(static_cast<std::uint32_t>(random() % 4));
    const auto parsed = parse_snapshot_table(header, bytes);
    ASSERT_TRUE(!parsed || has_whole_snapshot_table(header, bytes));
    if (!parsed) continue;
    ASSERT_EQ(parsed->snapshots.size(), header.snapshots);
    ASSERT_EQ(parse_snapshot_table(header, encode_snapshot_table(parsed->snapshots)).value().snapshots,
              parsed->snapshots);
  }
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

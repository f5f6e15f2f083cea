#include "drivers/qcow2/format/snapshot_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>

#include "base/byte_reader.h"
#include "base/byte_writer.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint64_t kHeadBytes = 40;
constexpr std::uint32_t kKnownExtraBytes = 24;
constexpr std::uint64_t kEntryBytesMax = kHeadBytes + kSnapshotExtraBytesMax + 2 * std::uint64_t{UINT16_MAX};
constexpr std::size_t kIdLengthOffset = 12;
constexpr std::size_t kExtraLengthOffset = 36;

constexpr std::uint64_t padded(std::uint64_t bytes) {
  return (bytes + 7) & ~std::uint64_t{7};
}

// Lengths of the parts of the entry that `bytes` begins with, which has the head.
struct EntryLengths {
  std::uint64_t id = 0;
  std::uint64_t name = 0;
  std::uint64_t extra = 0;
  std::uint64_t all() const { return kHeadBytes + extra + id + name; }
};

EntryLengths lengths_of(Bytes bytes) {
  ByteReader lengths(bytes.subspan(kIdLengthOffset));
  EntryLengths result{.id = lengths.u16()};
  result.name = lengths.u16();
  ByteReader extra(bytes.subspan(kExtraLengthOffset));
  result.extra = extra.u32();
  return result;
}

// Length of the known fields that extra data of that length have as a whole.
std::size_t known_bytes_of(std::size_t extra_bytes) {
  return std::min<std::size_t>(kKnownExtraBytes, extra_bytes - extra_bytes % 8);
}

// Overwrites the fields that the extra data have, in their order, which is also that of their age.
void read_extra(Snapshot& snapshot, Bytes extra) {
  ByteReader reader(extra);
  if (extra.size() >= 8) snapshot.vm_state_bytes = reader.u64();
  if (extra.size() >= 16) snapshot.disk_bytes = reader.u64();
  if (extra.size() >= 24) snapshot.instruction_count = reader.u64();
  const Bytes unknown = extra.subspan(known_bytes_of(extra.size()));
  snapshot.unknown_extra.assign(unknown.begin(), unknown.end());
}

Snapshot read_entry(const Header& header, Bytes entry, const EntryLengths& lengths) {
  ByteReader reader(entry);
  Snapshot snapshot;
  snapshot.l1_offset = reader.u64();
  snapshot.l1_entries = reader.u32();
  reader.u32();  // the two lengths
  snapshot.date_seconds = reader.u32();
  snapshot.date_nanoseconds = reader.u32();
  snapshot.vm_clock_ns = reader.u64();
  snapshot.vm_state_bytes = reader.u32();
  snapshot.disk_bytes = header.disk_bytes();
  snapshot.extra_bytes = reader.u32();
  read_extra(snapshot, reader.bytes(static_cast<std::size_t>(lengths.extra)));
  snapshot.id = reader.text(static_cast<std::size_t>(lengths.id));
  snapshot.name = reader.text(static_cast<std::size_t>(lengths.name));
  return snapshot;
}

}  // namespace

std::uint64_t snapshot_table_bytes_min(const Header& header) {
  return header.snapshots * kHeadBytes;
}

std::uint64_t snapshot_table_bytes_max(const Header& header) {
  return std::min(kSnapshotTableBytesMax, header.snapshots * padded(kEntryBytesMax));
}

bool has_whole_snapshot_table(const Header& header, Bytes bytes) {
  std::uint64_t offset = 0;
  for (std::uint32_t i = 0; i < header.snapshots; i++) {
    offset = padded(offset);
    if (offset > bytes.size() || bytes.size() - offset < kHeadBytes) return false;
    offset += lengths_of(bytes.subspan(static_cast<std::size_t>(offset))).all();
    if (offset > bytes.size()) return false;
  }
  return true;
}

Result<SnapshotTable> parse_snapshot_table(const Header& header, Bytes bytes) {
  SnapshotTable table;
  for (std::uint32_t i = 0; i < header.snapshots; i++) {
    const std::uint64_t offset = padded(table.table_bytes);
    if (offset > bytes.size() || bytes.size() - offset < kHeadBytes) {
      if (offset > kSnapshotTableBytesMax - kHeadBytes) return fail("Snapshot table is too big");
      return fail("Failed to read snapshot table");
    }
    const Bytes entry = bytes.subspan(static_cast<std::size_t>(offset));
    const EntryLengths lengths = lengths_of(entry);
    if (lengths.extra > kSnapshotExtraBytesMax) {
      return fail(Error(fmt::format("Too much extra metadata in snapshot table entry {}", i))
                      .with_hint("You can force-remove this extra metadata with qemu-img check -r all"));
    }
    if (offset + lengths.all() > kSnapshotTableBytesMax) return fail("Snapshot table is too big");
    if (lengths.all() > entry.size()) return fail("Failed to read snapshot table");
    table.snapshots.push_back(read_entry(header, entry, lengths));
    table.table_bytes = offset + lengths.all();
  }
  return table;
}

std::vector<std::byte> encode_snapshot_table(std::span<const Snapshot> snapshots) {
  std::uint64_t bytes = 0;
  for (const Snapshot& one : snapshots) {
    bytes = padded(bytes) + kHeadBytes + one.extra_bytes + one.id.size() + one.name.size();
  }
  std::vector<std::byte> result(static_cast<std::size_t>(bytes));
  std::uint64_t offset = 0;
  for (const Snapshot& one : snapshots) {
    assert(one.id.size() <= UINT16_MAX && one.name.size() <= UINT16_MAX);
    offset = padded(offset);
    ByteWriter writer(std::span(result).subspan(static_cast<std::size_t>(offset)));
    writer.u64(one.l1_offset);
    writer.u32(one.l1_entries);
    writer.u16(static_cast<std::uint16_t>(one.id.size()));
    writer.u16(static_cast<std::uint16_t>(one.name.size()));
    writer.u32(one.date_seconds);
    writer.u32(one.date_nanoseconds);
    writer.u64(one.vm_clock_ns);
    // A program that knows only this field takes a snapshot with a larger state for one without a state.
    writer.u32(one.vm_state_bytes <= UINT32_MAX ? static_cast<std::uint32_t>(one.vm_state_bytes) : 0);
    writer.u32(one.extra_bytes);
    std::array<std::byte, kKnownExtraBytes> known{};
    ByteWriter extra(known);
    extra.u64(one.vm_state_bytes);
    extra.u64(one.disk_bytes);
    extra.u64(one.instruction_count);
    writer.bytes(std::span(known).first(known_bytes_of(one.extra_bytes)));
    writer.bytes(one.unknown_extra);
    writer.text(one.id);
    writer.text(one.name);
    offset += writer.written().size();
  }
  return result;
}

}  // namespace blockexport::drivers::qcow2

#include "drivers/blklogwrites/log_format.h"

#include <fmt/format.h>

#include <bit>
#include <cassert>

#include "base/byte_reader.h"
#include "base/byte_writer.h"

namespace blockexport::drivers {
namespace {

// The reader and the writer are for big-endian numbers.
std::uint64_t little_u64(ByteReader& reader) {
  return std::byteswap(reader.u64());
}
std::uint32_t little_u32(ByteReader& reader) {
  return std::byteswap(reader.u32());
}

}  // namespace

Result<> check_log_sector(std::uint64_t bytes) {
  if (std::has_single_bit(bytes) && bytes >= kLogSectorBytesMin && bytes <= kLogSectorBytesMax) return {};
  return fail(
      Error(fmt::format("Invalid log sector size {}", bytes))
          .with_hint(fmt::format("It is a power of two from {} to {} bytes.", kLogSectorBytesMin, kLogSectorBytesMax)));
}

Result<LogSuper> parse_log_super(std::span<const std::byte> bytes) {
  assert(bytes.size() >= kLogSuperBytes);
  ByteReader reader(bytes);
  const std::uint64_t magic = little_u64(reader);
  const std::uint64_t version = little_u64(reader);
  LogSuper super;
  super.entries = little_u64(reader);
  super.sector_bytes = little_u32(reader);
  if (magic != kLogMagic) return fail("Invalid log superblock magic");
  if (version != kLogVersion) return fail(fmt::format("Unsupported log version {}", version));
  TRY(check_log_sector(super.sector_bytes));
  return super;
}

void write_log_super(const LogSuper& super, std::span<std::byte> bytes) {
  ByteWriter writer(bytes);
  writer.u64(std::byteswap(kLogMagic));
  writer.u64(std::byteswap(kLogVersion));
  writer.u64(std::byteswap(super.entries));
  writer.u32(std::byteswap(super.sector_bytes));
}

Result<LogEntry> parse_log_entry(std::span<const std::byte> bytes, std::uint64_t index) {
  assert(bytes.size() >= kLogEntryBytes);
  ByteReader reader(bytes);
  LogEntry entry;
  entry.sector = little_u64(reader);
  entry.sectors = little_u64(reader);
  entry.flags = little_u64(reader);
  entry.data_bytes = little_u64(reader);
  if ((entry.flags & ~kLogFlags) != 0) {
    return fail(fmt::format("Invalid flags {:#x} in log entry {}", entry.flags, index));
  }
  return entry;
}

void write_log_entry(const LogEntry& entry, std::span<std::byte> bytes) {
  ByteWriter writer(bytes);
  writer.u64(std::byteswap(entry.sector));
  writer.u64(std::byteswap(entry.sectors));
  writer.u64(std::byteswap(entry.flags));
  writer.u64(std::byteswap(entry.data_bytes));
}

Result<LogScan> LogScan::create(const LogSuper& super, std::uint64_t log_bytes) {
  if (super.entries > kLogEntriesMax) {
    return fail(Error(fmt::format("Log has too many entries: {}", super.entries))
                    .with_hint(fmt::format("A log with up to {} entries can be continued.", kLogEntriesMax)));
  }
  LogScan scan(super, log_bytes);
  TRY(scan.check_place());
  return scan;
}

Result<> LogScan::check_place() const {
  if (is_done() || (offset_ <= log_bytes_ && log_bytes_ - offset_ >= kLogEntryBytes)) return {};
  return fail(Error(fmt::format("Failed to read log entry {}", index_)).with_hint("The log ends before it."));
}

Result<> LogScan::take(std::span<const std::byte> bytes) {
  assert(!is_done());
  TRY_ASSIGN(const LogEntry entry, parse_log_entry(bytes, index_));
  const std::uint64_t shift = static_cast<std::uint64_t>(std::countr_zero(super_.sector_bytes));
  const std::uint64_t data_sectors = (entry.flags & kLogDiscard) != 0 ? 0 : entry.sectors;
  const std::uint64_t left_bytes = log_bytes_ - offset_;
  // The last sector of a log may be cut: what is left of it has no data.
  const std::uint64_t left_sectors = (left_bytes >> shift) + ((left_bytes & (super_.sector_bytes - 1)) != 0 ? 1 : 0);
  if (data_sectors >= left_sectors && data_sectors != 0) {
    return fail(Error(fmt::format("Invalid size of log entry {}", index_))
                    .with_hint(fmt::format("Its {} sectors of data end after the log.", data_sectors)));
  }
  offset_ += (data_sectors + 1) << shift;
  index_++;
  return check_place();
}

}  // namespace blockexport::drivers

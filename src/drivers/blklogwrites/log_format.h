// The log of writes: its super block, its entries, and the scan of a log that is continued.
//
// The format is that of dm-log-writes (Linux, drivers/md/dm-log-writes.c), of which qemu-storage-daemon writes a part.
// All numbers are little-endian. Sector 0 of the log has the super block, and entries follow: each has a sector of its
// own and then the data of the write, in whole sectors. Logs are untrusted. Pure functions and plain values; any
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"

namespace blockexport::drivers {

inline constexpr std::uint64_t kLogMagic = 0x6a736677736872;
inline constexpr std::uint64_t kLogVersion = 1;
inline constexpr std::size_t kLogSuperBytes = 28;
inline constexpr std::size_t kLogEntryBytes = 32;
// A sector has room for a super block and an entry, and is an alignment that a node can have (block/io.h). The format
// allows sectors of up to 8 MiB.
inline constexpr std::uint64_t kLogSectorBytesMin = 32;
inline constexpr std::uint64_t kLogSectorBytesMax = 65536;
inline constexpr std::uint32_t kLogSectorBytesDefault = 512;
// Entries of a log that is continued: opening it reads each of them.
inline constexpr std::uint64_t kLogEntriesMax = 64u << 20;

// Flags of an entry.
inline constexpr std::uint64_t kLogFlush = 1;
inline constexpr std::uint64_t kLogForceUnitAccess = 2;
inline constexpr std::uint64_t kLogDiscard = 4;
inline constexpr std::uint64_t kLogMark = 8;
inline constexpr std::uint64_t kLogFlags = kLogFlush | kLogForceUnitAccess | kLogDiscard | kLogMark;

struct LogSuper {
  std::uint64_t entries = 0;
  std::uint32_t sector_bytes = kLogSectorBytesDefault;

  friend bool operator==(const LogSuper&, const LogSuper&) = default;
};

struct LogEntry {
  std::uint64_t sector = 0;
  std::uint64_t sectors = 0;
  std::uint64_t flags = 0;
  std::uint64_t data_bytes = 0;  // of a mark; this program writes none

  friend bool operator==(const LogEntry&, const LogEntry&) = default;
};

// Returns true if `bytes` is a power of two within the limits.
Result<> check_log_sector(std::uint64_t bytes);

// `bytes`: the first bytes of the log, at least kLogSuperBytes.
Result<LogSuper> parse_log_super(std::span<const std::byte> bytes);
void write_log_super(const LogSuper& super, std::span<std::byte> bytes);

// `bytes`: those of the entry, at least kLogEntryBytes. `index`: its number, for messages.
Result<LogEntry> parse_log_entry(std::span<const std::byte> bytes, std::uint64_t index);
void write_log_entry(const LogEntry& entry, std::span<std::byte> bytes);

// Finds the end of a log. The caller reads the entry at offset() and calls take(), until is_done().
class LogScan {
 public:
  // `log_bytes`: size of the log. Fails when the log cannot have so many entries.
  static Result<LogScan> create(const LogSuper& super, std::uint64_t log_bytes);

  bool is_done() const { return index_ == super_.entries; }
  // Of the next entry, whose bytes lie in the log; when all are taken, of the end.
  std::uint64_t offset() const { return offset_; }
  std::uint64_t index() const { return index_; }
  Result<> take(std::span<const std::byte> bytes);

 private:
  LogScan(const LogSuper& super, std::uint64_t log_bytes)
      : super_(super), log_bytes_(log_bytes), offset_(super.sector_bytes) {}
  Result<> check_place() const;

  LogSuper super_;
  std::uint64_t log_bytes_;
  std::uint64_t offset_;
  std::uint64_t index_ = 0;
};

}  // namespace blockexport::drivers

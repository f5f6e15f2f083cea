// A log of writes that blklogwrites continues: the end of its entries lies behind all of them, and the scan ends.
#include <algorithm>
#include <cstdlib>
#include <span>

#include "drivers/blklogwrites/log_format.h"

namespace drivers = blockexport::drivers;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> log(reinterpret_cast<const std::byte*>(data), size);
  if (log.size() < drivers::kLogSuperBytes) return 0;
  const auto super = drivers::parse_log_super(log);
  if (!super) return 0;
  auto scan = drivers::LogScan::create(*super, log.size());
  if (!scan) return 0;
  while (!scan->is_done()) {
    const std::uint64_t before = scan->offset();
    if (before > log.size() || log.size() - before < drivers::kLogEntryBytes) std::abort();
    if (!scan->take(log.subspan(before, drivers::kLogEntryBytes))) return 0;
    if (scan->offset() <= before) std::abort();
  }
  // The end is at most the end of the last sector.
  if (scan->offset() > log.size() + std::max<std::uint64_t>(super->sector_bytes, drivers::kLogEntryBytes)) std::abort();
  return 0;
}

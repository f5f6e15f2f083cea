// The journal of an unfinished pull: its identity in a small JSON file; the chunks that are finished are in the table.
//
// A pull that is resumed must have the same identity. Thread: one; blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "client/backup/manifest.h"

namespace blockexport::backup {

inline constexpr std::size_t kJournalBytesMax = 64 << 10;

struct PullIdentity {
  std::string export_name;
  std::uint64_t disk_bytes = 0;
  std::uint64_t chunk_bytes = 0;
  std::string bitmap;                 // empty: a full pull
  std::optional<ParentPoint> parent;  // of an incremental pull
};

// Error: a name is no UTF-8.
Result<std::string> encode_journal(const PullIdentity& identity);

// Error: the journal of `path` belongs to a pull with another identity, and the message says in which member; or it is
// damaged. `text` is the content of the file.
Result<> check_journal(const std::string& path, const std::string& text, const PullIdentity& identity);

}  // namespace blockexport::backup

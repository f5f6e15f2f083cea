// `blockexport map`: prints the block status of an export. Blocks; thread: any.
#pragma once

#include <string>

#include "base/error.h"

namespace blockexport::backup {

// Kinds of extents that are totalled one by one.
inline constexpr unsigned kTotalledFlagsMax = 1024;

struct MapOptions {
  std::string uri;
  std::string context = "base:allocation";
  bool is_json = false;      // in the form of `nbdinfo --map --json`
  bool totals_only = false;  // only the sum of the extents with each flags
  unsigned timeout_seconds = 300;
};

// Prints to standard output, extent by extent, with bounded memory. Error: the server cannot be reached, has no such
// context, or fails in the middle: JSON is incomplete then.
Result<> print_map(const MapOptions& options);

}  // namespace blockexport::backup

// `blockexport restore`: rebuilds the raw image of a point, and lists the points of a directory.
//
// Blocks; prints its progress to standard error and its result to standard output. Thread: any.
#pragma once

#include <string>

#include "base/error.h"

namespace blockexport::backup {

struct RestoreOptions {
  std::string directory;
  std::string target;    // a raw image
  std::string point_id;  // empty: the newest
  bool lists = false;
  bool verifies = false;
  bool overwrites = false;
  std::string progress;  // see Progress::create()
  bool is_json = false;
};

// `options` has a target. Error: no target has its name, except that a block device is incomplete.
Result<> restore(const RestoreOptions& options);

// Prints the points of a directory and the state of each. Error: the directory cannot be read. `has_fault` becomes true
// if a point cannot be restored.
Result<> list_points(const RestoreOptions& options, bool& has_fault);

}  // namespace blockexport::backup

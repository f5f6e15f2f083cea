// Scratch files of backups: sparse files that have a name only until a node has opened them.
//
// The calls run on a worker thread, since the file system may not answer. Thread: the control reactor.
#pragma once

#include <cstdint>
#include <string>

#include "aio/task/task.h"
#include "base/error.h"

namespace blockexport::control {

// Files of one name that a directory may have from processes that were killed.
inline constexpr int kScratchNamesMax = 100;

// Makes a new file with that many bytes, all of them a hole, which only this user can open; returns its path, whose
// last part begins with `name`. A cancellation ends the wait, and leaves no file.
aio::Task<Result<std::string>> make_scratch_file(std::string directory, std::string name, std::uint64_t size_bytes);

// Removes the name of a file; whoever has it open can still use it. Cannot be cancelled.
aio::Task<Result<>> remove_scratch_name(std::string path);

}  // namespace blockexport::control

// read_file_until(): reads a small file of any type with a deadline.
//
// The path comes from a user: it may name a pipe that nobody writes to, or a file on a file system that does not
// answer. The reactor's thread never blocks: workers read files, and a pipe or a terminal is read when it is readable.
// Thread: the reactor's.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "aio/reactor/reactor.h"
#include "aio/task/task.h"
#include "base/errno.h"

namespace blockexport::aio {

// Reads the file into `buffer` until it ends or `buffer` is full; returns the number of bytes. A pipe ends when its
// last writer has closed it; if it had no writer yet, the call waits for one. ETIMEDOUT: at `deadline_ns` (UINT64_MAX:
// never) the file was not open yet, or a file that is not regular had not ended. ECANCELED. `status`, unless null,
// receives the result of fstat(2).
Task<IoCount> read_file_until(Reactor& reactor, std::string path, std::span<std::byte> buffer,
                              std::uint64_t deadline_ns, struct stat* status = nullptr);

}  // namespace blockexport::aio

// read_file_until(): all that a small file has, whatever kind of file it is.
//
// The path comes from a user: it may lead to a pipe that nobody writes to, or to a file system that does not answer.
// Nothing of it waits in the reactor's thread: a file is read by workers, a pipe or a terminal when there is something
// to read. Thread: the reactor's.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "aio/reactor.h"
#include "aio/task.h"
#include "base/errno.h"

namespace blockexport::aio {

// Reads the file into `room` until it ends or `room` is full; gives how many bytes that were. A pipe ends when its last
// writer has closed it; one that had no writer yet is waited for. ETIMEDOUT: the file could not be opened, or what is
// no regular file had not come to its end, at `deadline_ns` (UINT64_MAX: never). ECANCELED. `status`, unless null, gets
// what fstat(2) says of the file.
Task<IoCount> read_file_until(Reactor& reactor, std::string path, std::span<std::byte> room, std::uint64_t deadline_ns,
                              struct stat* status = nullptr);

}  // namespace blockexport::aio

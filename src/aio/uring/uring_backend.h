// The backend for kernels that allow io_uring: polls and file operations through one ring; what the ring does not do
// through worker threads.
//
// Buffered writes on some file systems are handed to kernel threads by the ring; callers try Backend::try_write first.
#pragma once

#include <memory>

#include "aio/backend.h"
#include "aio/posix/system_calls.h"
#include "aio/uring/ring.h"
#include "base/error.h"

namespace blockexport::aio {

// Fails when the kernel refuses it or lacks a feature; the error's hint says what is likely to be the cause. The thread
// that calls is the only one that may use the backend afterwards, and it must not fork in between. `calls`
// and those of `ring` outlive the backend.
Result<std::unique_ptr<Backend>> make_uring_backend(std::uint32_t worker_threads_max, RingOptions ring = {},
                                                    const posix::SystemCalls& calls = posix::kSystemCalls);

}  // namespace blockexport::aio

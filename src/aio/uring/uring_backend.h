// The io_uring backend: polls and file operations through one ring, other operations through worker threads.
//
// On some file systems io_uring passes buffered writes to kernel threads; so callers try Backend::try_write first.
#pragma once

#include <memory>

#include "aio/operation/backend.h"
#include "aio/posix/system_calls.h"
#include "aio/uring/ring.h"
#include "base/error.h"

namespace blockexport::aio {

// Fails when the kernel refuses io_uring or lacks a feature; the error's hint names the likely cause. Only the calling
// thread may use the backend afterwards, and it must not fork. `calls` and `ring.calls` outlive the backend.
Result<std::unique_ptr<Backend>> make_uring_backend(std::uint32_t worker_threads_max, RingOptions ring = {},
                                                    const posix::SystemCalls& calls = posix::kSystemCalls);

}  // namespace blockexport::aio

// The epoll backend, for every kernel: epoll for readiness, worker threads for files.
#pragma once

#include <memory>

#include "aio/operation/backend.h"
#include "aio/posix/system_calls.h"
#include "base/error.h"

namespace blockexport::aio {

// `calls` outlives the backend.
Result<std::unique_ptr<Backend>> make_epoll_backend(std::uint32_t worker_threads_max,
                                                    const posix::SystemCalls& calls = posix::kSystemCalls);

}  // namespace blockexport::aio

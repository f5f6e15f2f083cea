// AbandonableCall: a worker's own copy of an abandonable operation, so that the operation may end and its frame be
// destroyed while the worker is still inside the call. On the worker's stack; thread: the worker's.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "aio/operation/operation.h"
#include "aio/posix/retry.h"

namespace blockexport::aio::posix {

class AbandonableCall {
 public:
  // Call it while the operation certainly exists.
  explicit AbandonableCall(const Operation& operation)
      : kind_(operation.kind),
        path_(operation.path != nullptr ? operation.path : ""),
        flags_(operation.mode),
        function_(operation.function),
        argument_(operation.shared_argument != nullptr ? *operation.shared_argument : nullptr) {}

  std::int64_t run() const {
    if (kind_ == OperationKind::kCall) return function_(argument_.get());
    return retry([&] { return open(path_.c_str(), flags_ | O_CLOEXEC, kNewFileMode); });
  }
  // Releases the result of run() when the operation was abandoned: closes an opened descriptor.
  void undo(std::int64_t result) const {
    if (kind_ == OperationKind::kOpen && result >= 0) ::close(static_cast<int>(result));
  }

 private:
  static constexpr mode_t kNewFileMode = 0666;

  OperationKind kind_;
  std::string path_;
  int flags_;
  std::int64_t (*function_)(void*);
  std::shared_ptr<void> argument_;
};

}  // namespace blockexport::aio::posix

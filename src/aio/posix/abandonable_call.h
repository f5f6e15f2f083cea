// AbandonableCall: what a worker needs of an abandonable operation, copied or shared, so that the operation may end and
// its frame go while the worker is still inside of the call. On the worker's stack; its thread.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "aio/operation.h"
#include "aio/posix/retry.h"

namespace blockexport::aio::posix {

class AbandonableCall {
 public:
  // While the operation is certain to be there.
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
  // Lets go what run() gave, which nobody wants any longer.
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

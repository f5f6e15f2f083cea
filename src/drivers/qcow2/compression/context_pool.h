// ContextPool: memory of a codec's calls that later calls use again.
//
// A context belongs to one call at a time. Thread: any, several at once.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace blockexport::drivers::qcow2 {

template <class Context>
class ContextPool {
 public:
  // Contexts that are kept for later calls.
  static constexpr std::size_t kIdleContextsMax = 16;

  // Makes one from `arguments` if none is idle.
  template <class... Arguments>
  std::unique_ptr<Context> take(Arguments... arguments) {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<Context> context = std::move(idle_.back());
        idle_.pop_back();
        return context;
      }
    }
    return std::make_unique<Context>(arguments...);
  }

  void give_back(std::unique_ptr<Context> context) {
    const std::lock_guard lock(mutex_);
    if (idle_.size() < kIdleContextsMax) idle_.push_back(std::move(context));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Context>> idle_;
};

}  // namespace blockexport::drivers::qcow2

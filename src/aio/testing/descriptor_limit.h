// DescriptorLimit: lowers the limit on open descriptors, for tests of a process that has none left.
//
// The limit applies to the process, so no other thread may open files meanwhile. Thread: the test's.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>

namespace blockexport::aio::testing {

// While the object exists, the process can open only `count` more descriptors.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t count) {
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit less = before_;
    less.rlim_cur = lowest_after(count);
    setrlimit(RLIMIT_NOFILE, &less);
  }
  ~DescriptorLimit() { setrlimit(RLIMIT_NOFILE, &before_); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

 private:
  // The number below which `count` descriptors are free.
  static rlim_t lowest_after(rlim_t count) {
    rlim_t number = 0;
    for (;; ++number) {
      const bool is_free = fcntl(static_cast<int>(number), F_GETFD) < 0;
      if (is_free && count-- == 0) return number;
    }
  }
  rlimit before_ = {};
};

}  // namespace blockexport::aio::testing

// FailingCalls: while one lives, the kernel refuses calls that a control operation may make: the n-th of all, or every
// one of a name.
//
// It stands in the place of the C library's functions (CMakeLists.txt links the program with --wrap for each), so that
// it meets what goes around the reactor too. A call that it refuses does nothing and sets the errno of a kernel that is
// out of something. At most one lives at a time; calls of all threads count. Not part of the daemon.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace blockexport::control::testing {

class FailingCalls {
 public:
  // Refuses the call of that number, counted from 0, and none else.
  explicit FailingCalls(std::uint64_t number);
  // Refuses every call of that name, as "open". The name is static text.
  explicit FailingCalls(std::string_view name);
  ~FailingCalls();
  FailingCalls(const FailingCalls&) = delete;
  FailingCalls& operator=(const FailingCalls&) = delete;

  // How many calls there were, refused or not.
  std::uint64_t calls() const;
  // How many calls it has refused.
  std::uint64_t refusals() const;
  // The name of the last call that it has refused; empty when there was none.
  std::string refused() const;
};

}  // namespace blockexport::control::testing

// FailingCalls: while an object of it lives, system calls that a control operation may make fail: the n-th of all, or
// every one of a name.
//
// It replaces functions of the C library (CMakeLists.txt links the program with --wrap for each), so it also intercepts
// calls that bypass the reactor. A call that fails does nothing and sets the errno of exhausted resources. At most one
// object lives at a time; calls of all threads count. Not part of the daemon.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace blockexport::control::testing {

class FailingCalls {
 public:
  // The call of that number, counted from 0, fails, and no other.
  explicit FailingCalls(std::uint64_t number);
  // Every call of that name fails, as "open". The name is static text.
  explicit FailingCalls(std::string_view name);
  ~FailingCalls();
  FailingCalls(const FailingCalls&) = delete;
  FailingCalls& operator=(const FailingCalls&) = delete;

  // Number of calls, failed or not.
  std::uint64_t calls() const;
  // Number of failed calls.
  std::uint64_t refusals() const;
  // Name of the last failed call; empty when there was none.
  std::string refused() const;
};

}  // namespace blockexport::control::testing

// InheritedDescriptors: the descriptors that the process was started with, which its command line may name by number.
//
// A number says nothing about what it stands for: an image, a client or a ring of this process may have it by now. So
// what was handed down is recorded before anything else is opened, and each descriptor can be taken once. Nobody else
// turns a number into a descriptor; QMP, where a client could name any, has no access to this. Owned by main(); main
// thread.
#pragma once

#include <set>
#include <string>

#include "base/error.h"
#include "base/owned_fd.h"

namespace blockexport::net {

// Where the kernel does not list what is open, higher numbers are not looked at.
inline constexpr int kNumberProbedMax = 1024;

class InheritedDescriptors {
 public:
  // Those that are open now: the first act of the process. `open_files` is the folder in which the kernel lists them;
  // where there is none, numbers below kNumberProbedMax are tried.
  static InheritedDescriptors record(const char* open_files = "/proc/self/fd");

  // The stream socket of that number, made non-blocking and close-on-exec; /dev/null takes its place when it was a
  // standard stream. Errors: `number` does not parse; it was not
  // inherited, was taken before or is no stream socket.
  Result<OwnedFd> take_socket(const std::string& number);

 private:
  std::set<int> left_;  // that nobody took
};

}  // namespace blockexport::net

// InheritedDescriptors: the descriptors that the process was started with, which its command line may name by number.
//
// A number alone does not identify a descriptor: it may now belong to an image, a client or a ring of this process. So
// the inherited descriptors are recorded before any other is opened, and each can be taken once. No other code turns a
// number into a descriptor; QMP, where a client could name any number, has no access to this class, but to the sockets
// that systemd passed under a name (named_sockets.h). Owned by main().
// Thread: main.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/owned_fd.h"

namespace blockexport::net {

// Highest number, exclusive, that is probed when the kernel does not list the open descriptors.
inline constexpr int kNumberProbedMax = 1024;
// The descriptors of systemd begin with this one (SD_LISTEN_FDS_START), and are at most so many.
inline constexpr int kFirstNamedDescriptor = 3;
inline constexpr int kNamedDescriptorsMax = 1024;

class InheritedDescriptors {
 public:
  // Records the descriptors that are open now, and the names that systemd gave them (sd_listen_fds(3)); main() calls it
  // first. `open_files` is the directory in which the kernel lists them; if it does not exist, numbers below
  // kNumberProbedMax are probed.
  static InheritedDescriptors record(const char* open_files = "/proc/self/fd");

  // Takes the stream socket of that number and makes it non-blocking and close-on-exec; /dev/null replaces it when it
  // was a standard descriptor. Errors: `number` does not parse; the descriptor was not inherited, was taken before, or
  // is no stream socket.
  Result<OwnedFd> take_socket(const std::string& number);

  // Numbers of the descriptors with that name in LISTEN_FDNAMES, in their order, also those that were taken.
  std::vector<int> numbers_of(std::string_view name) const;
  // All names, each once.
  std::set<std::string> names() const;

 private:
  void read_names();

  std::set<int> left_;              // descriptors that were not taken yet
  std::vector<std::string> names_;  // of the descriptors from kFirstNamedDescriptor on
};

}  // namespace blockexport::net

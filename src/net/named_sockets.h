// NamedSockets: the listening sockets that systemd passed to the process under a name (FileDescriptorName= of a socket
// unit, LISTEN_FDNAMES in the environment; sd_listen_fds_with_names(3)).
//
// A socket stays open as long as this object, also when nobody listens on it for a while, as systemd keeps its own
// copy: a server that is removed and added again finds it. Its clients speak one protocol as long as the process runs.
// Owned by the daemon. Thread: main.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"
#include "net/inherited_descriptors.h"

namespace blockexport::net {

class NamedSockets {
 public:
  // `inherited` outlives it.
  explicit NamedSockets(InheritedDescriptors& inherited) : inherited_(inherited) {}

  // Fills in the sockets of an address with a name; other addresses stay as they are. `user` is a plural noun for those
  // who accept clients there. Errors: systemd passed no socket under that name, one was taken by its number, one is no
  // stream socket, or another kind of user has them.
  Result<> fill_in(SocketAddress& address, std::string_view user);

 private:
  struct Taken {
    std::vector<OwnedFd> sockets;
    std::string user;
  };

  Result<> take(const std::string& name, std::string_view user);

  InheritedDescriptors& inherited_;
  std::map<std::string, Taken> taken_;  // by name
};

}  // namespace blockexport::net

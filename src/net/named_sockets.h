// NamedSockets: the listening sockets that systemd passed to the process under a name (FileDescriptorName= of a socket
// unit, LISTEN_FDNAMES in the environment; sd_listen_fds_with_names(3)).
//
// A socket stays open as long as this object, also when nobody listens on it for a while, as systemd keeps its own
// copy: a server that is removed and added again finds it. Owned by the daemon. Thread: main.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "net/address.h"
#include "net/inherited_descriptors.h"

namespace blockexport::net {

class NamedSockets {
 public:
  // `inherited` outlives it.
  explicit NamedSockets(InheritedDescriptors& inherited) : inherited_(inherited) {}

  // Fills in the sockets of an address with a name; other addresses stay as they are. Errors: systemd passed no socket
  // under that name, one was taken by its number, or one is no stream socket.
  Result<> fill_in(SocketAddress& address);

 private:
  Result<> take(const std::string& name);

  InheritedDescriptors& inherited_;
  std::map<std::string, std::vector<OwnedFd>> taken_;  // by name
};

}  // namespace blockexport::net

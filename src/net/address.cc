#include "net/address.h"

namespace blockexport::net {
namespace {

struct Describe {
  std::string operator()(const InetAddress& inet) const {
    bool is_v6 = inet.host.find(':') != std::string::npos;
    return (is_v6 ? "[" + inet.host + "]" : inet.host) + ":" + inet.port;
  }
  std::string operator()(const UnixAddress& unix_address) const {
    return (unix_address.abstract ? "unix:@" : "unix:") + unix_address.path;
  }
  std::string operator()(const VsockAddress& vsock) const { return "vsock:" + vsock.cid + ":" + vsock.port; }
  std::string operator()(const FdAddress& fd) const {
    return fd.name.empty() ? "fd:" + fd.descriptor : "systemd:" + fd.name;
  }
};

}  // namespace

std::string describe(const SocketAddress& address) {
  return std::visit(Describe{}, address);
}

}  // namespace blockexport::net

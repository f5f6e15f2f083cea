#include "control/addresses.h"

namespace blockexport::control {
namespace {

struct Convert {
  net::SocketAddress operator()(const schema::InetSocketAddress& inet) const {
    return net::InetAddress{.host = inet.host,
                            .port = inet.port,
                            .numeric = inet.numeric.value_or(false),
                            .to = inet.to,
                            .ipv4 = inet.ipv4,
                            .ipv6 = inet.ipv6,
                            .keep_alive = {.enabled = inet.keep_alive,
                                           .count = inet.keep_alive_count.value_or(0),
                                           .idle_seconds = inet.keep_alive_idle.value_or(0),
                                           .interval_seconds = inet.keep_alive_interval.value_or(0)},
                            .multipath = inet.mptcp.value_or(false)};
  }
  net::SocketAddress operator()(const schema::UnixSocketAddress& local) const {
    return net::UnixAddress{
        .path = local.path, .abstract = local.abstract.value_or(false), .tight = local.tight.value_or(true)};
  }
  net::SocketAddress operator()(const schema::VsockSocketAddress& vsock) const {
    return net::VsockAddress{.cid = vsock.cid, .port = vsock.port};
  }
  net::SocketAddress operator()(const schema::FdSocketAddress& fd) const {
    return net::FdAddress{.descriptor = fd.str};
  }
};

}  // namespace

net::SocketAddress to_net(const schema::SocketAddress& address) {
  return std::visit(Convert{}, address.branch);
}

net::SocketAddress to_net(const schema::SocketAddressLegacy& address) {
  return std::visit([](const auto& wrapper) { return Convert{}(wrapper.data); }, address.branch);
}

}  // namespace blockexport::control

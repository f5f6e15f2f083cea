#include "control/commands/addresses.h"

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

struct ConvertBack {
  static std::optional<bool> if_on(bool value) { return value ? std::optional(true) : std::nullopt; }
  static std::optional<std::uint32_t> if_given(std::uint32_t number) {
    return number > 0 ? std::optional(number) : std::nullopt;
  }

  schema::SocketAddress operator()(const net::InetAddress& inet) const {
    schema::InetSocketAddress told{.host = inet.host,
                                   .port = inet.port,
                                   .numeric = if_on(inet.numeric),
                                   .to = inet.to,
                                   .ipv4 = inet.ipv4,
                                   .ipv6 = inet.ipv6,
                                   .keep_alive = inet.keep_alive.enabled,
                                   .keep_alive_count = if_given(inet.keep_alive.count),
                                   .keep_alive_idle = if_given(inet.keep_alive.idle_seconds),
                                   .keep_alive_interval = if_given(inet.keep_alive.interval_seconds),
                                   .mptcp = if_on(inet.multipath)};
    return {.branch = std::move(told)};
  }
  schema::SocketAddress operator()(const net::UnixAddress& local) const {
    schema::UnixSocketAddress told{.path = local.path};
    if (local.abstract) {
      told.abstract = true;
      told.tight = local.tight;
    }
    return {.branch = std::move(told)};
  }
  schema::SocketAddress operator()(const net::VsockAddress& vsock) const {
    return {.branch = schema::VsockSocketAddress{.cid = vsock.cid, .port = vsock.port}};
  }
  schema::SocketAddress operator()(const net::FdAddress& fd) const {
    return {.branch = schema::FdSocketAddress{.str = fd.descriptor}};
  }
};

}  // namespace

schema::SocketAddress from_net(const net::SocketAddress& address) {
  return std::visit(ConvertBack{}, address);
}

net::SocketAddress to_net(const schema::SocketAddress& address) {
  return std::visit(Convert{}, address.branch);
}

net::SocketAddress to_net(const schema::SocketAddressLegacy& address) {
  return std::visit([](const auto& wrapper) { return Convert{}(wrapper.data); }, address.branch);
}

}  // namespace blockexport::control

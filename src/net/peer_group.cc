#include "net/peer_group.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>

#include <cstring>

namespace blockexport::net {
namespace {

PeerGroup group_of_ipv6(const in6_addr& address) {
  PeerGroup group{.family = AF_INET6};
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    std::uint32_t wrapped = 0;
    std::memcpy(&wrapped, address.s6_addr + 12, sizeof wrapped);
    return {.family = AF_INET, .number = wrapped};
  }
  std::memcpy(&group.number, address.s6_addr, sizeof group.number);
  return group;
}

}  // namespace

std::string describe(const PeerGroup& group) {
  char text[INET6_ADDRSTRLEN] = "";
  in6_addr network{};
  in_addr address{.s_addr = static_cast<in_addr_t>(group.number)};
  switch (group.family) {
    case AF_UNIX:
      return fmt::format("user {}", group.number);
    case AF_INET:
      return inet_ntop(AF_INET, &address, text, sizeof text);
    case AF_INET6:
      std::memcpy(network.s6_addr, &group.number, sizeof group.number);
      return fmt::format("[{}]/64", inet_ntop(AF_INET6, &network, text, sizeof text));
    case AF_VSOCK:
      return fmt::format("vsock:{}", group.number);
    default:
      return "peers without an address";
  }
}

PeerGroup peer_group_of(const NumericAddress& peer, std::uint32_t uid) {
  switch (peer.family()) {
    case AF_UNIX:
      return {.family = AF_UNIX, .number = uid};
    case AF_INET:
      return {.family = AF_INET, .number = reinterpret_cast<const sockaddr_in*>(&peer.storage)->sin_addr.s_addr};
    case AF_INET6:
      return group_of_ipv6(reinterpret_cast<const sockaddr_in6*>(&peer.storage)->sin6_addr);
    case AF_VSOCK:
      return {.family = AF_VSOCK, .number = reinterpret_cast<const sockaddr_vm*>(&peer.storage)->svm_cid};
    default:
      return {.family = static_cast<std::uint16_t>(peer.family())};
  }
}

}  // namespace blockexport::net

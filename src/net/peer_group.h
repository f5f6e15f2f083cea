// PeerGroup: key by which connections share limits: a user of this machine, an IPv4 address, the /64 of an IPv6
// address, or the virtual machine of a vsock.
//
// An IPv6 host usually has a whole /64 of addresses, so a single address does not identify it. A plain value that can
// be compared and ordered; the order has no meaning. Thread: any.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "net/resolve.h"

namespace blockexport::net {

struct PeerGroup {
  std::uint16_t family = 0;  // an AF_ constant; AF_INET for an IPv4-mapped IPv6 address
  std::uint64_t number = 0;  // the user's id, the address, the /64 or the context id

  auto operator<=>(const PeerGroup&) const = default;
};

// "10.0.0.1", "[2001:db8::]/64", "user 1000", "vsock:3": for log lines.
std::string describe(const PeerGroup& group);

// The group of a connection from `peer`; `uid` is the user of a unix peer. All peers without an address are one group.
PeerGroup peer_group_of(const NumericAddress& peer, std::uint32_t uid);

}  // namespace blockexport::net

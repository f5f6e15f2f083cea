// PeerGroup: whom a connection counts for where peers share something: a user of this machine, an IPv4 address, the /64
// of an IPv6 address, the machine behind a vsock.
//
// An IPv6 host has a whole /64 to take its addresses from, so one of them says nothing about it. A plain value that can
// be compared and ordered; the order means nothing. Thread: any.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "net/resolve.h"

namespace blockexport::net {

struct PeerGroup {
  std::uint16_t family = 0;  // an AF_ constant; that of IPv4 for an address of it which IPv6 wraps
  std::uint64_t number = 0;  // the user's id, the address, the /64 or the context id

  auto operator<=>(const PeerGroup&) const = default;
};

// "10.0.0.1", "[2001:db8::]/64", "user 1000", "vsock:3": for log lines.
std::string describe(const PeerGroup& group);

// The group of whoever connected from `peer`; `uid` is that of a unix peer. What has no address is one group.
PeerGroup peer_group_of(const NumericAddress& peer, std::uint32_t uid);

}  // namespace blockexport::net

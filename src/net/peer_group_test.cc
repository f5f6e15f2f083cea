#include "net/peer_group.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>

namespace blockexport::net {
namespace {

NumericAddress ipv4(const char* text, std::uint16_t port) {
  NumericAddress address;
  auto* inet = reinterpret_cast<sockaddr_in*>(&address.storage);
  inet->sin_family = AF_INET;
  inet->sin_port = htons(port);
  EXPECT_EQ(inet_pton(AF_INET, text, &inet->sin_addr), 1);
  address.length = sizeof *inet;
  return address;
}

NumericAddress ipv6(const char* text, std::uint16_t port = 1) {
  NumericAddress address;
  auto* inet = reinterpret_cast<sockaddr_in6*>(&address.storage);
  inet->sin6_family = AF_INET6;
  inet->sin6_port = htons(port);
  EXPECT_EQ(inet_pton(AF_INET6, text, &inet->sin6_addr), 1);
  address.length = sizeof *inet;
  return address;
}

NumericAddress of_family(sa_family_t family) {
  NumericAddress address;
  address.storage.ss_family = family;
  address.length = sizeof family;
  return address;
}

TEST(PeerGroup, IsTheAddressWithoutThePort) {
  EXPECT_EQ(peer_group_of(ipv4("10.0.0.1", 1), 0), peer_group_of(ipv4("10.0.0.1", 2), 0));
  EXPECT_NE(peer_group_of(ipv4("10.0.0.1", 1), 0), peer_group_of(ipv4("10.0.0.2", 1), 0));
}

TEST(PeerGroup, IsTheFirstHalfOfAnIpv6Address) {
  EXPECT_EQ(peer_group_of(ipv6("2001:db8:1:2::1"), 0), peer_group_of(ipv6("2001:db8:1:2:ffff::9", 7), 0));
  EXPECT_NE(peer_group_of(ipv6("2001:db8:1:2::1"), 0), peer_group_of(ipv6("2001:db8:1:3::1"), 0));
}

// An inherited socket may accept both families.
TEST(PeerGroup, OfAWrappedIpv4AddressIsThatOfTheAddress) {
  EXPECT_EQ(peer_group_of(ipv6("::ffff:10.0.0.1"), 0), peer_group_of(ipv4("10.0.0.1", 1), 0));
  EXPECT_NE(peer_group_of(ipv6("::ffff:10.0.0.1"), 0), peer_group_of(ipv6("::ffff:10.0.0.2"), 0));
}

TEST(PeerGroup, OfAUnixPeerIsItsUser) {
  EXPECT_EQ(peer_group_of(of_family(AF_UNIX), 1000), peer_group_of(of_family(AF_UNIX), 1000));
  EXPECT_NE(peer_group_of(of_family(AF_UNIX), 1000), peer_group_of(of_family(AF_UNIX), 1001));
}

TEST(PeerGroup, OfAVsockPeerIsItsMachine) {
  NumericAddress address = of_family(AF_VSOCK);
  auto* vsock = reinterpret_cast<sockaddr_vm*>(&address.storage);
  vsock->svm_cid = 5;
  vsock->svm_port = 1;
  const PeerGroup group = peer_group_of(address, 0);
  vsock->svm_port = 2;
  EXPECT_EQ(peer_group_of(address, 0), group);
  vsock->svm_cid = 6;
  EXPECT_NE(peer_group_of(address, 0), group);
}

TEST(PeerGroup, IsDescribedAsAnAdministratorNamesIt) {
  EXPECT_EQ(describe(peer_group_of(ipv4("10.0.0.1", 7), 0)), "10.0.0.1");
  EXPECT_EQ(describe(peer_group_of(ipv6("2001:db8:1:2:3:4:5:6"), 0)), "[2001:db8:1:2::]/64");
  EXPECT_EQ(describe(peer_group_of(of_family(AF_UNIX), 1000)), "user 1000");
  EXPECT_EQ(describe(peer_group_of(of_family(AF_UNSPEC), 0)), "peers without an address");
}

}  // namespace
}  // namespace blockexport::net

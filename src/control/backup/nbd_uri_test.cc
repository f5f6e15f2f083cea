#include "control/backup/nbd_uri.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/vm_sockets.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

namespace blockexport::control {
namespace {

template <class Address>
net::NumericAddress numeric(const Address& address, std::size_t bytes = sizeof(Address)) {
  net::NumericAddress result;
  std::memcpy(&result.storage, &address, bytes);
  result.length = static_cast<socklen_t>(bytes);
  return result;
}

net::NumericAddress ipv4(const char* host) {
  sockaddr_in inet{.sin_family = AF_INET, .sin_port = htons(10809), .sin_addr = {}, .sin_zero = {}};
  EXPECT_EQ(inet_pton(AF_INET, host, &inet.sin_addr), 1);
  return numeric(inet);
}

net::NumericAddress ipv6(const char* host, std::uint32_t scope = 0) {
  sockaddr_in6 inet{};
  inet.sin6_family = AF_INET6;
  inet.sin6_port = htons(10809);
  inet.sin6_scope_id = scope;
  EXPECT_EQ(inet_pton(AF_INET6, host, &inet.sin6_addr), 1);
  return numeric(inet);
}

net::NumericAddress local(std::string_view path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::memcpy(address.sun_path, path.data(), path.size());
  return numeric(address, offsetof(sockaddr_un, sun_path) + path.size());
}

TEST(NbdUriTest, InternetAddressesAreTheBoundOnes) {
  EXPECT_EQ(nbd_uri(ipv4("192.0.2.1"), "disk", false), "nbd://192.0.2.1:10809/disk");
  EXPECT_EQ(nbd_uri(ipv6("2001:db8::1"), "disk", false), "nbd://[2001:db8::1]:10809/disk");
  EXPECT_EQ(nbd_uri(ipv6("fe80::1", 3), "disk", false), "nbd://[fe80::1%253]:10809/disk");
}

TEST(NbdUriTest, AnyAddressBecomesTheLoopbackAddress) {
  EXPECT_EQ(nbd_uri(ipv4("0.0.0.0"), "", false), "nbd://127.0.0.1:10809/");
  EXPECT_EQ(nbd_uri(ipv6("::"), "", false), "nbd://[::1]:10809/");
}

TEST(NbdUriTest, TlsHasSchemesOfItsOwn) {
  EXPECT_EQ(nbd_uri(ipv4("192.0.2.1"), "disk", true), "nbds://192.0.2.1:10809/disk");
  EXPECT_EQ(nbd_unix_uri("/run/a", "disk", true), "nbds+unix:///disk?socket=%2Frun%2Fa");
}

TEST(NbdUriTest, AUnixSocketIsAParameter) {
  EXPECT_EQ(nbd_uri(local("/run/nbd.sock"), "disk", false), "nbd+unix:///disk?socket=%2Frun%2Fnbd.sock");
  // The path may fill the whole field, without a byte of zero at its end.
  const std::string longest = "/" + std::string(sizeof sockaddr_un{}.sun_path - 1, 'x');
  EXPECT_EQ(nbd_uri(local(longest), "", false), "nbd+unix:///?socket=%2F" + longest.substr(1));
}

TEST(NbdUriTest, AnAddressWithoutAUriHasNone) {
  EXPECT_EQ(nbd_uri(local(std::string_view("\0abstract", 9)), "disk", false), std::nullopt);
  EXPECT_EQ(nbd_uri(net::NumericAddress(), "disk", false), std::nullopt);
}

TEST(NbdUriTest, VsockHasTheIdAndThePort) {
  sockaddr_vm vsock{};
  vsock.svm_family = AF_VSOCK;
  vsock.svm_cid = 2;
  vsock.svm_port = 10809;
  EXPECT_EQ(nbd_uri(numeric(vsock), "disk", false), "nbd+vsock://2:10809/disk");
}

TEST(NbdUriTest, EveryByteThatIsNotUnreservedIsEncoded) {
  EXPECT_EQ(percent_encoded("aZ09-._~"), "aZ09-._~");
  EXPECT_EQ(percent_encoded("a b/c?d#e%f&g=h+i:@"), "a%20b%2Fc%3Fd%23e%25f%26g%3Dh%2Bi%3A%40");
  EXPECT_EQ(percent_encoded("\xc3\xa4\x01\x7f"), "%C3%A4%01%7F");
}

}  // namespace
}  // namespace blockexport::control

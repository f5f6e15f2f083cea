#include "net/address_text.h"

#include <gtest/gtest.h>

namespace blockexport::net {
namespace {

std::string problem(std::string_view text) {
  auto parsed = parse_address(text);
  if (parsed) return "";
  const std::string start = "Address '" + std::string(text) + "' ";
  const std::string& message = parsed.error().message();
  return message.starts_with(start) ? message.substr(start.size()) : message;
}

TEST(AddressTextTest, EachFormIsDescribedAsItWasWritten) {
  for (const char* text : {"127.0.0.1:10809", "[::]:0", "[fe80::1%eth0]:nbd", "host.example:nbd", ":10809",
                           "unix:/run/x", "unix:relative", "unix:@abstract", "vsock:2:1234", "systemd:local"}) {
    auto parsed = parse_address(text);
    ASSERT_TRUE(parsed.has_value()) << parsed.error().message();
    EXPECT_EQ(describe(*parsed), text);
  }
}

TEST(AddressTextTest, TheFormsAreToldApart) {
  EXPECT_EQ(std::get<InetAddress>(*parse_address("[::1]:5")).host, "::1");
  EXPECT_EQ(std::get<InetAddress>(*parse_address(":5")).host, "");
  EXPECT_TRUE(std::get<UnixAddress>(*parse_address("unix:@x")).abstract);
  EXPECT_EQ(std::get<UnixAddress>(*parse_address("unix:./@x")).path, "./@x");
  EXPECT_EQ(std::get<FdAddress>(*parse_address("systemd:n")).name, "n");
  EXPECT_EQ(std::get<VsockAddress>(*parse_address("vsock::5")).cid, "4294967295");
}

TEST(AddressTextTest, AnErrorSaysWhatIsWrong) {
  EXPECT_EQ(problem("127.0.0.1"), "has no port");
  EXPECT_EQ(problem("127.0.0.1:"), "has no port");
  EXPECT_EQ(problem("127.0.0.1:65536"), "has a port above 65535");
  EXPECT_EQ(problem("127.0.0.1:99999999999"), "has a port above 65535");
  EXPECT_EQ(problem("127.0.0.1:-1"), "has a port that is neither a number nor the name of a service");
  EXPECT_EQ(problem("host:1 2"), "has a port that is neither a number nor the name of a service");
  EXPECT_EQ(problem("::1:10809"), "has several colons: an IPv6 address stands in brackets");
  EXPECT_EQ(problem("[::1"), "has no ']' after its IPv6 address");
  EXPECT_EQ(problem("[::1]"), "has no port after the ']'");
  EXPECT_EQ(problem("[::1]10809"), "has no port after the ']'");
  EXPECT_EQ(problem("[host]:1"), "has no IPv6 address in its brackets");
  EXPECT_EQ(problem("[]:1"), "has no IPv6 address in its brackets");
  EXPECT_EQ(problem("/run/x.sock"), "is neither HOST:PORT nor unix:PATH");
  EXPECT_EQ(problem("user@host:1"), "has a host with a character that host names do not have");
  EXPECT_EQ(problem("*:10809"), "has the host '*': an empty HOST stands for every address");
  EXPECT_EQ(problem("unix:"), "has no path");
  EXPECT_EQ(problem("unix:@"), "has no name after the '@'");
  EXPECT_EQ(problem("vsock:1"), "has no port: vsock:CID:PORT");
  EXPECT_EQ(problem("vsock:x:1"), "has a CID that is no number");
  EXPECT_EQ(problem("vsock:1:"), "has a port that is no number");
  EXPECT_EQ(problem("systemd:"), "has no name: it is that of FileDescriptorName= in the socket unit");
  EXPECT_EQ(problem("systemd:a b"), "has a name that FileDescriptorName= does not allow");
  EXPECT_EQ(problem("fd:3"), "is a descriptor number: systemd:NAME takes an inherited socket");
  EXPECT_EQ(problem(""), "An address is empty");
}

TEST(AddressTextTest, HostileTextsAreRefusedAndPrintable) {
  EXPECT_EQ(parse_address(std::string("unix:/a\0b", 9)).error().message(),
            "Address 'unix:/a\\x00b' has a zero byte in its path");
  const std::string longest = "unix:/" + std::string(kAddressTextBytesMax - 6, 'x');
  EXPECT_TRUE(parse_address(longest).has_value());
  EXPECT_TRUE(problem(longest + "x").starts_with("An address has at most 512 bytes"));
}

}  // namespace
}  // namespace blockexport::net

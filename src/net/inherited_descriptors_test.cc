#include "net/inherited_descriptors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace blockexport::net {
namespace {

std::string refusal(InheritedDescriptors& inherited, const std::string& number) {
  auto taken = inherited.take_socket(number);
  if (taken) return "taken";
  return taken.error().message();
}

std::string not_a_socket(const std::string& number) {
  return "File descriptor '" + number + "' is not a socket";
}

TEST(InheritedDescriptorsTest, ASocketThatWasThereCanBeTakenOnce) {
  OwnedFd there(socket(AF_UNIX, SOCK_STREAM, 0));
  auto inherited = InheritedDescriptors::record();
  const std::string number = std::to_string(there.get());
  auto taken = inherited.take_socket(number);
  ASSERT_TRUE(taken.has_value()) << taken.error().message();
  EXPECT_EQ(taken->get(), there.release());
  EXPECT_NE(fcntl(taken->get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(fcntl(taken->get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(refusal(inherited, number), not_a_socket(number));
}

TEST(InheritedDescriptorsTest, WhatWasOpenedLaterIsNotTheirs) {
  auto inherited = InheritedDescriptors::record();
  OwnedFd later(socket(AF_UNIX, SOCK_STREAM, 0));
  const std::string number = std::to_string(later.get());
  EXPECT_EQ(refusal(inherited, number), not_a_socket(number));
}

// A new socket with the given descriptor number.
OwnedFd socket_with_number(int number) {
  const OwnedFd there(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return OwnedFd(fcntl(there.get(), F_DUPFD_CLOEXEC, number));
}

TEST(InheritedDescriptorsTest, WhereNothingListsThemSoManyNumbersAreTriedAndNoMore) {
  OwnedFd last = socket_with_number(kNumberProbedMax - 1);
  OwnedFd beyond = socket_with_number(kNumberProbedMax);
  if (!beyond) GTEST_SKIP() << "the process may not have so many descriptors open";
  ASSERT_EQ(last.get(), kNumberProbedMax - 1);
  ASSERT_EQ(beyond.get(), kNumberProbedMax);
  const std::string number = std::to_string(kNumberProbedMax);
  auto listed = InheritedDescriptors::record();
  auto tried = InheritedDescriptors::record("/no folder");
  EXPECT_EQ(refusal(tried, number), not_a_socket(number));
  EXPECT_EQ(refusal(tried, std::to_string(last.release())), "taken");
  EXPECT_EQ(refusal(listed, std::to_string(beyond.release())), "taken");
}

TEST(InheritedDescriptorsTest, OnlySocketsOfAStreamAreTaken) {
  OwnedFd file(open("/dev/null", O_RDWR | O_CLOEXEC));
  OwnedFd datagram(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  auto inherited = InheritedDescriptors::record();
  for (const OwnedFd* fd : {&file, &datagram}) {
    const std::string number = std::to_string(fd->get());
    EXPECT_EQ(refusal(inherited, number), not_a_socket(number));
  }
}

TEST(InheritedDescriptorsTest, WhatIsNoNumberSaysSo) {
  auto inherited = InheritedDescriptors::record();
  for (const char* text : {"", "x1", "3x", "-1", " 3", "99999999999999999999"}) {
    EXPECT_EQ(refusal(inherited, text), "Unable to parse FD number " + std::string(text));
  }
  EXPECT_EQ(refusal(inherited, "987654"), not_a_socket("987654"));
}

}  // namespace
}  // namespace blockexport::net

#include "net/named_sockets.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace blockexport::net {
namespace {

// Runs `test` in a child process, where the descriptors from 3 on are `count` new stream sockets, and the variables of
// sd_listen_fds(3) are set. The child's exit code is the number of failed expectations.
template <class Test>
int in_child(int count, const char* names, Test test, const char* pid = nullptr) {
  const pid_t child = fork();
  if (child == 0) {
    for (int fd = kFirstNamedDescriptor; fd < 64; ++fd) close(fd);
    for (int i = 0; i < count; ++i) {
      if (socket(AF_UNIX, SOCK_STREAM, 0) != kFirstNamedDescriptor + i) _exit(99);
    }
    setenv("LISTEN_PID", pid != nullptr ? pid : std::to_string(getpid()).c_str(), 1);
    setenv("LISTEN_FDS", std::to_string(count).c_str(), 1);
    names != nullptr ? setenv("LISTEN_FDNAMES", names, 1) : unsetenv("LISTEN_FDNAMES");
    _exit(test());
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

// Number of sockets that fill_in() gives for the name, or -1 when it fails.
int filled(NamedSockets& sockets, const std::string& name, std::string_view user = "servers") {
  SocketAddress address = FdAddress{.name = name};
  if (!sockets.fill_in(address, user)) return -1;
  return static_cast<int>(std::get<FdAddress>(address).named->size());
}

TEST(NamedSocketsTest, AllSocketsOfANameAreFoundAgainAndAgain) {
  EXPECT_EQ(in_child(3, "local:other:local",
                     [] {
                       auto inherited = InheritedDescriptors::record();
                       NamedSockets sockets(inherited);
                       int wrong = 0;
                       for (int i = 0; i < 2; ++i) wrong += filled(sockets, "local") != 2;
                       wrong += filled(sockets, "other") != 1;
                       wrong += filled(sockets, "missing") != -1;
                       return wrong;
                     }),
            0);
}

TEST(NamedSocketsTest, ASocketServesOneProtocol) {
  EXPECT_EQ(in_child(2, "nbd:http",
                     [] {
                       auto inherited = InheritedDescriptors::record();
                       NamedSockets sockets(inherited);
                       int wrong = 0;
                       wrong += filled(sockets, "nbd", "servers") != 1;
                       wrong += filled(sockets, "nbd", "metrics") != -1;
                       wrong += filled(sockets, "http", "metrics") != 1;
                       wrong += filled(sockets, "http", "servers") != -1;
                       wrong += filled(sockets, "nbd", "servers") != 1;
                       return wrong;
                     }),
            0);
}

TEST(NamedSocketsTest, WithoutANameASocketIsUnknown) {
  const auto count_unknown = [] {
    auto inherited = InheritedDescriptors::record();
    NamedSockets sockets(inherited);
    return filled(sockets, "unknown");
  };
  EXPECT_EQ(in_child(2, nullptr, count_unknown), 2);
  EXPECT_EQ(in_child(2, "a", count_unknown), 1);
}

TEST(NamedSocketsTest, VariablesForAnotherProcessAreIgnored) {
  EXPECT_EQ(in_child(
                1, "local",
                [] {
                  auto inherited = InheritedDescriptors::record();
                  NamedSockets sockets(inherited);
                  return filled(sockets, "local") == -1 && inherited.names().empty() ? 0 : 1;
                },
                "1"),
            0);
}

TEST(NamedSocketsTest, ASocketThatWasTakenByItsNumberHasNoNameAnyMore) {
  EXPECT_EQ(in_child(1, "local",
                     [] {
                       auto inherited = InheritedDescriptors::record();
                       NamedSockets sockets(inherited);
                       auto taken = inherited.take_socket("3");
                       return taken && filled(sockets, "local") == -1 ? 0 : 1;
                     }),
            0);
}

TEST(NamedSocketsTest, OtherAddressesStayAsTheyAre) {
  auto inherited = InheritedDescriptors::record();
  NamedSockets sockets(inherited);
  SocketAddress unix_path = UnixAddress{.path = "/x"};
  SocketAddress number = FdAddress{.descriptor = "3"};
  EXPECT_TRUE(sockets.fill_in(unix_path, "servers").has_value());
  EXPECT_TRUE(sockets.fill_in(number, "servers").has_value());
  EXPECT_EQ(std::get<FdAddress>(number).named, nullptr);
  SocketAddress named = FdAddress{.name = "x\n"};
  EXPECT_EQ(sockets.fill_in(named, "servers").error().message(), "systemd passed no socket with the name 'x\\x0a'");
}

}  // namespace
}  // namespace blockexport::net

#include "daemon/service_notifier.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

namespace blockexport::daemon {
namespace {

// A service manager's socket, which the environment names.
class ServiceNotifierTest : public testing::Test {
 protected:
  ServiceNotifierTest() {
    std::string pattern = testing::TempDir() + "notify.XXXXXX";
    directory_ = mkdtemp(pattern.data());
    path_ = directory_ + "/socket";
  }
  ~ServiceNotifierTest() override {
    unlink(path_.c_str());
    rmdir(directory_.c_str());
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) unsetenv(name);
  }

  void listen_at(const std::string& address) {
    socket_ = OwnedFd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un bound{};
    bound.sun_family = AF_UNIX;
    address.copy(bound.sun_path, sizeof bound.sun_path - 1);
    const bool is_abstract = address[0] == '@';
    if (is_abstract) bound.sun_path[0] = '\0';
    const std::size_t bytes = offsetof(sockaddr_un, sun_path) + address.size() + (is_abstract ? 0 : 1);
    ASSERT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&bound), static_cast<socklen_t>(bytes)), 0);
    setenv("NOTIFY_SOCKET", address.c_str(), 1);
  }

  // The next message; empty when there is none.
  std::string message() {
    std::array<char, 4096> bytes;
    const ssize_t count = recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    return {bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0))};
  }

  std::string directory_;
  std::string path_;
  OwnedFd socket_;
};

TEST_F(ServiceNotifierTest, EachStateHasItsMessage) {
  listen_at(path_);
  const ServiceNotifier notifier = ServiceNotifier::from_environment();
  notifier.ready("Serving 2 exports");
  EXPECT_EQ(message(), "READY=1\nSTATUS=Serving 2 exports");
  notifier.reloading();
  const std::string reloading = message();
  EXPECT_TRUE(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC=")) << reloading;
  EXPECT_GT(std::strtoull(reloading.c_str() + reloading.rfind('=') + 1, nullptr, 10), 0u);
  notifier.status("a\nREADY=1");
  EXPECT_EQ(message(), "STATUS=a\\x0aREADY=1") << "a status is one line";
  notifier.kick_watchdog();
  EXPECT_EQ(message(), "WATCHDOG=1");
  notifier.stopping("");
  EXPECT_EQ(message(), "STOPPING=1");
}

TEST_F(ServiceNotifierTest, AnAbstractSocketIsReached) {
  listen_at("@" + path_);
  ServiceNotifier::from_environment().ready("");
  EXPECT_EQ(message(), "READY=1");
}

TEST_F(ServiceNotifierTest, TheEnvironmentOfChildrenHasNoneOfIt) {
  listen_at(path_);
  for (const char* name : {"WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) {
    setenv(name, "1", 1);
  }
  (void)ServiceNotifier::from_environment();
  for (const char* name :
       {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) {
    EXPECT_EQ(std::getenv(name), nullptr) << name;
  }
}

TEST_F(ServiceNotifierTest, TheWatchdogIsThatOfThisProcess) {
  const auto watchdog_ns = [&](const char* limit_us, const std::string& pid) {
    setenv("NOTIFY_SOCKET", path_.c_str(), 1);
    setenv("WATCHDOG_USEC", limit_us, 1);
    setenv("WATCHDOG_PID", pid.c_str(), 1);
    return ServiceNotifier::from_environment().watchdog_ns();
  };
  EXPECT_EQ(watchdog_ns("3000000", std::to_string(getpid())), 3'000'000'000u);
  EXPECT_EQ(watchdog_ns("3000000", ""), 3'000'000'000u);
  EXPECT_EQ(watchdog_ns("3000000", "1"), std::nullopt);
  EXPECT_EQ(watchdog_ns("0", ""), std::nullopt);
  EXPECT_EQ(watchdog_ns("3s", ""), std::nullopt);
  EXPECT_EQ(watchdog_ns("18446744073709551615", ""), UINT64_MAX);
}

TEST_F(ServiceNotifierTest, WithoutASupervisorNothingHappens) {
  EXPECT_FALSE(ServiceNotifier::from_environment().is_supervised());
  ServiceNotifier().ready("");
  for (const std::string& wrong : {std::string("relative"), std::string("/"), "/" + std::string(200, 'x')}) {
    setenv("NOTIFY_SOCKET", wrong.c_str(), 1);
    EXPECT_FALSE(ServiceNotifier::from_environment().is_supervised()) << wrong;
  }
}

TEST_F(ServiceNotifierTest, ASupervisorThatDoesNotReadDelaysNoKick) {
  listen_at(path_);
  const ServiceNotifier notifier = ServiceNotifier::from_environment();
  for (int i = 0; i < 10'000; ++i) notifier.kick_watchdog();
  EXPECT_EQ(message(), "WATCHDOG=1");
}

}  // namespace
}  // namespace blockexport::daemon

#include "net/listen_probe.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "aio/testing/backends.h"
#include "aio/testing/task_test.h"
#include "net/listen.h"

namespace blockexport::net {
namespace {

using aio::Task;

class ListenProbeTest : public aio::testing::ForEachBackend {
 protected:
  ListenProbeTest() {
    std::string pattern = ::testing::TempDir() + "probe.XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~ListenProbeTest() override { std::filesystem::remove_all(directory_); }
  static Task<std::string> probe(SocketAddress address) {
    const Result<> probed = co_await probe_address(std::move(address));
    co_return probed ? "" : probed.error().message();
  }
  template <class Test>
  Task<void> body();

  std::string directory_;
};
INSTANTIATE_TEST_SUITE_P(Backends, ListenProbeTest, ::testing::Values("io_uring", "epoll"),
                         [](const auto& info) { return std::string(info.param); });

TASK_TEST_P(ListenProbeTest, APortMayBeFreeOrInUse) {
  EXPECT_EQ(co_await probe(InetAddress{.host = "127.0.0.1", .port = "0"}), "");
  auto listener = co_await Listener::open(reactor(), InetAddress{.host = "127.0.0.1", .port = "0"});
  CO_ASSERT(listener.has_value());
  const std::string text = describe((*listener)->local_address(0));
  const std::string port = text.substr(text.rfind(':') + 1);
  EXPECT_EQ(co_await probe(InetAddress{.host = "127.0.0.1", .port = port}), "");
}

TASK_TEST_P(ListenProbeTest, AnAddressOfAnotherHostIsAnError) {
  EXPECT_EQ(co_await probe(InetAddress{.host = "192.0.2.1", .port = "1"}),
            "Failed to bind socket to 192.0.2.1:1: Cannot assign requested address");
}

TASK_TEST_P(ListenProbeTest, AUnixPathNeedsADirectory) {
  EXPECT_EQ(co_await probe(UnixAddress{.path = directory_ + "/new.sock"}), "");
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/new.sock"));
  EXPECT_EQ(co_await probe(UnixAddress{.path = directory_ + "/absent/new.sock"}),
            "Directory '" + directory_ + "/absent': No such file or directory");
  std::ofstream(directory_ + "/file") << "text";
  EXPECT_EQ(co_await probe(UnixAddress{.path = directory_ + "/file"}),
            "'" + directory_ + "/file' exists, and is no socket");
  EXPECT_EQ(co_await probe(UnixAddress{.path = directory_ + "/file/new.sock"}),
            "'" + directory_ + "/file' is no directory");
  if (geteuid() == 0) co_return;
  chmod(directory_.c_str(), 0500);
  EXPECT_EQ(co_await probe(UnixAddress{.path = directory_ + "/new.sock"}),
            "Directory '" + directory_ + "' cannot be written: Permission denied");
  chmod(directory_.c_str(), 0700);
}

}  // namespace
}  // namespace blockexport::net

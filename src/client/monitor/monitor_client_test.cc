// MonitorClient beside a peer that answers with prepared lines.
#include "client/monitor/monitor_client.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>
#include <vector>

namespace blockexport::monitor {
namespace {

constexpr const char* kGreeting = R"({"QMP": {"version": {}, "capabilities": []}})";
constexpr const char* kDone = R"({"return": {}})";

// Listens on a socket in a directory of its own. For each line of a client it sends the next of its prepared answers,
// after the first one, which is the greeting; it closes after a further line, or stays silent if `stays`,
// or repeats `event` until the client leaves.
class Peer {
 public:
  explicit Peer(std::vector<std::string> answers, bool stays = false, std::string event = "")
      : answers_(std::move(answers)), stays_(stays), event_(std::move(event)) {
    std::string name = ::testing::TempDir() + "/monitorXXXXXX";
    directory_ = mkdtemp(name.data());
    path = directory_ + "/socket";
    listener_ = OwnedFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_.get(), 1), 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~Peer() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    std::filesystem::remove_all(directory_);
  }

  std::string path;
  std::string received;  // all lines of the client, after the peer's end

 private:
  void serve() {
    const OwnedFd client(accept(listener_.get(), nullptr, nullptr));
    if (!client) return;
    for (std::size_t i = 0; i < answers_.size(); ++i) {
      if (i > 0 && !read_line(client.get())) return;
      const std::string line = answers_[i] + "\r\n";
      if (send(client.get(), line.data(), line.size(), MSG_NOSIGNAL) < 0) return;
    }
    const std::string line = event_ + "\r\n";
    while (!event_.empty() && send(client.get(), line.data(), line.size(), MSG_NOSIGNAL) > 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    while (read_line(client.get()) && stays_) {
    }
  }
  bool read_line(int client) {
    for (char byte = 0; byte != '\n'; received += byte) {
      if (recv(client, &byte, 1, 0) != 1) return false;
    }
    return true;
  }

  std::string directory_;
  std::vector<std::string> answers_;
  bool stays_;
  std::string event_;
  OwnedFd listener_;
  std::thread thread_;
};

std::string message(const auto& result) {
  return result ? "" : result.error().message();
}

TEST(MonitorClientTest, ReturnsTheValueAndSkipsEvents) {
  Peer peer({kGreeting, kDone, std::string(R"({"event": "JOB", "data": {}})") + "\n" + R"({"return": [1, 2]})"});
  auto client = MonitorClient::connect(peer.path, 10);
  ASSERT_TRUE(client) << client.error().message();
  auto value = client->execute("query-backups", {});
  ASSERT_TRUE(value) << value.error().message();
  ASSERT_NE(value->as_array(), nullptr);
  EXPECT_EQ(value->as_array()->size(), 2u);
}

TEST(MonitorClientTest, ReportsTheErrorOfTheDaemon) {
  Peer peer({kGreeting, kDone, R"({"error": {"class": "GenericError", "desc": "no such backup"}})", kDone});
  auto client = MonitorClient::connect(peer.path, 10);
  ASSERT_TRUE(client) << client.error().message();
  EXPECT_EQ(message(client->execute("backup-end", json::Object{{"id", "x"}})), "no such backup");
  EXPECT_EQ(message(client->execute("backup-end", {})), "");
}

TEST(MonitorClientTest, TellsApartPeersThatAreNoMonitor) {
  EXPECT_NE(message(MonitorClient::connect("/no/such/socket", 10)).find("'/no/such/socket'"), std::string::npos);
  EXPECT_NE(message(MonitorClient::connect(std::string(200, 'x'), 10)).find("too long"), std::string::npos);
  const Peer other({R"({"hello": 1})"});
  EXPECT_NE(message(MonitorClient::connect(other.path, 10)).find("is no QMP monitor"), std::string::npos);
  const Peer number({"17"});
  EXPECT_NE(message(MonitorClient::connect(number.path, 10)).find("sent no QMP message"), std::string::npos);
  const Peer noise({"<html>"});
  EXPECT_NE(message(MonitorClient::connect(noise.path, 10)).find("sent no QMP message"), std::string::npos);
}

TEST(MonitorClientTest, AMonitorThatIsSilentOrClosesEndsTheWait) {
  Peer silent({kGreeting, kDone}, true);
  auto client = MonitorClient::connect(silent.path, 1);
  ASSERT_TRUE(client) << client.error().message();
  EXPECT_NE(message(client->execute("query-backups", {})).find("has not answered for 1 s"), std::string::npos);
  const Peer closing({kGreeting});
  EXPECT_NE(message(MonitorClient::connect(closing.path, 10)).find("has closed the connection"), std::string::npos);
}

// Events are no answer: a peer that sends them without end does not prolong the wait.
TEST(MonitorClientTest, EventsDoNotProlongTheWait) {
  Peer peer({kGreeting, kDone}, true, R"({"event": "JOB", "data": {}})");
  auto client = MonitorClient::connect(peer.path, 1);
  ASSERT_TRUE(client) << client.error().message();
  EXPECT_NE(message(client->execute("query-backups", {})).find("has not answered for 1 s"), std::string::npos);
}

TEST(MonitorClientTest, AReplyBeyondTheLimitIsAnError) {
  Peer peer({kGreeting, kDone, R"({"return": ")" + std::string(kReplyBytesMax + 1, 'x') + "\"}"});
  auto client = MonitorClient::connect(peer.path, 10);
  ASSERT_TRUE(client) << client.error().message();
  EXPECT_NE(message(client->execute("query-backups", {})).find("sent no QMP message"), std::string::npos);
}

}  // namespace
}  // namespace blockexport::monitor

#include "control/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <unordered_map>
#include <vector>

#include "common/fatal.h"
#include "control/session.h"

namespace blockexport::bench {

namespace {

class Server {
 public:
  Server(int listener, const Image& image, const ServeOptions& options)
      : listener_(listener), image_(image), options_(options), buffer_(Session::kLongestHead + options.receive_bytes) {}

  [[noreturn]] void run() {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    watch(listener_);
    constexpr int kMostEvents = 64;
    std::array<epoll_event, kMostEvents> events;
    for (;;) {
      int ready = epoll_wait(epoll_, events.data(), kMostEvents, -1);
      for (int i = 0; i < ready; ++i) {
        if (events[i].data.fd == listener_) {
          welcome();
        } else {
          turn(events[i].data.fd);
        }
      }
    }
  }

 private:
  void watch(int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
      fatal("epoll: {}", std::strerror(errno));
    }
  }

  void welcome() {
    int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) {
      return;
    }
    int on = 1;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options_.send_buffer_bytes != 0) {
      setsockopt(client, SOL_SOCKET, SO_SNDBUF, &options_.send_buffer_bytes, sizeof options_.send_buffer_bytes);
    }
    auto session = std::make_unique<Session>(image_, batch_);
    batch_.aim(client);
    session->greet();
    batch_.flush();
    watch(client);
    sessions_.insert_or_assign(client, std::move(session));
  }

  void turn(int client) {
    Session& session = *sessions_.find(client)->second;
    auto carried = session.carried();
    std::byte* body = buffer_.data() + Session::kLongestHead;
    std::byte* start = body - carried.size();
    std::ranges::copy(carried, start);
    ssize_t got = recv(client, body, options_.receive_bytes, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) {
      return;
    }
    batch_.aim(client);
    bool stays = got > 0 && session.feed({start, carried.size() + static_cast<std::size_t>(got)});
    batch_.flush();
    if (batch_.take_failure() || !stays) {
      sessions_.erase(client);
      close(client);
    }
  }

  int listener_;
  const Image& image_;
  const ServeOptions& options_;
  int epoll_ = -1;
  std::vector<std::byte> buffer_;
  ReplyBatch batch_;
  std::unordered_map<int, std::unique_ptr<Session>> sessions_;
};

}  // namespace

void serve(int listener, const Image& image, const ServeOptions& options) {
  Server(listener, image, options).run();
}

}  // namespace blockexport::bench

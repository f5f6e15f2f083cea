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

struct Client {
  Client(const Image& image, ReplyBatch& batch, bool offers_tls) : session(image, batch, offers_tls) {}

  Session session;
  std::unique_ptr<TlsLink> link;
};

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
    Client& one = clients_.try_emplace(client, image_, batch_, options_.tls != nullptr).first->second;
    batch_.aim(client, nullptr);
    one.session.greet();
    batch_.flush();
    // The first receive detects a client that has gone already.
    batch_.take_failure();
    watch(client);
  }

  void turn(int client) {
    Client& one = clients_.find(client)->second;
    bool stays = true;
    do {
      auto carried = one.session.carried();
      std::byte* body = buffer_.data() + Session::kLongestHead;
      std::byte* start = body - carried.size();
      std::ranges::copy(carried, start);
      std::span<std::byte> room(body, options_.receive_bytes);
      ssize_t got = one.link ? one.link->receive(room, false) : recv(client, body, room.size(), MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) {
        return;
      }
      batch_.aim(client, one.link.get());
      stays = got > 0 && one.session.feed({start, carried.size() + static_cast<std::size_t>(got)});
      batch_.flush();
      // Reset even for a client that leaves, so that it does not count for the next client.
      bool failed = batch_.take_failure();
      stays = stays && !failed && (!one.session.take_starttls() || secure(client, one));
    } while (stays && one.link && one.link->holds_more());
    if (!stays) {
      clients_.erase(client);
      close(client);
    }
  }

  // The handshake blocks all other clients: measurements of handshakes use one client.
  bool secure(int client, Client& one) {
    one.link = std::make_unique<TlsLink>(client, *options_.tls);
    return one.link->handshake();
  }

  int listener_;
  const Image& image_;
  const ServeOptions& options_;
  int epoll_ = -1;
  std::vector<std::byte> buffer_;
  ReplyBatch batch_;
  std::unordered_map<int, Client> clients_;
};

}  // namespace

void serve(int listener, const Image& image, const ServeOptions& options) {
  Server(listener, image, options).run();
}

}  // namespace blockexport::bench

// Server: a small HTTP/1.1 server for requests without a body, as those for metrics and health checks.
//
// It serves few connections; when all are taken, it cuts the one that has waited longest for a request. Each request,
// each reply, and each pause between them has the same deadline. Owned by the control layer. Thread: its reactor's. The
// log gets no line that a client can cause; counters tell about refused requests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/sync/sync.h"
#include "base/intrusive_list.h"
#include "base/log.h"
#include "http/host_check.h"
#include "http/request.h"
#include "net/listen.h"
#include "net/socket_stream.h"

namespace blockexport::http {

// Most connections at a time.
inline constexpr std::size_t kConnectionsMax = 16;
// Time for a client to send a request, and to receive a reply.
inline constexpr std::uint64_t kExchangeMaxNs = 5'000'000'000;
// Time and bytes for which the input of a refused client is discarded, so that it can read the reply.
inline constexpr std::uint64_t kLingerNs = 1'000'000'000;
inline constexpr std::size_t kLingerBytesMax = 1u << 20;

struct Reply {
  int code = 200;
  std::string_view content_type = "text/plain; charset=utf-8";
  std::string body = {};
};

class Handler {
 public:
  // Makes the reply to a GET or HEAD request; the caller leaves out the body for HEAD. The views of `request` are valid
  // until the task ends. Not cancelled.
  virtual aio::Task<Reply> answer(Request request) = 0;

 protected:
  ~Handler() = default;
};

struct ServerCounters {
  std::uint64_t cut_connections = 0;  // idle ones that were cut for new ones
  std::uint64_t late_requests = 0;    // connections that were cut at the deadline
  std::uint64_t refused_hosts = 0;    // requests for another host's name
};

class Server {
 public:
  // The references outlive it.
  Server(aio::Reactor& reactor, const Log& log, Handler& handler);
  ~Server();

  // The names that requests over TCP may be for; they can change at any time.
  HostCheck& hosts() { return hosts_; }
  // Accepts clients from `listener` from now on.
  void listen_on(std::unique_ptr<net::Listener> listener);
  // Stops accepting clients from this listener, and closes its sockets. Connections stay.
  aio::Task<void> stop_listening_on(const net::Listener& listener);
  // Stops accepting clients, cuts the connections, and closes the sockets.
  aio::Task<void> close();

  const ServerCounters& counters() const { return counters_; }
  std::size_t connection_count() const { return connections_.size(); }

 private:
  struct Listening {
    Listening(aio::Reactor& reactor, std::unique_ptr<net::Listener> of) : listener(std::move(of)), accepting(reactor) {}
    std::unique_ptr<net::Listener> listener;
    aio::Scope accepting;
  };
  // Lives in the frame of its task.
  struct Connection : ListLink<Connection> {
    Connection(aio::Reactor& reactor, int fd, bool over_tcp) : stream(reactor, fd), is_tcp(over_tcp) {}
    ~Connection() { unlink(); }
    net::SocketStream stream;
    const bool is_tcp;
    std::string input = {};  // received and not consumed
  };

  aio::Task<void> accept_loop(net::Listener& listener, std::size_t index);
  aio::Task<IoResult> wait_for_slot();
  aio::Task<void> serve(net::Accepted accepted);
  // Serves one request; whether another one may follow.
  aio::Task<bool> serve_one(Connection& connection);
  aio::Task<Parsed> receive(Connection& connection);
  aio::Task<bool> respond(Connection& connection, const Request& request);
  aio::Task<bool> send(Connection& connection, Reply reply, const Request* request);
  aio::Task<void> linger(Connection& connection);

  aio::Reactor& reactor_;
  const Log& log_;
  Handler& handler_;
  HostCheck hosts_;
  std::vector<std::shared_ptr<Listening>> listeners_;
  IntrusiveList<Connection> waiting_;  // connections that wait for a request, the one that waits longest first
  aio::Event slot_free_;
  ServerCounters counters_;
  aio::Scope connections_;
};

}  // namespace blockexport::http

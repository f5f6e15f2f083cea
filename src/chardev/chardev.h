// Chardev: where a frontend such as a QMP monitor gets its byte streams from: a socket that listens or calls, standard
// input and output, a file, or nothing.
//
// One frontend at a time uses a chardev, and it has one stream at a time. Owned by the registry; thread: the control
// reactor.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "aio/reactor.h"
#include "aio/task.h"
#include "authz/authorizer.h"
#include "base/error.h"
#include "base/log.h"
#include "net/address.h"
#include "net/stream.h"
#include "net/tls_credentials.h"

namespace blockexport::chardev {

// Where a chardev finds what TLS needs, by name, at each connection: objects may be replaced meanwhile.
struct SocketTls {
  net::TlsDirectory* credentials = nullptr;
  std::string credentials_id = {};
  authz::Directory* authorizers = nullptr;
  std::optional<std::string> authorizer_id = {};  // nothing: who has proved an identity is let in
};

// The longest time between two calls that can be asked for, 49 days.
inline constexpr std::int64_t kReconnectMsMax = UINT32_MAX;

struct SocketOptions {
  net::SocketAddress address;
  bool server = true;
  bool wait = false;               // creating it waits for the first client
  std::uint64_t reconnect_ms = 0;  // of a calling socket: how long to wait before it calls again; 0 = it does not
  std::optional<SocketTls> tls = {};
};

struct StdioOptions {
  bool signal = true;  // Ctrl-C interrupts, as usual
};

struct FileOptions {
  std::string output_path;
  std::string input_path = {};  // "" = there is no input
  bool append = false;
  std::uint64_t pipe_wait_ns = UINT64_MAX;  // for somebody who reads, when `output_path` is that of a pipe
};

struct NullOptions {};

using Options = std::variant<SocketOptions, StdioOptions, FileOptions, NullOptions>;

class Chardev {
 public:
  explicit Chardev(std::string label) : label_(std::move(label)) {}
  virtual ~Chardev() = default;
  Chardev(const Chardev&) = delete;
  Chardev& operator=(const Chardev&) = delete;

  const std::string& label() const { return label_; }
  // The schema's name of the backend: "socket", "stdio", ...
  virtual std::string_view kind() const = 0;
  // What query-chardev shows: "unix:/run/x,server=on", "disconnected:unix:/run/x,server=on", "null", ...
  virtual std::string filename() const = 0;
  // Of a socket: where it listens, with the port that it was given, or what it calls. Nothing for other kinds.
  virtual std::optional<net::SocketAddress> address() const { return std::nullopt; }
  // Of a socket: whether a peer is there.
  virtual bool is_connected() const { return false; }
  // Whether a monitor here can be told something while it works: there is a peer that talks.
  virtual bool allows_out_of_band() const { return true; }
  bool has_frontend() const { return has_frontend_; }
  // Whether a frontend is there and can talk to somebody.
  bool frontend_open() const { return has_frontend_; }

  void attach_frontend() { has_frontend_ = true; }
  void detach_frontend() { has_frontend_ = false; }

  // Waits for a peer. ECANCELED when the task was cancelled; any other error: no peer will ever come again.
  virtual aio::Task<std::expected<std::unique_ptr<net::Stream>, Errno>> next_stream() = 0;
  // The stream that next_stream() gave is gone.
  virtual void stream_closed() {}
  // For a server socket that waits: returns when the first peer is there. Others return at once.
  virtual aio::Task<Result<>> wait_for_peer() { co_return Result<>{}; }
  // The daemon serves from now on: whoever had the path of a listening socket does not get it back.
  virtual void settle() {}

 private:
  std::string label_;
  bool has_frontend_ = false;
};

}  // namespace blockexport::chardev

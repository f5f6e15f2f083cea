// Chardev: character device backend, the source of byte streams for a frontend such as a QMP monitor: a listening or
// connecting socket, standard input and output, a file, or null.
//
// A chardev has one frontend at a time, and one stream at a time. Owned by the registry; thread: the control reactor.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "aio/reactor/reactor.h"
#include "aio/task/task.h"
#include "authz/authorizer.h"
#include "base/error.h"
#include "base/log.h"
#include "net/address.h"
#include "net/stream.h"
#include "net/tls_credentials.h"

namespace blockexport::chardev {

// The objects that TLS needs, by ID: looked up at each connection, since a user may replace them in between.
struct SocketTls {
  net::TlsDirectory* credentials = nullptr;
  std::string credentials_id = {};
  authz::Directory* authorizers = nullptr;
  std::optional<std::string> authorizer_id = {};  // nothing: every authenticated peer may connect
};

// The longest reconnect interval, 49 days.
inline constexpr std::int64_t kReconnectMsMax = UINT32_MAX;

struct SocketOptions {
  net::SocketAddress address;
  bool server = true;
  bool wait = false;               // creating it waits for the first client
  std::uint64_t reconnect_ms = 0;  // of a connecting socket: pause before it connects again; 0 = it does not
  std::optional<SocketTls> tls = {};
};

struct StdioOptions {
  bool signal = true;  // Ctrl-C sends SIGINT, as usual
};

struct FileOptions {
  std::string output_path;
  std::string input_path = {};  // "" = there is no input
  bool append = false;
  std::uint64_t pipe_wait_ns = UINT64_MAX;  // longest wait for a reader, when `output_path` is a pipe
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
  // The name that query-chardev shows: "unix:/run/x,server=on", "disconnected:unix:/run/x,server=on", "null", ...
  virtual std::string filename() const = 0;
  // The address of a socket: where it listens, with the actual port, or to which it connects. Nothing for other kinds.
  virtual std::optional<net::SocketAddress> address() const { return std::nullopt; }
  // True if a socket has a connected peer.
  virtual bool is_connected() const { return false; }
  // True if a monitor on this chardev can offer out-of-band commands: the chardev has input.
  virtual bool allows_out_of_band() const { return true; }
  bool has_frontend() const { return has_frontend_; }
  // True if a frontend uses the chardev (query-chardev's frontend-open).
  bool frontend_open() const { return has_frontend_; }

  void attach_frontend() { has_frontend_ = true; }
  void detach_frontend() { has_frontend_ = false; }

  // Waits for a peer. ECANCELED when the task was cancelled; after any other error there will be no further peer.
  virtual aio::Task<std::expected<std::unique_ptr<net::Stream>, Errno>> next_stream() = 0;
  // Notifies the chardev that the stream from next_stream() was destroyed.
  virtual void stream_closed() {}
  // For a server socket with wait=on: waits for the first peer. Others return at once.
  virtual aio::Task<Result<>> wait_for_peer() { co_return Result<>{}; }
  // Makes the takeover of a unix path final; called once the daemon serves.
  virtual void settle() {}

 private:
  std::string label_;
  bool has_frontend_ = false;
};

}  // namespace blockexport::chardev

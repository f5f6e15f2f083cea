// MonitorClient: a synchronous QMP client, for the client tool's commands that the daemon executes.
//
// It connects to a unix socket on which a monitor listens. Owner: the command. Thread: one at a time; it blocks, and
// each call ends after the timeout, whatever events arrive. Replies are untrusted and bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "base/owned_fd.h"
#include "json/parser.h"
#include "json/value.h"

namespace blockexport::monitor {

// Size of the largest reply that is accepted.
inline constexpr std::size_t kReplyBytesMax = std::size_t{16} << 20;
inline constexpr std::uint32_t kTimeoutSecondsDefault = 120;
inline constexpr std::uint32_t kTimeoutSecondsMax = 86400;
// The monitor of a daemon with a configuration file.
inline constexpr const char* kMonitorPathDefault = "/run/blockexport/qmp.sock";

class MonitorClient {
 public:
  // Connects and negotiates. Errors: nobody listens there, another client occupies the monitor, or it is no monitor.
  static Result<MonitorClient> connect(const std::string& path, std::uint32_t timeout_seconds);

  // Runs a command and returns its value. Events in between are skipped. The error is the daemon's, of the kind that
  // the daemon says, or tells that the connection has failed; then the client cannot be used any more.
  Result<json::Value> execute(const std::string& command, json::Object arguments);

 private:
  MonitorClient(OwnedFd socket, std::string path, std::uint32_t timeout_seconds);
  Result<> send(const std::string& text);
  // The next message, which is an object. Waits until deadline_ns_.
  Result<json::Object> receive();
  Result<> wait_for_bytes() const;
  void restart_deadline();

  OwnedFd socket_;
  std::string path_;
  std::uint32_t timeout_seconds_;
  SystemClock clock_;
  std::uint64_t deadline_ns_ = 0;  // of the present call
  json::Parser parser_;
};

}  // namespace blockexport::monitor

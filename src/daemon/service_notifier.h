// ServiceNotifier: tells a service manager about the state of the daemon, by the protocol of sd_notify(3): datagrams of
// lines NAME=value to the socket that NOTIFY_SOCKET names. systemd and container managers speak it.
//
// Owned by main(). Thread: main. A call waits at most kNotifySendMaxNs for a manager that does not read, and a kick of
// the watchdog not at all; failures are ignored, since the daemon works without a manager.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/owned_fd.h"

namespace blockexport::daemon {

inline constexpr std::uint64_t kNotifySendMaxNs = 100'000'000;

class ServiceNotifier {
 public:
  // No manager: every call does nothing.
  ServiceNotifier() = default;
  // Reads the environment variables of the protocol, and those of socket activation, and removes them, so that programs
  // that this process starts do not take themselves for the service. Called before other threads run, and after the
  // inherited descriptors were recorded.
  static ServiceNotifier from_environment();

  bool is_supervised() const { return static_cast<bool>(socket_); }
  // Longest time without a kick after which the manager takes the daemon for hung; nothing: no watchdog.
  std::optional<std::uint64_t> watchdog_ns() const { return watchdog_ns_; }

  // Every listener stands, and clients are served. Also ends a reload.
  void ready(std::string_view status) const;
  // A reload begins. ready() ends it.
  void reloading() const;
  // The daemon ends.
  void stopping(std::string_view status) const;
  // One line for people: `systemctl status` shows it.
  void status(std::string_view text) const;
  void kick_watchdog() const;

 private:
  void send(const std::string& message, int flags = 0) const;

  OwnedFd socket_;
  std::string address_;  // of the manager's socket: a path, or an abstract name that begins with '@'
  std::optional<std::uint64_t> watchdog_ns_;
};

}  // namespace blockexport::daemon

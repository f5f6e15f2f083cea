#include "daemon/service_notifier.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>

#include "base/clock.h"
#include "base/printable.h"

namespace blockexport::daemon {
namespace {

constexpr std::uint64_t kNanosecondsPerMicrosecond = 1000;

// The value of an environment variable, which is removed; empty when there is none.
std::string take_variable(const char* name) {
  const char* value = std::getenv(name);
  std::string text = value == nullptr ? "" : value;
  unsetenv(name);
  return text;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// STATUS= is one line of the message.
std::string status_line(std::string_view text) {
  return text.empty() ? "" : fmt::format("\nSTATUS={}", printable(text, text.size()));
}

}  // namespace

ServiceNotifier ServiceNotifier::from_environment() {
  ServiceNotifier notifier;
  const std::string address = take_variable("NOTIFY_SOCKET");
  const std::optional<std::uint64_t> watchdog_us = parse_number(take_variable("WATCHDOG_USEC"));
  const std::string watchdog_pid = take_variable("WATCHDOG_PID");
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"}) unsetenv(name);
  if (address.size() < 2 || (address[0] != '/' && address[0] != '@')) return notifier;
  if (address.size() >= sizeof(sockaddr_un::sun_path)) return notifier;
  notifier.socket_ = OwnedFd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!notifier.socket_) return notifier;
  notifier.address_ = address;
  const timeval limit{.tv_sec = 0, .tv_usec = kNotifySendMaxNs / kNanosecondsPerMicrosecond};
  setsockopt(notifier.socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  const bool concerns_this_process =
      watchdog_pid.empty() || parse_number(watchdog_pid) == static_cast<std::uint64_t>(getpid());
  if (watchdog_us && *watchdog_us > 0 && concerns_this_process) {
    notifier.watchdog_ns_ =
        *watchdog_us > UINT64_MAX / kNanosecondsPerMicrosecond ? UINT64_MAX : *watchdog_us * kNanosecondsPerMicrosecond;
  }
  return notifier;
}

void ServiceNotifier::ready(std::string_view status) const {
  send("READY=1" + status_line(status));
}

void ServiceNotifier::reloading() const {
  send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", SystemClock().now_ns() / kNanosecondsPerMicrosecond));
}

void ServiceNotifier::stopping(std::string_view status) const {
  send("STOPPING=1" + status_line(status));
}

void ServiceNotifier::status(std::string_view text) const {
  send("STATUS=" + printable(text, text.size()));
}

void ServiceNotifier::kick_watchdog() const {
  send("WATCHDOG=1", MSG_DONTWAIT);
}

void ServiceNotifier::send(const std::string& message, int flags) const {
  if (!socket_) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  address_.copy(address.sun_path, sizeof address.sun_path - 1);
  std::size_t bytes = offsetof(sockaddr_un, sun_path) + address_.size() + 1;
  if (address_[0] == '@') {
    // An abstract name has no terminator: it would belong to the name.
    address.sun_path[0] = '\0';
    --bytes;
  }
  (void)sendto(socket_.get(), message.data(), message.size(), flags | MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(bytes));
}

}  // namespace blockexport::daemon

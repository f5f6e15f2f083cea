#include "net/keep_alive.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace blockexport::net {
namespace {

Result<> check(std::string_view name, std::uint32_t value, std::uint32_t largest) {
  if (value <= largest) return {};
  return fail(Error::system(fmt::format("Unable to set TCP keep-alive {} option on socket", name), Errno(EINVAL))
                  .with_hint(fmt::format("keep-alive-{} is at most {}; 0 leaves it to the system.", name, largest)));
}

void set_number(int fd, int level, int option, std::uint32_t value) {
  int number = static_cast<int>(value);
  setsockopt(fd, level, option, &number, sizeof number);
}

}  // namespace

Result<> check_keep_alive(const KeepAlive& options) {
  if (!options.enabled.value_or(false)) return {};
  TRY(check("count", options.count, kKeepAliveCountMax));
  TRY(check("idle", options.idle_seconds, kKeepAliveSecondsMax));
  return check("interval", options.interval_seconds, kKeepAliveSecondsMax);
}

void set_keep_alive(int fd, const KeepAlive& options) {
  if (!options.enabled.value_or(false)) return;
  set_number(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  if (options.count > 0) set_number(fd, IPPROTO_TCP, TCP_KEEPCNT, options.count);
  if (options.idle_seconds > 0) set_number(fd, IPPROTO_TCP, TCP_KEEPIDLE, options.idle_seconds);
  if (options.interval_seconds > 0) set_number(fd, IPPROTO_TCP, TCP_KEEPINTVL, options.interval_seconds);
}

}  // namespace blockexport::net

// TCP keep-alive options of sockets: of listening ones, whose connections inherit them, and of outgoing ones.
//
// The numbers are checked before any socket is created, so that an invalid one gives its own error and no side effect.
// Plain functions; any thread.
#pragma once

#include "base/error.h"
#include "net/address.h"

namespace blockexport::net {

// The largest numbers that the kernel accepts.
inline constexpr std::uint32_t kKeepAliveCountMax = 127;
inline constexpr std::uint32_t kKeepAliveSecondsMax = 32767;

// Default of servers: a client that loses its power or its network never closes the connection, which would keep its
// slot and its memory for ever. This detects it within two minutes.
inline constexpr KeepAlive kServerKeepAlive{.enabled = true, .count = 4, .idle_seconds = 60, .interval_seconds = 15};

// Error: keep-alive is enabled with a number that is too large.
Result<> check_keep_alive(const KeepAlive& options);

// Sets checked options on a TCP socket; does nothing when keep-alive is not enabled. Ignores errors of the kernel.
void set_keep_alive(int fd, const KeepAlive& options);

}  // namespace blockexport::net

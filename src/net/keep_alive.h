// TCP keep-alive of sockets: those that listen, whose connections inherit it, and those that connect.
//
// The numbers are checked before any socket is made, so that a wrong one is told as such and nothing is half done.
// Plain functions; any thread.
#pragma once

#include "base/error.h"
#include "net/address.h"

namespace blockexport::net {

// The largest numbers that the kernel takes.
inline constexpr std::uint32_t kKeepAliveCountMax = 127;
inline constexpr std::uint32_t kKeepAliveSecondsMax = 32767;

// For a server whose address does not say: a client that lost its power or its network says no goodbye, and would keep
// its place and its memory for ever. One that is gone is found out in two minutes.
inline constexpr KeepAlive kServerKeepAlive{.enabled = true, .count = 4, .idle_seconds = 60, .interval_seconds = 15};

// Errors: keep-alive is enabled with a number that is too large.
Result<> check_keep_alive(const KeepAlive& options);

// Sets what was checked on a TCP socket; does nothing where keep-alive is not enabled. A kernel that cannot do it
// leaves the socket as it is.
void set_keep_alive(int fd, const KeepAlive& options);

}  // namespace blockexport::net

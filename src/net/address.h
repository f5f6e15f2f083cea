// Socket addresses as the configuration names them: internet, unix, vsock, or a descriptor that was handed down.
// The shapes and defaults are those of the schema's SocketAddress; control/ converts. Plain values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "base/owned_fd.h"

namespace blockexport::net {

// TCP keep-alive: probes to a peer that is silent, which find out that it is gone. 0 leaves a number to the system.
struct KeepAlive {
  std::optional<bool> enabled = {};  // nothing: nobody has said; it is off unless whoever listens or connects decides
  std::uint32_t count = 0;           // probes without an answer after which the connection is lost
  std::uint32_t idle_seconds = 0;    // silence before the first probe
  std::uint32_t interval_seconds = 0;
};

struct InetAddress {
  std::string host = {};  // "" = any address when listening
  std::string port = {};  // a number or a service name; "0" = a free one
  bool numeric = false;
  std::optional<std::uint16_t> to = {};  // listen on the first free port of port..to
  std::optional<bool> ipv4 = {};
  std::optional<bool> ipv6 = {};
  KeepAlive keep_alive = {};
  bool multipath = false;  // Multipath TCP
};

struct UnixAddress {
  std::string path;
  bool abstract = false;
  bool tight = true;  // an abstract name ends where the path ends, else it fills sun_path
};

struct VsockAddress {
  std::string cid;
  std::string port;
};

// A socket that was inherited from the parent process, by the number that it had. The number alone is worth nothing:
// who listens or connects takes `socket`, which only the command line can have.
struct FdAddress {
  std::string descriptor;
  std::shared_ptr<OwnedFd> socket = {};
};

using SocketAddress = std::variant<InetAddress, UnixAddress, VsockAddress, FdAddress>;

// "unix:/run/x.sock", "10.0.0.1:10809", "[::1]:10809", "vsock:2:1234", "fd:5": for log lines and queries.
std::string describe(const SocketAddress& address);

}  // namespace blockexport::net

// Socket addresses of the configuration: internet, unix, vsock, or an inherited descriptor. The fields and defaults are
// those of the schema's SocketAddress; control/ converts. Plain values; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/owned_fd.h"

namespace blockexport::net {

// TCP keep-alive: probes to a silent peer, which detect that it is gone. 0 selects the system's default of a number.
struct KeepAlive {
  std::optional<bool> enabled = {};  // nothing: not configured; then the server or client code decides, and the default
                                     // is off
  std::uint32_t count = 0;           // unanswered probes after which the connection is closed
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
  bool tight = true;  // the address of an abstract name ends with the path, else it fills sun_path
};

struct VsockAddress {
  std::string cid;
  std::string port;
};

// A socket that was inherited from the parent process, and its original number; or the sockets that systemd passed
// under a name. Code that listens or connects uses `socket` or `named`, never the number; only the command line can set
// `socket`, and NamedSockets `named`.
struct FdAddress {
  std::string descriptor = {};
  std::shared_ptr<OwnedFd> socket = {};
  std::string name = {};  // not empty: the sockets of this name, not a number
  std::shared_ptr<std::vector<OwnedFd>> named = {};
};

using SocketAddress = std::variant<InetAddress, UnixAddress, VsockAddress, FdAddress>;

// "unix:/run/x.sock", "10.0.0.1:10809", "[::1]:10809", "vsock:2:1234", "fd:5", "systemd:NAME": for log lines and
// queries.
std::string describe(const SocketAddress& address);

}  // namespace blockexport::net

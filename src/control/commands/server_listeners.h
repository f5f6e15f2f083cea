// Listeners of NBD servers: their options, and the lines of the log about them. Thread: the control reactor.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"
#include "net/listen.h"

namespace blockexport::control {

class Control;

// The address with the keep-alive that servers use by default.
net::SocketAddress with_keep_alive(net::SocketAddress address);

// The addresses of its sockets as text, with the port that was chosen.
std::vector<std::string> bound_addresses(const net::Listener& listener);

// Lets the server of that id, which exists, accept clients from `listener`. Logs the addresses (for the default server
// only where the kernel or the process chose a port or a path), a takeover of a unix path, and a warning when the
// address is public and the server has no TLS.
void begin_to_listen(Control& control, std::string_view server_id, std::unique_ptr<net::Listener> listener);

}  // namespace blockexport::control

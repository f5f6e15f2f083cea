// Making chardevs: what chardev-add and the option --chardev share.
#pragma once

#include <optional>
#include <string>

#include "chardev/chardev.h"

namespace blockexport::control {

class Control;

// Errors: an id in use; what cannot be opened.
aio::Task<Result<>> add_chardev(Control& control, std::string id, chardev::Options options);

// What a socket chardev needs for the TLS that it was told of. Errors: an address without TLS, credentials that are not
// there or are for the other side.
Result<std::optional<chardev::SocketTls>> chardev_tls(Control& control, const net::SocketAddress& address, bool server,
                                                      const std::optional<std::string>& credentials,
                                                      const std::optional<std::string>& authorizer);

}  // namespace blockexport::control

// Creation of chardevs, for chardev-add and the option --chardev.
#pragma once

#include <optional>
#include <string>

#include "chardev/chardev.h"

namespace blockexport::control {

class Control;

// Errors: an id in use; a file or address that cannot be opened.
aio::Task<Result<>> add_chardev(Control& control, std::string id, chardev::Options options);

// The TLS settings of a socket chardev. Errors: an address that does not support TLS, credentials that do not exist or
// are for the other endpoint.
Result<std::optional<chardev::SocketTls>> chardev_tls(Control& control, const net::SocketAddress& address, bool server,
                                                      const std::optional<std::string>& credentials,
                                                      const std::optional<std::string>& authorizer);

}  // namespace blockexport::control

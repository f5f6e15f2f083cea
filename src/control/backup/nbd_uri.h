// URIs of the exports of an NBD server, by the specification of the NBD URI format (doc/uri.md of the NBD project) and
// RFC 3986. Pure functions; thread: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "net/resolve.h"

namespace blockexport::control {

// The URI of the export of that name at the address of a listening socket. `is_tls`: the server requires TLS. An
// address of any interface becomes the loopback address. Nullopt for an address without a URI: an abstract socket, or a
// family other than IPv4, IPv6, unix and vsock.
std::optional<std::string> nbd_uri(const net::NumericAddress& address, std::string_view export_name, bool is_tls);

// The same for a unix socket with a path, which is absolute.
std::string nbd_unix_uri(std::string_view path, std::string_view export_name, bool is_tls);

// Replaces all bytes except unreserved characters (RFC 3986, section 2.3) by their percent-encoded form.
std::string percent_encoded(std::string_view text);

}  // namespace blockexport::control

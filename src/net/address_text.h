// Text form of an address to listen on, as people write it in a configuration and on the command
// line. Pure function; thread: any.
#pragma once

#include <string_view>

#include "base/error.h"
#include "net/address.h"

namespace blockexport::net {

// Bytes of such a text.
inline constexpr std::size_t kAddressTextBytesMax = 512;

// Context ID of a vsock address that stands for every one (VMADDR_CID_ANY).
inline constexpr std::string_view kAnyVsockId = "4294967295";

// Parses "HOST:PORT", "[IPV6]:PORT", "unix:PATH", "unix:@NAME" (abstract), "vsock:CID:PORT" or "systemd:NAME". An empty
// HOST is every address of this host. The result of "systemd:NAME" is an FdAddress with a name and without sockets.
// Errors tell the text and what is wrong with it.
Result<SocketAddress> parse_address(std::string_view text);

}  // namespace blockexport::net

// Which versions and algorithms of TLS are offered and accepted. Thread: any.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "net/gnutls_handles.h"

namespace blockexport::net {

// Without a `priority` of the user's: TLS 1.2 and up, authenticated ciphers alone, forward secrecy always, the server's
// order first. AES-128-GCM stands first because it is the fastest of three that are all good; where AES has no help
// from the processor it is still no slower than what clients ask for by themselves (docs/compatibility.md).
inline constexpr std::string_view kCertificatePriority =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
    ":-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-MAC-ALL:+AEAD"
    ":-RSA:-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1:%SERVER_PRECEDENCE";
inline constexpr std::string_view kSharedKeyPriority =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
    ":-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-MAC-ALL:+AEAD"
    ":-KX-ALL:+ECDHE-PSK:+DHE-PSK:%SERVER_PRECEDENCE";
// TLS 1.3 has no anonymous mode.
inline constexpr std::string_view kAnonymousPriority =
    "NORMAL:-VERS-ALL:+VERS-TLS1.2"
    ":-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-MAC-ALL:+AEAD"
    ":-KX-ALL:+ANON-ECDH:+ANON-DH:%SERVER_PRECEDENCE";

// What the kinds without certificates add to a `priority` of the user's, who would else have to know of it.
inline constexpr std::string_view kSharedKeySuffix = ":+ECDHE-PSK:+DHE-PSK:+PSK";
inline constexpr std::string_view kAnonymousSuffix = ":+ANON-DH";

// `chosen` is the user's, and wins. Errors: "Unable to set TLS session priority X: REASON".
Result<GnutlsPriority> make_priority(const std::string& chosen, std::string_view suffix, std::string_view ours);

}  // namespace blockexport::net

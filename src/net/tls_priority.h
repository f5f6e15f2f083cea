// TLS priorities: the versions and algorithms of TLS that are offered and accepted. Thread: any.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "net/gnutls_handles.h"

namespace blockexport::net {

// Defaults without a `priority` of the user: TLS 1.2 or later, only authenticated ciphers, always forward secrecy, and
// the server's order. AES-128-GCM is first because it is the fastest of three secure ciphers; on a processor without
// AES instructions it is still no slower than the clients' own choice (docs/compatibility.md).
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

// Suffixes that the kinds without certificates append to a `priority` of the user, who otherwise would have to know
// them.
inline constexpr std::string_view kSharedKeySuffix = ":+ECDHE-PSK:+DHE-PSK:+PSK";
inline constexpr std::string_view kAnonymousSuffix = ":+ANON-DH";

// `chosen`: the user's priority, to which `suffix` is appended; when it is empty, `ours` is used. Errors: "Unable to
// set TLS session priority X: REASON".
Result<GnutlsPriority> make_priority(const std::string& chosen, std::string_view suffix, std::string_view ours);

}  // namespace blockexport::net

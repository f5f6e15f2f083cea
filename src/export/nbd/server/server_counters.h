// ServerCounters: counters of the events of one NBD server, which continue when a server of the same id follows.
//
// Owned by the control layer. Thread: the control reactor.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace blockexport::nbd {

// Reasons for the end of a connection in its handshake. A client that ends it in order (NBD_OPT_ABORT) has not failed.
enum class HandshakeFailure : std::uint8_t {
  kDisconnected,  // the client closed the connection, or it broke
  kProtocol,      // the client broke the protocol, or asked for an unknown export with NBD_OPT_EXPORT_NAME
  kTls,           // the TLS handshake failed, the check of the peer included
  kRefused,       // the server's authorizer refused the client
  kTimeout,       // the time for the handshake was over
  kDisplaced,     // there were too many handshakes
  kExportGone,    // the chosen export was removed meanwhile
};
inline constexpr std::size_t kHandshakeFailures = 7;
inline constexpr std::array<std::string_view, kHandshakeFailures> kHandshakeFailureNames{
    "disconnected", "protocol", "tls", "refused", "timeout", "displaced", "export_gone"};

// Kind of a TLS session. The number of kinds is small: GnuTLS knows few versions and ciphers.
struct TlsKind {
  std::string credentials;  // id of the object
  std::string version;
  std::string cipher;

  friend auto operator<=>(const TlsKind&, const TlsKind&) = default;
};

struct ServerCounters {
  std::uint64_t accepted = 0;
  std::uint64_t slot_waits = 0;  // clients that found all slots of max-connections taken
  std::array<std::uint64_t, kHandshakeFailures> handshake_failures{};
  std::map<TlsKind, std::uint64_t> tls_handshakes;  // successful ones

  void failed(HandshakeFailure reason) { ++handshake_failures[static_cast<std::size_t>(reason)]; }
};

}  // namespace blockexport::nbd

// TlsCredentials: credentials of one side of a TLS connection, and its requirements of the peer: certificates,
// pre-shared keys, or none. TlsDirectory: looks them up by ID.
//
// Immutable once loaded, and shared: a connection keeps the credentials that it began with, even if the object or the
// files change. Loading reads files and may compute for milliseconds, so it runs on a worker. Other functions: any
// thread.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

struct gnutls_session_int;

namespace blockexport::net {

enum class TlsEndpoint : std::uint8_t { kClient, kServer };

// Options of every kind of credentials. The defaults are those of the schema.
struct TlsOptions {
  std::string directory = {};  // directory of the files; "" = none was given
  TlsEndpoint endpoint = TlsEndpoint::kClient;
  bool verify_peer = true;
  std::string priority = {};  // GnuTLS's syntax; "" = our own choice (tls_priority.h)
  bool strict_modes = false;  // refuse files that other users can read or change, but should not
};

// Reason to refuse a peer: a text for the log, and an alert for the peer.
struct TlsRefusal {
  std::string reason;
  int alert;  // gnutls_alert_description_t
};

// The expiry of a certificate.
struct TlsExpiry {
  std::string file;
  std::int64_t unix_seconds = 0;
};

class TlsCredentials {
 public:
  virtual ~TlsCredentials() = default;
  TlsCredentials(const TlsCredentials&) = delete;
  TlsCredentials& operator=(const TlsCredentials&) = delete;

  TlsEndpoint endpoint() const { return endpoint_; }

  // Sets these credentials on a new session, which they outlive.
  virtual Result<> attach(gnutls_session_int* session) const = 0;
  // Checks the peer after the handshake. Returns its identity (a certificate's subject, the user of a shared key, or ""
  // for an anonymous peer), or the reason to refuse it. `host` is the name that a client connects to; "" = any.
  virtual std::expected<std::string, TlsRefusal> check_peer(gnutls_session_int* session,
                                                            const std::string& host) const = 0;
  // The expiries of our own certificate and of the authority's.
  virtual std::vector<TlsExpiry> expiries() const { return {}; }
  // The files that other users can read or change, but should not: "PATH: FAULT; fix it with: COMMAND".
  const std::vector<std::string>& exposures() const { return exposures_; }

 protected:
  explicit TlsCredentials(TlsEndpoint endpoint) : endpoint_(endpoint) {}
  // Called before the credentials are shared: records the exposure of the file at `path`, if there is one.
  void note_exposure(const std::string& path, const std::optional<std::string>& exposure) {
    if (exposure) exposures_.push_back(path + ": " + *exposure);
  }

 private:
  TlsEndpoint endpoint_;
  std::vector<std::string> exposures_;
};

using TlsCredentialsReference = std::shared_ptr<const TlsCredentials>;

class TlsDirectory {
 public:
  // The current credentials of the object `id`, for that side of a connection. Errors: "No TLS credentials with id
  // 'X'", "Object with id 'X' is not TLS credentials", "Expected TLS credentials for a server endpoint".
  virtual Result<TlsCredentialsReference> find(std::string_view id, TlsEndpoint endpoint) = 0;

 protected:
  ~TlsDirectory() = default;
};

}  // namespace blockexport::net

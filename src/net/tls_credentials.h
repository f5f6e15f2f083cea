// TlsCredentials: what one side of a TLS connection proves itself with, and what it wants of the other: certificates,
// shared keys, or nothing. Directory: where they are found by name.
//
// Immutable once loaded, and shared: connections that live keep what they began with, whatever becomes of the object or
// the files meanwhile. Loading reads files and may take milliseconds of arithmetic: on a worker. The rest: any thread.
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

// What every kind of credentials is told. The defaults are those of the schema.
struct TlsOptions {
  std::string directory = {};  // of the files; "" = none was given
  TlsEndpoint endpoint = TlsEndpoint::kClient;
  bool verify_peer = true;
  std::string priority = {};  // GnuTLS's syntax; "" = our own choice (tls_priority.h)
  bool strict_modes = false;  // files that others can read or change, but should not, are refused
};

// Why a peer is not let in: for the log, and what the peer is told of it.
struct TlsRefusal {
  std::string reason;
  int alert;  // gnutls_alert_description_t
};

// A certificate that will not be valid for ever.
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

  // For a session that is about to begin; they outlive it.
  virtual Result<> attach(gnutls_session_int* session) const = 0;
  // After the handshake: who the peer is (a certificate's subject, the user of a shared key, or "" when it stays
  // nameless), or why it is refused. `host` is the name that a client meant to reach; "" = whoever answers.
  virtual std::expected<std::string, TlsRefusal> check_peer(gnutls_session_int* session,
                                                            const std::string& host) const = 0;
  // Our own certificates, that of the authority among them.
  virtual std::vector<TlsExpiry> expiries() const { return {}; }
  // The files that others can read or change, but should not: "PATH: what is wrong; mend it with: ...".
  const std::vector<std::string>& exposures() const { return exposures_; }

 protected:
  explicit TlsCredentials(TlsEndpoint endpoint) : endpoint_(endpoint) {}
  // Before they are shared: remembers what was found with the file at `path`, if anything was.
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
  // What the object `id` holds now, for that side of a connection. Errors: "No TLS credentials with id 'X'", "Object
  // with id 'X' is not TLS credentials", "Expected TLS credentials for a server endpoint".
  virtual Result<TlsCredentialsReference> find(std::string_view id, TlsEndpoint endpoint) = 0;

 protected:
  ~TlsDirectory() = default;
};

}  // namespace blockexport::net

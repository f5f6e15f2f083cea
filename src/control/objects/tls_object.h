// TlsObject: the object types "tls-creds-x509", "tls-creds-psk" and "tls-creds-anon": TLS credentials under a name.
//
// It loads them when it is made, and again whenever their files change; whoever asks gets those loaded last, and keeps
// them as long as he needs them. Files that are no good are reported once and change nothing. It warns in the log when
// a certificate is about to expire or a key is open to others. Thread: the control reactor; loading runs on a worker.
#pragma once

#include <variant>

#include "aio/directory_watch.h"
#include "aio/scope.h"
#include "base/lasting_condition.h"
#include "control/core/object_store.h"
#include "net/tls_anonymous_credentials.h"
#include "net/tls_psk_credentials.h"
#include "net/tls_x509_credentials.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

// How long after a change in their directory credentials are loaded anew: files that belong together are replaced one
// by one.
inline constexpr std::uint64_t kCredentialsQuietNs = 200'000'000;
// How long until files that could not be loaded or watched are tried again, though nothing says that they have changed:
// their directory was removed or renamed, or the process was out of descriptors.
inline constexpr std::uint64_t kCredentialsRetryNs = 1'000'000'000;
// How often the dates of certificates are looked at.
inline constexpr std::uint64_t kExpiryCheckNs = 3600ull * 1'000'000'000;

class TlsObject final : public UserObject {
 public:
  // In the order of Shown.
  enum class Kind { kAnonymous, kSharedKey, kCertificate };
  // What the properties of all kinds mean.
  struct Settings : net::TlsOptions {
    bool sanity_check = true;
    std::string passwordid = {};
    std::string username = {};
  };

  using Created = Result<std::unique_ptr<UserObject>>;
  static Created create_anonymous(Control& control, const schema::ObjectOptions& options);
  static Created create_shared_key(Control& control, const schema::ObjectOptions& options);
  static Created create_certificate(Control& control, const schema::ObjectOptions& options);

  std::string_view type_name() const override;
  std::span<const schema::Property> properties() const override;
  json::Value get(std::string_view name) const override;
  // Properties can be set, as in the original, and change nothing: what was loaded stays.
  Result<> set(std::string_view name, const json::Value& value) override;
  // Errors: what is wrong with the files, a priority that is none, a secret that is not there.
  aio::Task<Result<>> complete() override;
  aio::Task<void> close() override;
  net::TlsCredentialsReference tls_credentials() override { return current_; }

 private:
  using WatchResult = std::expected<std::unique_ptr<aio::DirectoryWatch>, Errno>;

  // Those of one kind, with a value for each.
  using Shown =
      std::variant<schema::TlsCredsAnonProperties, schema::TlsCredsPskProperties, schema::TlsCredsX509Properties>;

  TlsObject(Control& control, std::string id, Shown shown);
  Kind kind() const { return static_cast<Kind>(shown_.index()); }
  aio::Task<Result<net::TlsCredentialsReference>> load();
  aio::Task<void> follow_files(WatchResult watch);
  // Waits for a change; not for ever while the files are no good. Errors: of the watch, which is of no more use.
  aio::Task<IoResult> wait_for_change(aio::DirectoryWatch& watch);
  // Afterwards `is_usable_` says whether the files could be loaded.
  aio::Task<void> load_again();
  aio::Task<void> watch_dates();
  void warn_of_exposures();
  void warn_of_expiry();

  Control& control_;
  Settings settings_;  // as it was made
  Shown shown_;        // as qom-set may have changed them
  net::TlsCredentialsReference current_;
  bool is_usable_ = true;           // what the files were when they were read last
  LastingCondition load_refusal_;   // the files have changed and cannot be used
  LastingCondition watch_refusal_;  // there is a directory, and it cannot be watched
  std::string last_warning_;
  std::vector<std::string> told_exposures_;  // what the log says of the files that are loaded
  aio::Scope tasks_;
};

}  // namespace blockexport::control

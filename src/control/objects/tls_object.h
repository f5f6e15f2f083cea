// TlsObject: the object types "tls-creds-x509", "tls-creds-psk" and "tls-creds-anon": named TLS credentials.
//
// It loads them when it is made, and again whenever their files change; a caller gets the credentials that were loaded
// last, and keeps them as long as needed. Invalid files are reported once and change nothing. It logs a warning when a
// certificate is about to expire or other users can read a key. Thread: the control reactor; loading runs on a worker.
#pragma once

#include <variant>

#include "aio/file/directory_watch.h"
#include "aio/sync/scope.h"
#include "base/lasting_condition.h"
#include "control/core/object_store.h"
#include "net/tls_anonymous_credentials.h"
#include "net/tls_psk_credentials.h"
#include "net/tls_x509_credentials.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

// Delay between a change in the directory and the loading of the files: files that belong together are replaced one by
// one.
inline constexpr std::uint64_t kCredentialsQuietNs = 200'000'000;
// Interval of attempts to load or watch the files after a failure, even without a sign of a change: the directory was
// removed or renamed, or the process had no free descriptors.
inline constexpr std::uint64_t kCredentialsRetryNs = 1'000'000'000;
// Interval of the checks of certificates' dates.
inline constexpr std::uint64_t kExpiryCheckNs = 3600ull * 1'000'000'000;

class TlsObject final : public UserObject {
 public:
  // In the order of the alternatives of Shown.
  enum class Kind { kAnonymous, kSharedKey, kCertificate };
  // The settings that the properties of all kinds express.
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
  // qom-set succeeds, as in QEMU, and has no effect: the loaded credentials stay.
  Result<> set(std::string_view name, const json::Value& value) override;
  // Errors: unusable files, an invalid priority string, a secret that does not exist.
  aio::Task<Result<>> complete() override;
  aio::Task<void> close() override;
  net::TlsCredentialsReference tls_credentials() override { return current_; }

 private:
  using WatchResult = std::expected<std::unique_ptr<aio::DirectoryWatch>, Errno>;

  // The properties of one kind, each with a value.
  using Shown =
      std::variant<schema::TlsCredsAnonProperties, schema::TlsCredsPskProperties, schema::TlsCredsX509Properties>;

  TlsObject(Control& control, std::string id, Shown shown);
  Kind kind() const { return static_cast<Kind>(shown_.index()); }
  aio::Task<Result<net::TlsCredentialsReference>> load();
  aio::Task<void> follow_files(WatchResult watch);
  // Waits for a change; with a time limit while the files are unusable. Errors: those of the watch, which is unusable
  // then.
  aio::Task<IoResult> wait_for_change(aio::DirectoryWatch& watch);
  // Sets `is_usable_`: whether the files could be loaded.
  aio::Task<void> load_again();
  aio::Task<void> watch_dates();
  void warn_of_exposures();
  void warn_of_expiry();

  Control& control_;
  Settings settings_;  // as created
  Shown shown_;        // including changes by qom-set
  net::TlsCredentialsReference current_;
  bool is_usable_ = true;           // the last reading of the files succeeded
  LastingCondition load_refusal_;   // the files have changed and cannot be used
  LastingCondition watch_refusal_;  // the directory exists, and cannot be watched
  std::string last_warning_;
  std::vector<std::string> reported_exposures_;  // the logged faults of the loaded files
  aio::Scope tasks_;
};

}  // namespace blockexport::control

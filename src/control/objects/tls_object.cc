#include "control/objects/tls_object.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "aio/file/directory_watch.h"
#include "aio/sync/with_deadline.h"
#include "base/absolute_path.h"
#include "control/core/control.h"
#include "control/objects/object_properties.h"
#include "control/objects/secret_object.h"

namespace blockexport::control {
namespace {

constexpr std::int64_t kSecondsPerDay = 86'400;
constexpr std::int64_t kWarningDays[] = {7, 30};

// Loads credentials on a worker thread and shares ownership of itself, because the files may be on a file system that
// does not respond.
struct Loading {
  TlsObject::Kind kind;
  net::TlsX509Options certificate = {};
  net::TlsPskOptions shared_key = {};
  SecretReference password = {};
  Result<net::TlsCredentialsReference> loaded = net::TlsCredentialsReference();

  static std::int64_t run(void* loading) {
    auto& self = *static_cast<Loading*>(loading);
    self.certificate.password = self.password.get();
    switch (self.kind) {
      case TlsObject::Kind::kAnonymous:
        self.loaded = net::TlsAnonymousCredentials::load(self.shared_key);
        break;
      case TlsObject::Kind::kSharedKey:
        self.loaded = net::TlsPskCredentials::load(self.shared_key);
        break;
      case TlsObject::Kind::kCertificate:
        self.loaded = net::TlsX509Credentials::load(self.certificate);
        break;
    }
    return 0;
  }
};

// The same properties, each with a value. Values is one of the three structs.
template <class Values>
Values with_defaults(Values values) {
  values.verify_peer = values.verify_peer.value_or(true);
  values.endpoint = values.endpoint.value_or(schema::QCryptoTLSCredsEndpoint::kClient);
  if (!values.dir) values.dir.emplace();
  if (!values.priority) values.priority.emplace();
  if constexpr (requires { values.username; }) values.username = values.username.value_or("");
  if constexpr (requires { values.sanity_check; }) values.sanity_check = values.sanity_check.value_or(true);
  if constexpr (requires { values.passwordid; }) values.passwordid = values.passwordid.value_or("");
  if constexpr (requires { values.strict_modes; }) values.strict_modes = values.strict_modes.value_or(false);
  return values;
}

template <class Values>
TlsObject::Settings settings_of(const Values& values) {
  TlsObject::Settings settings;
  settings.verify_peer = *values.verify_peer;
  settings.directory = *values.dir;
  if (*values.endpoint == schema::QCryptoTLSCredsEndpoint::kServer) settings.endpoint = net::TlsEndpoint::kServer;
  settings.priority = *values.priority;
  if constexpr (requires { values.username; }) settings.username = *values.username;
  if constexpr (requires { values.sanity_check; }) settings.sanity_check = *values.sanity_check;
  if constexpr (requires { values.passwordid; }) settings.passwordid = *values.passwordid;
  if constexpr (requires { values.strict_modes; }) settings.strict_modes = *values.strict_modes;
  return settings;
}

}  // namespace

TlsObject::TlsObject(Control& control, std::string id, Shown shown)
    : UserObject(std::move(id)),
      control_(control),
      settings_(std::visit([](const auto& values) { return settings_of(values); }, shown)),
      shown_(std::move(shown)),
      load_refusal_(control.log()),
      watch_refusal_(control.log()),
      tasks_(control.reactor()) {}

TlsObject::Created TlsObject::create_anonymous(Control& control, const schema::ObjectOptions& options) {
  const auto& given = options.as<schema::ObjectType::kTlsCredsAnon>();
  if (given.verify_peer.value_or(false)) {
    control.log().warning(
        fmt::format("tls-creds-anon '{}': verify-peer=on has no effect: without certificates or keys "
                    "no peer can prove its identity",
                    options.id));
  }
  return std::unique_ptr<UserObject>(new TlsObject(control, options.id, with_defaults(given)));
}

TlsObject::Created TlsObject::create_shared_key(Control& control, const schema::ObjectOptions& options) {
  const auto& given = options.as<schema::ObjectType::kTlsCredsPsk>();
  return std::unique_ptr<UserObject>(new TlsObject(control, options.id, with_defaults(given)));
}

TlsObject::Created TlsObject::create_certificate(Control& control, const schema::ObjectOptions& options) {
  const auto& given = options.as<schema::ObjectType::kTlsCredsX509>();
  return std::unique_ptr<UserObject>(new TlsObject(control, options.id, with_defaults(given)));
}

std::string_view TlsObject::type_name() const {
  switch (kind()) {
    case Kind::kAnonymous:
      return "tls-creds-anon";
    case Kind::kSharedKey:
      return "tls-creds-psk";
    case Kind::kCertificate:
      return "tls-creds-x509";
  }
  __builtin_unreachable();
}

std::span<const schema::Property> TlsObject::properties() const {
  return std::visit(
      []<class Values>(const Values&) -> std::span<const schema::Property> { return schema::Properties<Values>::kAll; },
      shown_);
}

json::Value TlsObject::get(std::string_view name) const {
  return std::visit([name](const auto& values) { return property_of(values, name); }, shown_);
}

Result<> TlsObject::set(std::string_view name, const json::Value& value) {
  return std::visit(
      [&](auto& values) -> Result<> {
        TRY_ASSIGN(values, with_property(values, name, value));
        return {};
      },
      shown_);
}

aio::Task<Result<net::TlsCredentialsReference>> TlsObject::load() {
  auto loading = std::make_shared<Loading>(Loading{.kind = kind()});
  static_cast<net::TlsOptions&>(loading->certificate) = static_cast<const net::TlsOptions&>(settings_);
  static_cast<net::TlsOptions&>(loading->shared_key) = static_cast<const net::TlsOptions&>(settings_);
  loading->certificate.sanity_check = settings_.sanity_check;
  loading->shared_key.username = settings_.username;
  if (!settings_.passwordid.empty()) {
    CO_TRY_ASSIGN(loading->password, find_secret(control_.objects(), settings_.passwordid));
  }
  const std::shared_ptr<void> shared = loading;
  auto done = co_await control_.reactor().call_abandonably(Loading::run, shared);
  if (!done) {
    co_return fail(Error::system(fmt::format("Unable to access credentials in {}", settings_.directory), done.error()));
  }
  co_return std::move(loading->loaded);
}

aio::Task<Result<>> TlsObject::complete() {
  forbid_core_dumps();
  // The watch begins before the files are read, so that no change is missed.
  WatchResult watch = fail(ENOENT);
  if (!settings_.directory.empty())
    watch = co_await aio::DirectoryWatch::create(control_.reactor(), settings_.directory);
  CO_TRY_ASSIGN(current_, co_await load());
  warn_of_exposures();
  // Later reads of the files must not depend on the working directory, which the daemon changes.
  settings_.directory = absolute_path(settings_.directory);
  warn_of_expiry();
  if (!settings_.directory.empty()) tasks_.spawn("tls files", follow_files(std::move(watch)));
  if (kind() == Kind::kCertificate) tasks_.spawn("tls dates", watch_dates());
  co_return Result<>();
}

aio::Task<void> TlsObject::close() {
  tasks_.cancel();
  co_await tasks_.join();
}

aio::Task<void> TlsObject::follow_files(WatchResult watch) {
  for (;;) {
    const IoResult changed = watch ? co_await wait_for_change(**watch) : IoResult(fail(watch.error()));
    if (tasks_.cancelled()) co_return;
    if (changed) {
      if (!co_await control_.reactor().sleep_until(control_.reactor().now_ns() + kCredentialsQuietNs)) co_return;
      co_await load_again();
      continue;
    }
    // The directory is missing, and may come back; or the kernel refused a watch, and may grant it later.
    if (changed.error() != Errno(ENOENT)) {
      watch_refusal_.happened(fmt::format("{} '{}': cannot watch its files for changes: {}", type_name(), id(),
                                          errno_text(changed.error())));
    }
    if (!co_await control_.reactor().sleep_until(control_.reactor().now_ns() + kCredentialsRetryNs)) co_return;
    watch = co_await aio::DirectoryWatch::create(control_.reactor(), settings_.directory);
    if (!watch && watch.error() != Errno(ENOENT)) continue;
    watch_refusal_.clear();
    co_await load_again();
  }
}

aio::Task<IoResult> TlsObject::wait_for_change(aio::DirectoryWatch& watch) {
  if (is_usable_) co_return co_await watch.changed();
  const std::uint64_t retry_ns = aio::deadline_after(control_.reactor(), kCredentialsRetryNs);
  aio::Task<IoResult> waiting = watch.changed();
  auto [changed, is_late] = co_await aio::with_deadline("tls files", retry_ns, std::move(waiting));
  co_return is_late ? IoResult() : changed;
}

// Files that cannot be used are reported, and the old credentials stay.
aio::Task<void> TlsObject::load_again() {
  Result<net::TlsCredentialsReference> loaded = co_await load();
  is_usable_ = loaded.has_value();
  if (loaded) {
    current_ = std::move(*loaded);
    load_refusal_.clear();
    control_.log().info(fmt::format("{} '{}': its files have changed and were loaded", type_name(), id()));
    warn_of_exposures();
    warn_of_expiry();
  } else {
    load_refusal_.happened(
        fmt::format("{} '{}': its files have changed and cannot be used; the credentials loaded before "
                    "stay in use: {}",
                    type_name(), id(), loaded.error().message()));
  }
}

aio::Task<void> TlsObject::watch_dates() {
  while (co_await control_.reactor().sleep_until(control_.reactor().now_ns() + kExpiryCheckNs)) warn_of_expiry();
}

// Warns once for each file, and again if it was corrected and is exposed again.
void TlsObject::warn_of_exposures() {
  for (const std::string& exposure : current_->exposures()) {
    if (std::ranges::find(reported_exposures_, exposure) != reported_exposures_.end()) continue;
    control_.log().warning(fmt::format("{} '{}': {}", type_name(), id(), exposure));
  }
  reported_exposures_ = current_->exposures();
}

// Warns once for each file at each threshold.
void TlsObject::warn_of_expiry() {
  std::string warning;
  for (const net::TlsExpiry& expiry : current_->expiries()) {
    const std::int64_t left = expiry.unix_seconds - time(nullptr);
    for (std::int64_t days : kWarningDays) {
      if (left > days * kSecondsPerDay) continue;
      if (!warning.empty()) warning += "; ";
      warning += left < 0 ? fmt::format("certificate {} has expired", expiry.file)
                          : fmt::format("certificate {} expires in less than {} days", expiry.file, days);
      break;
    }
  }
  if (!warning.empty() && warning != last_warning_) {
    control_.log().warning(fmt::format("{} '{}': {}", type_name(), id(), warning));
  }
  last_warning_ = std::move(warning);
}

}  // namespace blockexport::control

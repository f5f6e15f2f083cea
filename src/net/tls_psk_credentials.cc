#include "net/tls_psk_credentials.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>

#include <cstring>

#include "net/tls_dh_parameters.h"
#include "net/tls_files.h"
#include "net/tls_priority.h"

namespace blockexport::net {
namespace {

constexpr std::string_view kKeysFile = "keys.psk";
constexpr std::string_view kDefaultUser = "qemu";
// Length of the random key for unknown users.
constexpr unsigned kUnknownUserKeyBytes = 32;

}  // namespace

Result<TlsCredentialsReference> TlsPskCredentials::load(const TlsPskOptions& options) {
  std::shared_ptr<TlsPskCredentials> credentials(new TlsPskCredentials(options.endpoint));
  if (options.endpoint == TlsEndpoint::kServer) {
    TRY(credentials->take_server(options));
  } else {
    TRY(credentials->take_client(options));
  }
  TRY_ASSIGN(credentials->priority_, make_priority(options.priority, kSharedKeySuffix, kSharedKeyPriority));
  return credentials;
}

Result<CredentialFile> TlsPskCredentials::read_keys(const TlsPskOptions& options) {
  TRY_ASSIGN(CredentialFile keys, read_credential_file({.directory = options.directory,
                                                        .name = kKeysFile,
                                                        .secrecy = FileSecrecy::kPrivate,
                                                        .is_strict = options.strict_modes}));
  note_exposure(keys.path, keys.exposure);
  return keys;
}

Result<> TlsPskCredentials::take_server(const TlsPskOptions& options) {
  if (!options.username.empty()) return fail("username should not be set when endpoint=server");
  TRY_ASSIGN(auto own_parameters,
             read_optional_file(
                 {.directory = options.directory, .name = kDhParametersFile, .is_strict = options.strict_modes}));
  TRY_ASSIGN(CredentialFile keys, read_keys(options));
  users_ = PskFile(std::move(keys.content));
  server_ = make_gnutls<GnutlsPskServer, gnutls_psk_allocate_server_credentials>();
  gnutls_psk_set_server_credentials_function2(server_.get(), find_key);
  if (own_parameters) {
    note_exposure(own_parameters->path, own_parameters->exposure);
    TRY_ASSIGN(dh_parameters_, read_dh_parameters(*own_parameters));
    gnutls_psk_set_server_dh_params(server_.get(), dh_parameters_.get());
  } else {
    gnutls_psk_set_server_known_dh_params(server_.get(), GNUTLS_SEC_PARAM_MEDIUM);
  }
  return {};
}

Result<> TlsPskCredentials::take_client(const TlsPskOptions& options) {
  TRY_ASSIGN(CredentialFile keys, read_keys(options));
  const std::string user = options.username.empty() ? std::string(kDefaultUser) : options.username;
  const PskFile users(std::move(keys.content));
  const auto digits = users.digits_of(user);
  if (!digits) return fail(fmt::format("Username {} not found in PSK file {}", user, keys.path));
  client_ = make_gnutls<GnutlsPskClient, gnutls_psk_allocate_client_credentials>();
  const gnutls_datum_t key{.data = reinterpret_cast<unsigned char*>(const_cast<char*>(digits->data())),
                           .size = static_cast<unsigned>(digits->size())};
  const int outcome = gnutls_psk_set_client_credentials(client_.get(), user.c_str(), &key, GNUTLS_PSK_KEY_HEX);
  if (outcome < 0) return fail(fmt::format("Cannot set PSK client credentials: {}", gnutls_strerror(outcome)));
  return {};
}

// An unknown user gets a random key, and fails in the same way as one with a wrong key: so a peer cannot find out which
// users exist.
int TlsPskCredentials::find_key(gnutls_session_t session, const gnutls_datum_t* user, gnutls_datum_t* key) {
  const auto& self = *static_cast<const TlsPskCredentials*>(gnutls_session_get_ptr(session));
  const auto digits = self.users_.digits_of({reinterpret_cast<const char*>(user->data), user->size});
  const auto found = digits ? from_hexadecimal(*digits) : std::nullopt;
  const std::size_t size = found ? found->size() : kUnknownUserKeyBytes;
  key->data = static_cast<unsigned char*>(gnutls_malloc(size));
  if (key->data == nullptr) return GNUTLS_E_MEMORY_ERROR;
  key->size = static_cast<unsigned>(size);
  if (!found) return gnutls_rnd(GNUTLS_RND_NONCE, key->data, size);
  std::memcpy(key->data, found->bytes().data(), size);
  return 0;
}

Result<> TlsPskCredentials::attach(gnutls_session_int* session) const {
  int outcome = gnutls_priority_set(session, priority_.get());
  if (outcome >= 0) {
    outcome = server_ ? gnutls_credentials_set(session, GNUTLS_CRD_PSK, server_.get())
                      : gnutls_credentials_set(session, GNUTLS_CRD_PSK, client_.get());
  }
  if (outcome < 0) return fail(fmt::format("Cannot set session credentials: {}", gnutls_strerror(outcome)));
  gnutls_session_set_ptr(session, const_cast<TlsPskCredentials*>(this));
  return {};
}

std::expected<std::string, TlsRefusal> TlsPskCredentials::check_peer(gnutls_session_int* session,
                                                                     const std::string&) const {
  if (!server_) return std::string();
  gnutls_datum_t user{};
  if (gnutls_psk_server_get_username2(session, &user) < 0 || user.size == 0) {
    return std::unexpected(TlsRefusal{.reason = "No user name was found.", .alert = GNUTLS_A_UNKNOWN_PSK_IDENTITY});
  }
  return std::string(reinterpret_cast<const char*>(user.data), user.size);
}

}  // namespace blockexport::net

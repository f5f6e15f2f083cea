#include "common/tls.h"

#include <fmt/format.h>
#include <gnutls/gnutls.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "common/fatal.h"

namespace blockexport::bench {

namespace {

constexpr std::size_t kInputBytes = std::size_t{128} << 10;
// A client's priority for pre-shared keys: the suffix that libnbd and QEMU add to the library's default.
constexpr const char* kDefaultX509 = "NORMAL";
constexpr const char* kDefaultPsk = "NORMAL:+ECDHE-PSK:+DHE-PSK:+PSK";
// A server's priority: the cipher that is fastest on its processor.
constexpr const char* kServer =
    "NORMAL:+ECDHE-PSK:+DHE-PSK:+PSK:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:%SERVER_PRECEDENCE";
constexpr std::size_t kRecordBytes = std::size_t{16} << 10;

void must(int status, const std::string& what) {
  if (status < 0) {
    fatal("{}: {}", what, gnutls_strerror(status));
  }
}

class Credentials : public TlsCredentials {
 public:
  Credentials(TlsSide side, TlsKind kind, const std::string& path, const std::string& priority)
      : side_(side), kind_(kind) {
    std::string wanted = !priority.empty()          ? priority
                         : side == TlsSide::kServer ? kServer
                         : kind == TlsKind::kX509   ? kDefaultX509
                                                    : kDefaultPsk;
    must(gnutls_priority_init(&priority_, wanted.c_str(), nullptr), wanted);
    if (kind == TlsKind::kX509) {
      load_x509(path);
    } else if (side == TlsSide::kServer) {
      must(gnutls_psk_allocate_server_credentials(&server_psk_), "credentials");
      must(gnutls_psk_set_server_credentials_file(server_psk_, path.c_str()), path);
    } else {
      load_psk(path);
    }
  }
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;

  ~Credentials() override {
    if (x509_ != nullptr) {
      gnutls_certificate_free_credentials(x509_);
    }
    if (psk_ != nullptr) {
      gnutls_psk_free_client_credentials(psk_);
    }
    if (server_psk_ != nullptr) {
      gnutls_psk_free_server_credentials(server_psk_);
    }
    gnutls_priority_deinit(priority_);
  }

  void give_to(gnutls_session_t session) const {
    must(gnutls_priority_set(session, priority_), "priority");
    void* psk = side_ == TlsSide::kServer ? static_cast<void*>(server_psk_) : psk_;
    must(kind_ == TlsKind::kX509 ? gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, x509_)
                                 : gnutls_credentials_set(session, GNUTLS_CRD_PSK, psk),
         "credentials");
  }

  unsigned session_flags() const {
    return side_ == TlsSide::kServer ? unsigned{GNUTLS_SERVER} | GNUTLS_NO_TICKETS : unsigned{GNUTLS_CLIENT};
  }

 private:
  void load_x509(const std::string& folder) {
    must(gnutls_certificate_allocate_credentials(&x509_), "credentials");
    if (side_ == TlsSide::kServer) {
      std::string certificate = folder + "/server-cert.pem";
      std::string key = folder + "/server-key.pem";
      must(gnutls_certificate_set_x509_key_file(x509_, certificate.c_str(), key.c_str(), GNUTLS_X509_FMT_PEM),
           certificate);
    } else {
      std::string authority = folder + "/ca-cert.pem";
      must(gnutls_certificate_set_x509_trust_file(x509_, authority.c_str(), GNUTLS_X509_FMT_PEM), authority);
    }
  }

  void load_psk(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    std::size_t colon = line.find(':');
    if (colon == std::string::npos) {
      fatal("{}: no line of the form user:key", path);
    }
    std::string key_text = line.substr(colon + 1);
    gnutls_datum_t key{.data = reinterpret_cast<unsigned char*>(key_text.data()),
                       .size = static_cast<unsigned>(key_text.size())};
    must(gnutls_psk_allocate_client_credentials(&psk_), "credentials");
    must(gnutls_psk_set_client_credentials(psk_, line.substr(0, colon).c_str(), &key, GNUTLS_PSK_KEY_HEX), path);
  }

  TlsSide side_;
  TlsKind kind_;
  gnutls_priority_t priority_ = nullptr;
  gnutls_certificate_credentials_t x509_ = nullptr;
  gnutls_psk_client_credentials_t psk_ = nullptr;
  gnutls_psk_server_credentials_t server_psk_ = nullptr;
};

}  // namespace

std::shared_ptr<const TlsCredentials> TlsCredentials::load(TlsSide side, TlsKind kind, const std::string& path,
                                                           const std::string& priority) {
  return std::make_shared<Credentials>(side, kind, path, priority);
}

struct TlsLink::State {
  int fd = -1;
  gnutls_session_t session = nullptr;
  std::unique_ptr<std::byte[]> input = std::make_unique_for_overwrite<std::byte[]>(kInputBytes);
  std::size_t input_start = 0;
  std::size_t input_end = 0;
  std::vector<std::byte> output;
  std::size_t output_start = 0;
  // True if the library's next pull may read from the socket, and may block there.
  bool may_receive = true;
  bool may_wait = true;

  static ssize_t pull(void* self, void* into, std::size_t size) {
    return static_cast<State*>(self)->take_input({static_cast<std::byte*>(into), size});
  }
  static ssize_t push(void* self, const void* from, std::size_t size) {
    auto* state = static_cast<State*>(self);
    const auto* bytes = static_cast<const std::byte*>(from);
    state->output.insert(state->output.end(), bytes, bytes + size);
    return static_cast<ssize_t>(size);
  }

  ssize_t take_input(std::span<std::byte> into) {
    if (input_start == input_end) {
      ssize_t got = may_receive ? ask_socket() : (errno = EAGAIN, -1);
      if (got <= 0) {
        gnutls_transport_set_errno(session, errno);
        return got;
      }
    }
    std::size_t take = std::min(into.size(), input_end - input_start);
    std::memcpy(into.data(), input.get() + input_start, take);
    input_start += take;
    return static_cast<ssize_t>(take);
  }

  ssize_t ask_socket() {
    ssize_t got = 0;
    do {
      got = recv(fd, input.get(), kInputBytes, may_wait ? 0 : MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    input_start = 0;
    input_end = got > 0 ? static_cast<std::size_t>(got) : 0;
    return got;
  }
};

TlsLink::TlsLink(int fd, const TlsCredentials& credentials) : state_(std::make_unique<State>()) {
  state_->fd = fd;
  const auto& held = static_cast<const Credentials&>(credentials);
  must(gnutls_init(&state_->session, held.session_flags()), "TLS session");
  held.give_to(state_->session);
  gnutls_transport_set_ptr(state_->session, state_.get());
  gnutls_transport_set_pull_function(state_->session, State::pull);
  gnutls_transport_set_push_function(state_->session, State::push);
}

TlsLink::~TlsLink() {
  gnutls_deinit(state_->session);
}

bool TlsLink::handshake() {
  // The library's output must be sent before it waits for a reply, so it never waits itself: a pull without input ends
  // the call, and this loop reads the socket.
  for (;;) {
    state_->may_receive = false;
    int status = gnutls_handshake(state_->session);
    if (!send_some(true) || (status < 0 && gnutls_error_is_fatal(status) != 0)) {
      return false;
    }
    if (status == GNUTLS_E_SUCCESS) {
      return true;
    }
    if (state_->input_start == state_->input_end) {
      state_->may_wait = true;
      if (state_->ask_socket() <= 0) {
        return false;
      }
    }
  }
}

std::string TlsLink::cipher() const {
  return fmt::format("{} {}", gnutls_protocol_get_name(gnutls_protocol_get_version(state_->session)),
                     gnutls_cipher_get_name(gnutls_cipher_get(state_->session)));
}

ssize_t TlsLink::receive(std::span<std::byte> into, bool wait) {
  state_->may_receive = true;
  state_->may_wait = wait;
  std::size_t sum = 0;
  while (sum < into.size()) {
    ssize_t got = gnutls_record_recv(state_->session, into.data() + sum, into.size() - sum);
    if (got > 0) {
      sum += static_cast<std::size_t>(got);
      // Further bytes only from what has arrived already, since the caller has work now.
      state_->may_receive = false;
    } else if (sum != 0) {
      break;
    } else if (got == 0 || gnutls_error_is_fatal(static_cast<int>(got)) != 0) {
      return 0;
    } else if (got == GNUTLS_E_AGAIN) {
      errno = EAGAIN;
      return -1;
    }
  }
  return static_cast<ssize_t>(sum);
}

bool TlsLink::holds_more() const {
  return gnutls_record_check_pending(state_->session) != 0 || state_->input_start != state_->input_end;
}

void TlsLink::encrypt(std::span<const iovec> pieces) {
  gnutls_record_cork(state_->session);
  for (const iovec& piece : pieces) {
    if (gnutls_record_send(state_->session, piece.iov_base, piece.iov_len) < 0) {
      fatal("TLS can not take {} bytes to send", piece.iov_len);
    }
  }
  must(gnutls_record_uncork(state_->session, 0), "TLS records");
}

void TlsLink::encrypt_apart(std::span<const iovec> pieces) {
  for (const iovec& piece : pieces) {
    const auto* bytes = static_cast<const std::byte*>(piece.iov_base);
    for (std::size_t left = piece.iov_len; left != 0;) {
      ssize_t taken = gnutls_record_send(state_->session, bytes, std::min(left, kRecordBytes));
      if (taken <= 0) {
        fatal("TLS can not take {} bytes to send", left);
      }
      bytes += taken;
      left -= static_cast<std::size_t>(taken);
    }
  }
}

bool TlsLink::send_some(bool wait) {
  State& state = *state_;
  while (has_unsent()) {
    ssize_t sent = send(state.fd, state.output.data() + state.output_start, state.output.size() - state.output_start,
                        MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
    if (sent < 0 && errno == EINTR) {
      continue;
    }
    if (sent < 0) {
      return !wait && errno == EAGAIN;
    }
    state.output_start += static_cast<std::size_t>(sent);
  }
  state.output.clear();
  state.output_start = 0;
  return true;
}

void TlsLink::send_close_notify() {
  if (gnutls_bye(state_->session, GNUTLS_SHUT_WR) == GNUTLS_E_SUCCESS) {
    static_cast<void>(send_some(false));
  }
}

bool TlsLink::has_unsent() const {
  return state_->output_start != state_->output.size();
}

}  // namespace blockexport::bench

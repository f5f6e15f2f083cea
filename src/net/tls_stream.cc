#include "net/tls_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include "aio/sync/with_deadline.h"
#include "net/gnutls_handles.h"

namespace blockexport::net {
namespace {

// Largest payload of a TLS record.
constexpr std::size_t kRecordBytes = 16384;
// Largest overhead of a record with the ciphers that we choose.
constexpr std::size_t kRecordOverheadBytes = 64;

unsigned session_flags(TlsEndpoint endpoint) {
  return (endpoint == TlsEndpoint::kServer ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL |
         GNUTLS_NONBLOCK;
}

// True if the alert concerns the certificate of its receiver.
bool is_about_certificate(gnutls_alert_description_t alert) {
  switch (alert) {
    case GNUTLS_A_BAD_CERTIFICATE:
    case GNUTLS_A_UNSUPPORTED_CERTIFICATE:
    case GNUTLS_A_CERTIFICATE_REVOKED:
    case GNUTLS_A_CERTIFICATE_EXPIRED:
    case GNUTLS_A_CERTIFICATE_UNKNOWN:
    case GNUTLS_A_UNKNOWN_CA:
    case GNUTLS_A_CERTIFICATE_REQUIRED:
      return true;
    default:
      return false;
  }
}

// True if the peer's offer does not match the priority.
bool is_about_priority(int outcome) {
  return outcome == GNUTLS_E_NO_CIPHER_SUITES || outcome == GNUTLS_E_UNSUPPORTED_VERSION_PACKET ||
         outcome == GNUTLS_E_UNSUPPORTED_SIGNATURE_ALGORITHM || outcome == GNUTLS_E_INSUFFICIENT_SECURITY;
}

}  // namespace

TlsSession TlsStream::session() const {
  const char* version = gnutls_protocol_get_name(gnutls_protocol_get_version(session_));
  const char* cipher = gnutls_cipher_get_name(gnutls_cipher_get(session_));
  return {.version = version == nullptr ? "unknown" : version, .cipher = cipher == nullptr ? "unknown" : cipher};
}

void TlsStream::Window::reserve(std::size_t bytes) {
  if (begin == end) begin = end = 0;
  if (capacity - end >= bytes) return;
  const std::size_t used = size();
  if (capacity - used >= bytes) {
    std::memmove(data.get(), data.get() + begin, used);
  } else {
    const std::size_t larger_capacity = std::max(used + bytes, 2 * capacity);
    auto larger = std::make_unique_for_overwrite<std::byte[]>(larger_capacity);
    if (used > 0) std::memcpy(larger.get(), data.get() + begin, used);
    data = std::move(larger);
    capacity = larger_capacity;
  }
  begin = 0;
  end = used;
}

void TlsStream::Window::release() {
  assert(size() == 0);
  data.reset();
  capacity = begin = end = 0;
}

// The callbacks with which GnuTLS sends and receives.
struct TlsStream::Callbacks {
  static ssize_t pull(gnutls_transport_ptr_t context, void* buffer, std::size_t size) {
    auto& self = *static_cast<TlsStream*>(context);
    Window& input = self.input_;
    if (input.size() == 0) {
      if (self.input_ended_) return 0;
      gnutls_transport_set_errno(self.session_, EAGAIN);
      return -1;
    }
    const std::size_t step = std::min(size, input.size());
    std::memcpy(buffer, input.data.get() + input.begin, step);
    if (!self.established_) self.remember(std::span(input.data.get() + input.begin, step));
    input.begin += step;
    return static_cast<ssize_t>(step);
  }

  static int can_pull(gnutls_transport_ptr_t context, unsigned) {
    const auto& self = *static_cast<TlsStream*>(context);
    return self.input_.size() > 0 || self.input_ended_ ? 1 : 0;
  }

  static ssize_t push(gnutls_transport_ptr_t context, const giovec_t* vectors, int count) {
    auto& self = *static_cast<TlsStream*>(context);
    std::size_t total = 0;
    for (int i = 0; i < count; ++i) total += vectors[i].iov_len;
    Window& output = self.output_;
    if (output.size() + total > kTlsOutputBytesMax) {
      gnutls_transport_set_errno(self.session_, ENOBUFS);
      return -1;
    }
    output.reserve(total);
    for (int i = 0; i < count; ++i) {
      std::memcpy(output.data.get() + output.end, vectors[i].iov_base, vectors[i].iov_len);
      output.end += vectors[i].iov_len;
    }
    return static_cast<ssize_t>(total);
  }
};

TlsStream::TlsStream(std::unique_ptr<Stream> lower, TlsCredentialsReference credentials, std::string host)
    : lower_(std::move(lower)), credentials_(std::move(credentials)), host_(std::move(host)) {
  // Fails only when memory runs out, which aborts the process.
  if (gnutls_init(&session_, session_flags(credentials_->endpoint())) < 0) std::abort();
  gnutls_transport_set_ptr(session_, this);
  gnutls_transport_set_pull_function(session_, Callbacks::pull);
  gnutls_transport_set_pull_timeout_function(session_, Callbacks::can_pull);
  gnutls_transport_set_vec_push_function(session_, Callbacks::push);
  gnutls_handshake_set_timeout(session_, GNUTLS_INDEFINITE_TIMEOUT);
}

TlsStream::~TlsStream() {
  gnutls_deinit(session_);
}

aio::Task<Result<std::string>> TlsStream::handshake(aio::Reactor& reactor, std::uint64_t deadline_ns,
                                                    aio::TurnQueue* turns) {
  aio::Task<Result<std::string>> shaking = shake_hands(reactor, turns);
  auto [identity, is_late] = co_await aio::with_deadline("tls handshake", deadline_ns, std::move(shaking));
  if (!is_late || identity) co_return std::move(identity);
  lower_->shut_down();
  ended_by_ = TlsEnd::kNobody;
  co_return fail("TLS handshake failed: it took too long");
}

std::string TlsStream::describe_end(std::string_view peer, const Error& failure) const {
  switch (ended_by_) {
    case TlsEnd::kUs:
      return fmt::format("{} refused: {}", peer, failure.message());
    case TlsEnd::kPeer:
      return fmt::format("{} {}", peer, failure.message());
    case TlsEnd::kNobody:
      return fmt::format("{} has gone before TLS was agreed on: {}", peer, failure.message());
  }
  __builtin_unreachable();
}

void TlsStream::report_alerts(PeerLog log, std::string peer) {
  log_.emplace(std::move(log));
  peer_ = std::move(peer);
}

void TlsStream::remember(std::span<const std::byte> received) {
  const auto tail = received.last(std::min(received.size(), last_received_.size()));
  std::move(last_received_.begin() + static_cast<std::ptrdiff_t>(tail.size()), last_received_.end(),
            last_received_.begin());
  std::copy(tail.begin(), tail.end(), last_received_.end() - static_cast<std::ptrdiff_t>(tail.size()));
}

// The alert, if the record that could not be decrypted is an unencrypted alert; else -1. OpenSSL's client has no keys
// for sending before it has accepted the server's certificate, so it refuses the certificate in this way (RFC 8446, 6:
// alerts may be unencrypted). An encrypted alert has another outer type, and is longer.
int TlsStream::clear_alert() const {
  constexpr std::array<std::byte, 2> kAlertRecord{std::byte{21}, std::byte{3}};
  constexpr std::array<std::byte, 3> kTwoBytesFatal{std::byte{0}, std::byte{2}, std::byte{GNUTLS_AL_FATAL}};
  const auto bytes = std::span(last_received_);
  if (!std::ranges::equal(bytes.first(2), kAlertRecord) || !std::ranges::equal(bytes.subspan(3, 3), kTwoBytesFatal)) {
    return -1;
  }
  return std::to_integer<int>(bytes[6]);
}

// Text of an alert from the peer, to follow the peer's name.
std::string TlsStream::alert_text(int number) const {
  const auto alert = static_cast<gnutls_alert_description_t>(number);
  const char* name = gnutls_alert_get_name(alert);
  return fmt::format("refused our {}: {} (TLS alert {})", is_about_certificate(alert) ? "certificate" : "TLS handshake",
                     name != nullptr ? name : "an unknown reason", number);
}

// Converts GnuTLS's error, and sets ended_by_.
Error TlsStream::handshake_failure(int outcome) {
  if (outcome == GNUTLS_E_FATAL_ALERT_RECEIVED) {
    ended_by_ = TlsEnd::kPeer;
    return Error(alert_text(gnutls_alert_get(session_)));
  }
  if (const int alert = clear_alert(); outcome == GNUTLS_E_DECRYPTION_FAILED && alert >= 0) {
    ended_by_ = TlsEnd::kPeer;
    return Error(alert_text(alert));
  }
  if (!input_ended_) ended_by_ = TlsEnd::kUs;
  return Error(fmt::format("TLS handshake failed: {}{}", gnutls_strerror(outcome),
                           is_about_priority(outcome)
                               ? " The 'priority' of the credentials decides what is accepted: NORMAL accepts more."
                               : ""));
}

aio::Task<Result<std::string>> TlsStream::shake_hands(aio::Reactor& reactor, aio::TurnQueue* turns) {
  if (auto attached = credentials_->attach(session_); !attached) {
    ended_by_ = TlsEnd::kUs;
    co_return fail(std::move(attached).error());
  }
  if (credentials_->endpoint() == TlsEndpoint::kClient && !host_.empty()) {
    gnutls_server_name_set(session_, GNUTLS_NAME_DNS, host_.data(), host_.size());
  }
  for (;;) {
    if (turns != nullptr && input_.size() > 0) {
      if (IoResult turn = co_await turns->turn(); !turn)
        co_return fail(Error::system("TLS handshake failed", turn.error()));
    }
    const int outcome = gnutls_handshake(session_);
    // On a failure this sends the peer the matching alert.
    if (outcome < 0 && gnutls_error_is_fatal(outcome) != 0) gnutls_alert_send_appropriate(session_, outcome);
    if (IoResult sent = co_await flush(); !sent && outcome >= 0) {
      co_return fail(Error::system("TLS handshake failed", sent.error()));
    }
    if (outcome == GNUTLS_E_SUCCESS) break;
    if (outcome != GNUTLS_E_AGAIN && outcome != GNUTLS_E_INTERRUPTED && is_fatal(outcome)) {
      co_return fail(handshake_failure(outcome));
    }
    if (input_.size() > 0 || input_ended_) {
      if (is_fatal(outcome)) {
        if (!input_ended_) ended_by_ = TlsEnd::kUs;
        co_return fail("TLS handshake failed: it makes no progress");
      }
      continue;
    }
    IoResult filled = fill_input();
    if (!filled && filled.error() == Errno(EAGAIN)) {
      release_idle_buffers();
      if (IoResult ready = co_await lower_->readable(); !ready) {
        co_return fail(Error::system("TLS handshake failed", ready.error()));
      }
      continue;
    }
    if (!filled) co_return fail(Error::system("TLS handshake failed", filled.error()));
  }
  auto identity = credentials_->check_peer(session_, host_);
  if (!identity) {
    ended_by_ = TlsEnd::kUs;
    co_await dismiss(reactor, identity.error().alert);
    co_return fail(fmt::format("Verify failed: {}", identity.error().reason));
  }
  established_ = true;
  idle_records_ = 0;
  co_return std::move(*identity);
}

// True if the result ends the connection. Other results may come at most kTlsIdleRecordsMax times between two pieces of
// data.
bool TlsStream::is_fatal(long outcome) {
  if (gnutls_error_is_fatal(static_cast<int>(outcome)) != 0) return true;
  // Renegotiation is refused.
  if (outcome == GNUTLS_E_REHANDSHAKE) return true;
  return ++idle_records_ > kTlsIdleRecordsMax;
}

void TlsStream::send_alert(int alert) {
  (void)gnutls_alert_send(session_, GNUTLS_AL_FATAL, static_cast<gnutls_alert_description_t>(alert));
}

aio::Task<void> TlsStream::refuse(aio::Reactor& reactor) {
  sent_final_alert_ = true;
  return dismiss(reactor, GNUTLS_A_ACCESS_DENIED);
}

aio::Task<void> TlsStream::dismiss(aio::Reactor& reactor, int alert) {
  send_alert(alert);
  const std::uint64_t deadline_ns = aio::deadline_after(reactor, kTlsLingerNs);
  aio::Task<void> lingering = linger();
  if (co_await aio::with_deadline("tls lingering close", deadline_ns, std::move(lingering))) lower_->shut_down();
}

aio::Task<void> TlsStream::linger() {
  if (IoResult sent = co_await flush(); sent) co_await discard_input();
}

// Discards input until the peer has closed, or has sent more than can have been in transit before it received the
// alert.
aio::Task<void> TlsStream::discard_input() {
  for (std::size_t discarded = 0; discarded < kTlsLingerBytesMax; discarded += input_.size()) {
    input_.begin = input_.end = 0;
    IoResult filled = fill_input();
    if (!filled && filled.error() == Errno(EAGAIN)) filled = co_await lower_->readable();
    if (!filled || input_ended_) co_return;
  }
}

IoResult TlsStream::fill_input() {
  input_.reserve(kTlsInputBytes);
  IoCount received = lower_->try_receive({input_.data.get() + input_.end, input_.capacity - input_.end});
  if (!received) return fail(received.error());
  input_.end += *received;
  if (*received == 0) input_ended_ = true;
  return {};
}

IoResult TlsStream::flush_now() {
  while (output_.size() > 0) {
    const iovec rest{.iov_base = output_.data.get() + output_.begin, .iov_len = output_.size()};
    IoCount sent = lower_->try_send({&rest, 1});
    if (!sent) return fail(sent.error());
    output_.begin += *sent;
  }
  return {};
}

aio::Task<IoResult> TlsStream::flush() {
  for (;;) {
    IoResult sent = flush_now();
    if (sent || sent.error() != Errno(EAGAIN)) co_return sent;
    CO_TRY(co_await lower_->writable());
  }
}

IoCount TlsStream::try_receive(std::span<std::byte> buffer) {
  if (!established_) return fail(ENOTCONN);
  std::size_t total = 0;
  while (total < buffer.size()) {
    const ssize_t got = gnutls_record_recv(session_, buffer.data() + total, buffer.size() - total);
    if (got > 0) {
      total += static_cast<std::size_t>(got);
      idle_records_ = 0;
      continue;
    }
    // The next call processes the records after this data.
    if (total > 0) break;
    if (got == 0) return 0;
    const bool wants_more = got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED;
    if (wants_more && input_.size() == 0 && !input_ended_) {
      IoResult filled = fill_input();
      if (filled) continue;
      // A response of TLS itself may be pending.
      if (filled.error() == Errno(EAGAIN)) (void)flush_now();
      return fail(filled.error());
    }
    if (!is_fatal(got)) continue;
    if (got == GNUTLS_E_FATAL_ALERT_RECEIVED && log_) {
      log_->warning(fmt::format("{} {}", peer_, alert_text(gnutls_alert_get(session_))));
    }
    if (got == GNUTLS_E_REHANDSHAKE) send_alert(GNUTLS_A_NO_RENEGOTIATION);
    (void)gnutls_alert_send_appropriate(session_, static_cast<int>(got));
    (void)flush_now();
    sent_final_alert_ = true;
    return fail(ECONNRESET);
  }
  may_have_more_ = total == buffer.size();
  return total;
}

IoCount TlsStream::try_send(std::span<const iovec> vectors) {
  if (!established_) return fail(ENOTCONN);
  if (IoResult sent = flush_now(); !sent) return fail(sent.error());
  std::size_t taken = std::exchange(uncounted_bytes_, 0);
  for (;;) {
    IoCount encrypted = encrypt_batch(vectors, taken);
    if (!encrypted) return fail(encrypted.error());
    if (*encrypted == 0) return taken;
    if (IoResult sent = flush_now(); !sent) {
      uncounted_bytes_ = *encrypted;
      if (taken > 0) return taken;
      return fail(sent.error());
    }
    taken += *encrypted;
  }
}

// Encrypts up to kTlsBatchBytes after the first `skip` bytes, in full records where possible; returns the number of
// plain bytes.
IoCount TlsStream::encrypt_batch(std::span<const iovec> vectors, std::size_t skip) {
  std::size_t wanted = 0;
  for (const iovec& vector : vectors) wanted += vector.iov_len;
  wanted = std::min(wanted - skip, kTlsBatchBytes);
  if (wanted == 0) return 0;
  // In one step, since growing per record would copy repeatedly.
  output_.reserve(wanted + (wanted / kRecordBytes + 1) * kRecordOverheadBytes);
  std::array<std::byte, kRecordBytes> gathered;
  std::size_t gathered_bytes = 0;
  std::size_t encrypted = 0;
  for (const iovec& vector : vectors) {
    const std::size_t skipped = std::min(skip, vector.iov_len);
    skip -= skipped;
    std::span<const std::byte> rest(static_cast<const std::byte*>(vector.iov_base) + skipped, vector.iov_len - skipped);
    while (!rest.empty() && encrypted + gathered_bytes < kTlsBatchBytes) {
      const std::size_t step = std::min(rest.size(), kRecordBytes - gathered_bytes);
      if (step == kRecordBytes) {
        if (IoResult done = encrypt(rest.data(), step); !done) return fail(done.error());
        encrypted += step;
      } else {
        std::memcpy(gathered.data() + gathered_bytes, rest.data(), step);
        gathered_bytes += step;
      }
      rest = rest.subspan(step);
      if (gathered_bytes < kRecordBytes) continue;
      if (IoResult done = encrypt(gathered.data(), gathered_bytes); !done) return fail(done.error());
      encrypted += std::exchange(gathered_bytes, 0);
    }
  }
  if (gathered_bytes > 0) {
    if (IoResult done = encrypt(gathered.data(), gathered_bytes); !done) return fail(done.error());
    encrypted += gathered_bytes;
  }
  return encrypted;
}

// Encrypts into one record, or into several if the peer has limited their size.
IoResult TlsStream::encrypt(const std::byte* data, std::size_t size) {
  while (size > 0) {
    const ssize_t sent = gnutls_record_send(session_, data, size);
    if (sent <= 0) return fail(ECONNRESET);
    data += sent;
    size -= static_cast<std::size_t>(sent);
  }
  return {};
}

aio::Task<IoResult> TlsStream::readable() {
  if (may_have_more_ || input_.size() > 0 || gnutls_record_check_pending(session_) > 0) {
    may_have_more_ = false;
    co_return IoResult{};
  }
  release_idle_buffers();
  co_return co_await lower_->readable();
}

void TlsStream::release_idle_buffers() {
  if (input_.size() == 0) input_.release();
  if (output_.size() == 0) output_.release();
}

IoResult TlsStream::update_keys() {
  if (gnutls_session_key_update(session_, GNUTLS_KU_PEER) < 0) return fail(EPROTO);
  return flush_now();
}

IoResult TlsStream::send_warning() {
  if (gnutls_alert_send(session_, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED) < 0) return fail(EPROTO);
  return flush_now();
}

void TlsStream::shut_down() {
  if (established_ && !std::exchange(sent_final_alert_, true)) {
    (void)gnutls_bye(session_, GNUTLS_SHUT_WR);
    (void)flush_now();
  }
  lower_->shut_down();
}

}  // namespace blockexport::net

// TlsStream: TLS over another stream. GnuTLS does not access that stream: its callbacks read from and write to buffers
// of this class, so one send carries many records, and GnuTLS never blocks.
//
// Owned like any stream; it owns the one below. Bytes that try_send() has encrypted but the stream below has not
// accepted are not counted in its result: the caller calls again with the same bytes, as every caller of a stream does,
// so once all of its bytes are counted none are left here. Buffers are freed while they are empty. Thread: its
// reactor's. Renegotiation is refused, session tickets are off, and an end without close_notify is an error.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "aio/reactor/reactor.h"
#include "aio/sync/turn_queue.h"
#include "base/peer_log.h"
#include "net/stream.h"
#include "net/tls_credentials.h"

namespace blockexport::net {

// Bytes per receive.
inline constexpr std::size_t kTlsInputBytes = 64u << 10;
// Plain bytes that are encrypted per send: 16 full records.
inline constexpr std::size_t kTlsBatchBytes = 256u << 10;
// Limit of buffered encrypted bytes: a batch in the smallest records that a peer may request, and responses of TLS
// itself. The connection of a peer that causes more is closed.
inline constexpr std::size_t kTlsOutputBytesMax = 2 * kTlsBatchBytes;
// Most messages of TLS itself that a peer may send between two pieces of data.
inline constexpr unsigned kTlsIdleRecordsMax = 32;

// Lingering close of a refused peer: time and bytes for which its input is discarded, since an immediate close could
// destroy the alert with the reason before the peer reads it.
inline constexpr std::uint64_t kTlsLingerNs = 1'000'000'000;
inline constexpr std::size_t kTlsLingerBytesMax = 1u << 20;

// The side that ended a failed handshake.
enum class TlsEnd : std::uint8_t {
  kUs,      // we refused the peer
  kPeer,    // the peer refused us with an alert
  kNobody,  // the connection broke, or the handshake timed out
};

// Length of an unencrypted alert record.
inline constexpr std::size_t kClearAlertBytes = 7;

// Parameters of a session, as GnuTLS names them; static text.
struct TlsSession {
  std::string_view version;  // "TLS1.3"
  std::string_view cipher;   // "AES-256-GCM"
};

class TlsStream final : public Stream {
 public:
  // `host`: the name that a client requires in the peer's certificate; "" accepts any.
  TlsStream(std::unique_ptr<Stream> lower, TlsCredentialsReference credentials, std::string host = {});
  ~TlsStream() override;
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // Performs the handshake and checks the peer; returns the peer's identity, or the reason of the failure. Call it
  // once; before it has succeeded nothing can be received or sent. At `deadline_ns` (UINT64_MAX: never) the stream is
  // shut down. Each step that processes input of the peer, and may compute with keys for a millisecond, first waits for
  // its turn in `turns`, if given.
  aio::Task<Result<std::string>> handshake(aio::Reactor& reactor, std::uint64_t deadline_ns,
                                           aio::TurnQueue* turns = nullptr);
  // After a successful handshake.
  TlsSession session() const;
  // After a failed handshake: the side that ended it, and a sentence about `peer` for the log.
  TlsEnd ended_by() const { return ended_by_; }
  std::string describe_end(std::string_view peer, const Error& failure) const;
  // Logs each further alert with which the peer ends the connection, under the name `peer`: with TLS 1.3 a side may
  // refuse the other after that one's handshake has succeeded.
  void report_alerts(PeerLog log, std::string peer);
  // Refuses a peer after its handshake: sends the alert access_denied, and waits up to kTlsLingerNs for the peer to
  // close.
  aio::Task<void> refuse(aio::Reactor& reactor);

  IoCount try_receive(std::span<std::byte> buffer) override;
  IoCount try_send(std::span<const iovec> vectors) override;
  aio::Task<IoResult> readable() override;
  aio::Task<IoResult> writable() override { return lower_->writable(); }
  aio::Task<IoResult> hung_up() override { return lower_->hung_up(); }
  IoResult watch_hang_up(aio::HangUpWatch& watch) override { return lower_->watch_hang_up(watch); }
  void forget_hang_up() override { lower_->forget_hang_up(); }
  void shut_down() override;
  void detach() override { lower_->detach(); }
  void attach(aio::Reactor& reactor) override { lower_->attach(reactor); }

  // For tests: the size of the buffers; and messages that any peer may send besides data: new keys for both directions
  // (TLS 1.3), and a warning, which does not end the connection.
  std::size_t buffer_bytes() const { return input_.capacity + output_.capacity; }
  IoResult update_keys();
  IoResult send_warning();

 private:
  // A buffer whose bytes [begin, end) are in use; its memory is freed while it is empty.
  struct Window {
    std::unique_ptr<std::byte[]> data;
    std::size_t capacity = 0;
    std::size_t begin = 0;
    std::size_t end = 0;

    std::size_t size() const { return end - begin; }
    void reserve(std::size_t bytes);
    void release();
  };
  struct Callbacks;
  friend struct Callbacks;

  aio::Task<Result<std::string>> shake_hands(aio::Reactor& reactor, aio::TurnQueue* turns);
  aio::Task<void> dismiss(aio::Reactor& reactor, int alert);
  aio::Task<void> linger();
  aio::Task<void> discard_input();
  aio::Task<IoResult> flush();
  void send_alert(int alert);
  IoResult fill_input();
  IoResult flush_now();
  IoResult encrypt(const std::byte* data, std::size_t size);
  IoCount encrypt_batch(std::span<const iovec> vectors, std::size_t skip);
  Error handshake_failure(int outcome);
  void remember(std::span<const std::byte> received);
  int clear_alert() const;
  std::string alert_text(int number) const;
  bool is_fatal(long outcome);
  void release_idle_buffers();

  std::unique_ptr<Stream> lower_;
  TlsCredentialsReference credentials_;
  std::string host_;
  gnutls_session_int* session_ = nullptr;
  Window input_;
  Window output_;
  std::size_t uncounted_bytes_ = 0;  // plain bytes in output_ that try_send() has not counted yet
  unsigned idle_records_ = 0;
  bool input_ended_ = false;
  bool established_ = false;
  bool may_have_more_ = false;  // the last try_receive() stopped because its buffer was full
  bool sent_final_alert_ = false;
  TlsEnd ended_by_ = TlsEnd::kNobody;
  std::array<std::byte, kClearAlertBytes> last_received_{};  // last bytes that GnuTLS read during the handshake
  std::optional<PeerLog> log_;
  std::string peer_;
};

}  // namespace blockexport::net

// TlsStream: TLS over another stream. GnuTLS never touches the stream: its callbacks read from and write to buffers
// here, so that many records go out with one send, and nothing in it ever waits.
//
// Owned like any stream; it owns the one below. Bytes that try_send() has encrypted and that the stream below does not
// take yet are not counted as taken: the caller comes back with the same bytes, as every caller of a stream does, and
// when all of its bytes were taken none are left here. Buffers are given back while nothing is on its way. Thread: its
// reactor's. Renegotiation is refused, tickets are not made, and an end without TLS's own is an error.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "aio/reactor.h"
#include "aio/turn_queue.h"
#include "base/peer_log.h"
#include "net/stream.h"
#include "net/tls_credentials.h"

namespace blockexport::net {

// Received at a time.
inline constexpr std::size_t kTlsInputBytes = 64u << 10;
// Plain bytes that are encrypted before they are sent: 16 full records.
inline constexpr std::size_t kTlsBatchBytes = 256u << 10;
// Encrypted bytes that may wait: a batch in the shortest records that a peer may ask for, and answers of TLS itself. A
// peer that makes us answer more is cut off.
inline constexpr std::size_t kTlsOutputBytesMax = 2 * kTlsBatchBytes;
// Messages of TLS itself, without data, that a peer may send between two pieces of data.
inline constexpr unsigned kTlsIdleRecordsMax = 32;

// How long a peer that was refused may take to read why. One that is cut off at once would see no reason.
inline constexpr std::uint64_t kTlsFarewellNs = 1'000'000'000;
inline constexpr std::size_t kTlsFarewellBytesMax = 1u << 20;

// Who ended a handshake that failed: what a log has to tell apart.
enum class TlsEnd : std::uint8_t {
  kUs,      // we do not let the peer in
  kPeer,    // the peer does not want us, and has said so by an alert
  kNobody,  // the connection was lost, or it took too long
};

// A record with an alert that is not encrypted.
inline constexpr std::size_t kClearAlertBytes = 7;

class TlsStream final : public Stream {
 public:
  // `host` is the name that a client expects the peer to have; "" accepts any.
  TlsStream(std::unique_ptr<Stream> lower, TlsCredentialsReference credentials, std::string host = {});
  ~TlsStream() override;
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // Shakes hands and checks who the peer is: its identity, or why there is no connection. Once; before it has succeeded
  // nothing can be received or sent. At `deadline_ns` (UINT64_MAX: never) the stream is shut down. Each step for which
  // the peer has sent something, and which may compute with keys for a millisecond, waits for its turn in `turns` if
  // given.
  aio::Task<Result<std::string>> handshake(aio::Reactor& reactor, std::uint64_t deadline_ns,
                                           aio::TurnQueue* turns = nullptr);
  // After a handshake that failed: by whom, and a sentence about `peer` for the log that says so.
  TlsEnd ended_by() const { return ended_by_; }
  std::string describe_end(std::string_view peer, const Error& failure) const;
  // From now on an alert by which the peer ends the connection is logged, as of `peer`: under TLS 1.3 a client learns
  // only after its handshake that the server refuses it.
  void report_alerts(PeerLog log, std::string peer);
  // Instead of serving a peer that has shaken hands: tells it that it has no access, and waits a moment for it to
  // leave.
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

  // For tests: bytes of buffers held; and what any peer may send besides data: new keys for both directions (TLS 1.3),
  // and a warning, which ends nothing.
  std::size_t buffer_bytes() const { return input_.capacity + output_.capacity; }
  IoResult update_keys();
  IoResult send_warning();

 private:
  // Bytes [begin, end) of memory that is there only while it is needed.
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
  aio::Task<void> discard_input();
  aio::Task<IoResult> flush();
  aio::Task<void> enforce(aio::Reactor& reactor, std::uint64_t deadline_ns);
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
  std::size_t owed_bytes_ = 0;  // plain bytes in output_ that try_send() has not counted yet
  unsigned idle_records_ = 0;
  bool input_ended_ = false;
  bool established_ = false;
  bool may_have_more_ = false;  // the last try_receive() stopped because its buffer was full
  bool said_goodbye_ = false;
  TlsEnd ended_by_ = TlsEnd::kNobody;
  std::array<std::byte, kClearAlertBytes> last_received_{};  // by GnuTLS in the handshake
  std::optional<PeerLog> log_;
  std::string peer_;
};

}  // namespace blockexport::net

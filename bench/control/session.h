// Session: one client of a control: a minimal handshake and transmission phase.
//
// The caller feeds it received bytes; it keeps only an incomplete header. It trusts its client, since it only serves
// the benchmark. Thread: one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "common/wire.h"
#include "control/image.h"
#include "control/reply_batch.h"

namespace blockexport::bench {

class Session {
 public:
  // The longest incomplete option or request header that is kept.
  static constexpr std::size_t kLongestHead = 4096;

  // `offers_tls`: whether STARTTLS is accepted.
  Session(const Image& image, ReplyBatch& batch, bool offers_tls)
      : image_(image), batch_(batch), offers_tls_(offers_tls) {}

  void greet();

  std::span<const std::byte> carried() const { return carry_; }

  // Processes the complete requests in `bytes` (carried bytes first), and adds their replies to the batch. False when
  // the client has disconnected.
  [[nodiscard]] bool feed(std::span<const std::byte> bytes);

  // True once after STARTTLS was accepted: the next bytes are TLS.
  bool take_starttls() { return std::exchange(starts_tls_, false); }

 private:
  enum class Phase { kClientFlags, kOptions, kTransmission, kOver };

  struct WriteInFlight {
    uint64_t cookie = 0;
    uint64_t offset = 0;
    uint64_t left = 0;
  };

  std::size_t take_option(std::span<const std::byte> bytes);
  void answer_option(Option option, std::span<const std::byte> data);
  void reply_option(Option option, OptionReply type, std::span<const std::byte> data);
  std::size_t take_request(std::span<const std::byte> bytes);
  std::size_t take_payload(std::span<const std::byte> bytes);
  void answer_read(uint64_t cookie, uint64_t offset, uint32_t length);
  void answer_done(uint64_t cookie);
  void answer_status(uint64_t cookie, uint64_t offset, uint64_t length);

  const Image& image_;
  ReplyBatch& batch_;
  bool offers_tls_;
  bool starts_tls_ = false;
  Phase phase_ = Phase::kClientFlags;
  bool structured_ = false;
  WriteInFlight write_;
  std::vector<std::byte> carry_;
  std::vector<std::byte> scratch_;
};

}  // namespace blockexport::bench

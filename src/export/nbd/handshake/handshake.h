// Handshake: server side of NBD option negotiation, as a state machine without I/O.
//
// Input: bytes of the client; output: reply bytes, and finally a SessionState. Owned by one connection, and called on
// that connection's thread. It never reads past the message that starts the transmission phase, never keeps more than
// one option of at most `payload_bytes_max`, and lets output exceed its limit by at most the reply to one option.
// Source: proto.md, "Handshake"; where the protocol leaves a choice, it replies as QEMU's server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "export/nbd/handshake/handshake_reply.h"
#include "export/nbd/wire/export_info.h"
#include "export/nbd/wire/session_state.h"
#include "export/nbd/wire/wire.h"

namespace blockexport::nbd {

enum class TlsPolicy : std::uint8_t {
  kNone,         // STARTTLS is refused
  kRequired,     // before TLS only STARTTLS and ABORT are served
  kEstablished,  // TLS is established
};

struct HandshakeLimits {
  // Longest payload of a known option; a longer one is skipped and answered with ERR_TOO_BIG.
  std::uint32_t payload_bytes_max = 64u << 10;
  // Longest payload that is skipped; a client that announces more is disconnected.
  std::uint32_t skipped_bytes_max = 32u << 20;
  // Limits for the options of one handshake. A client that queries each of thousands of exports stays far below.
  std::uint32_t options_max = 65536;
  std::uint64_t option_bytes_max = 128u << 20;
  // With this much output waiting, no more input is consumed until it was sent.
  std::size_t output_bytes_max = 64u << 10;
};

struct HandshakeOptions {
  TlsPolicy tls = TlsPolicy::kNone;
  HandshakeLimits limits;
};

// Maximum number of options executed and exports listed in one call of feed().
inline constexpr std::uint32_t kHandshakeStepsMax = 256;

// close_reason() of a client that ends its handshake in order.
inline constexpr std::string_view kClientAborted = "client aborted";

enum class HandshakeStatus : std::uint8_t {
  kNeedInput,     // all input was consumed; send the output and call feed() with more
  kDrainOutput,   // send the output, give others a turn, then call feed() with the unconsumed input, if any
  kTransmission,  // done: state() and chosen_export() are final; unconsumed input belongs to the transmission phase
  kStartTls,      // send the output, do the TLS handshake, and continue with over_tls()
  kAuthorize,     // send the output, ask the authorizer about wanted_export(), call authorized(), and continue
  kClose,         // send the output, then close; close_reason() is the reason
};

struct HandshakeStep {
  HandshakeStatus status;
  std::size_t consumed;  // consumed bytes of the input
  std::uint32_t steps;   // options executed and exports listed
};

class Handshake {
 public:
  // `directory` outlives the handshake.
  explicit Handshake(ExportDirectory& directory, const HandshakeOptions& options = {});

  // Appends the server's greeting. Call it once, before feed().
  void greet(std::vector<std::byte>& output) { append_greeting(output); }

  // Consumes as much of `input` as it can use now and appends replies to `output`, which the caller sends and clears.
  // One call does a bounded amount of work. After kTransmission or kClose it consumes nothing and returns the same
  // status again.
  [[nodiscard]] HandshakeStep feed(std::span<const std::byte> input, std::vector<std::byte>& output);

  // After kStartTls, when the TLS handshake is complete: returns a new handshake that begins with the options. It keeps
  // nothing of the clear messages except the two flags, which a client sends only once.
  Handshake over_tls() const;

  // After kAuthorize: the name of a restricted export, and the authorizer's decision, which holds for the current
  // option. For a client that may not use it, the export does not exist.
  std::string_view wanted_export() const { return wanted_export_; }
  void authorized(bool allowed);
  // True if the current option is LIST: then the client has not named the export.
  bool is_listing() const { return stage_ == Stage::kListing; }

  // Answers every option except ABORT with ERR_SHUTDOWN from now on.
  void begin_shutdown() { shutting_down_ = true; }

  // Answers every option except ABORT with ERR_POLICY from now on. `reason`: for the client and for the log, printable.
  void refuse_all(std::string reason) {
    refusal_reason_ = reason;
    refuses_all_ = std::move(reason);
  }

  const SessionState& state() const { return state_; }

  // After kTransmission: the directory's export, valid as long as the directory says. Null before.
  const ExportInfo* chosen_export() const { return chosen_export_; }

  // After kClose: the reason for the log; printable, without a newline.
  std::string_view close_reason() const { return close_reason_; }
  // The last reply that kept the client from an export, as a reason for the log; empty when there was none.
  std::string_view refusal_reason() const { return refusal_reason_; }

 private:
  enum class Stage : std::uint8_t { kClientFlags, kOptionHeader, kPayload, kSkip, kListing };

  // Reply to an option whose payload is being skipped.
  struct Answer {
    OptionReply type = OptionReply::kAck;
    std::string text;
  };

  // True if the client may use an export.
  enum class Permission : std::uint8_t { kGranted, kRefused, kUnknown };

  bool collect(std::span<const std::byte>& input);
  void expect(Stage stage, std::uint32_t bytes);
  void close(std::string reason);

  void on_message(std::vector<std::byte>& output);
  void on_client_flags();
  void on_option_header();
  void on_skipped(OptionReplies replies);
  void on_option(std::vector<std::byte>& output);
  void on_export_name(std::vector<std::byte>& output);
  void on_info(OptionReplies replies);
  void on_meta_context(OptionReplies replies);
  void on_listing(std::vector<std::byte>& output);
  Permission permission_for(const ExportInfo& info);
  const ExportInfo* permitted_export(std::string_view name);

  bool is_piece_done(const std::vector<std::byte>& output) const {
    return steps_ >= kHandshakeStepsMax || output.size() >= options_.limits.output_bytes_max;
  }
  bool is_over_limits();
  std::optional<std::string> fatal_reason() const;
  std::optional<Answer> refusal() const;
  std::optional<Answer> refusal_before_tls() const;
  std::optional<Answer> refusal_of_mode_change() const;
  void enter_transmission(const ExportInfo& info, const BlockSizes& told_sizes);
  std::uint16_t flags_for(const ExportInfo& info, bool payload_filter) const;
  bool has_contexts_for(const ExportInfo& info) const;
  bool is_option(Option option) const { return option_ == static_cast<std::uint32_t>(option); }
  bool needs_tls() const { return options_.tls == TlsPolicy::kRequired; }

  ExportDirectory* directory_;
  HandshakeOptions options_;
  SessionState state_;
  std::uint64_t contexts_sequence_ = 0;  // of the export that SET_META_CONTEXT named; 0: none

  HandshakeStatus status_ = HandshakeStatus::kNeedInput;
  Stage stage_ = Stage::kClientFlags;
  std::uint32_t wanted_bytes_ = kClientFlagsBytes;  // missing bytes of the message, or bytes to skip
  std::vector<std::byte> message_;                  // received bytes of the message
  std::uint32_t option_ = 0;
  std::uint32_t option_bytes_ = 0;
  Answer answer_;                    // valid in stage kSkip
  std::uint64_t list_position_ = 0;  // in stage kListing: sequence of the last listed export

  std::string wanted_export_;
  std::uint64_t wanted_sequence_ = 0;
  std::uint64_t decided_sequence_ = 0;  // of the export that the decision below concerns; 0: none
  bool is_allowed_ = false;

  std::uint32_t steps_ = 0;  // of this call of feed()
  std::uint32_t options_seen_ = 0;
  std::uint64_t option_bytes_seen_ = 0;
  bool shutting_down_ = false;
  std::optional<std::string> refuses_all_;  // the reason
  const ExportInfo* chosen_export_ = nullptr;
  std::string close_reason_;
  std::string refusal_reason_;
};

}  // namespace blockexport::nbd

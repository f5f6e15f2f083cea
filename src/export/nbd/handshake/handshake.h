// Handshake: the server's side of option haggling as a state machine without I/O.
//
// Bytes from the client go in, reply bytes come out, and at the end stands a SessionState. It is owned by one
// connection and called by that connection's thread. It never reads past the message that starts the transmission
// phase, never keeps more than one option of at most `payload_bytes_max`, and never lets output grow past its limit by
// more than the answer to one option. Source: proto.md, "Handshake"; where the protocol leaves a choice it answers as
// QEMU's server.
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
  kEstablished,  // TLS is there
};

struct HandshakeLimits {
  // Longest payload kept of an option that is understood; a longer one is skipped and answered with ERR_TOO_BIG.
  std::uint32_t payload_bytes_max = 64u << 10;
  // Longest payload that is skipped; a client that announces more is cut off.
  std::uint32_t skipped_bytes_max = 32u << 20;
  // Options and option bytes of one handshake. A client that asks for each of thousands of exports stays far below.
  std::uint32_t options_max = 65536;
  std::uint64_t option_bytes_max = 128u << 20;
  // Once this much output waits, no more input is taken until it was drained.
  std::size_t output_bytes_max = 64u << 10;
};

struct HandshakeOptions {
  TlsPolicy tls = TlsPolicy::kNone;
  HandshakeLimits limits;
};

// Options taken and exports listed by one call of feed().
inline constexpr std::uint32_t kHandshakeStepsMax = 256;

enum class HandshakeStatus : std::uint8_t {
  kNeedInput,     // all input was taken; send the output and come back with more
  kDrainOutput,   // send the output, give others their turn, come back with what was not consumed (maybe nothing)
  kTransmission,  // done: state() and chosen_export() are final; unconsumed input belongs to the transmission phase
  kStartTls,      // send the output, do the TLS handshake, go on with over_tls()
  kAuthorize,     // send the output, ask whether the client may use wanted_export(), say so by authorized(), go on
  kClose,         // send the output, then close; close_reason() says why
};

struct HandshakeStep {
  HandshakeStatus status;
  std::size_t consumed;  // bytes of the input that were taken
  std::uint32_t steps;   // options taken and exports listed
};

class Handshake {
 public:
  // `directory` has to outlive the handshake.
  explicit Handshake(ExportDirectory& directory, const HandshakeOptions& options = {});

  // Appends what the server says first. Called once, before feed().
  void greet(std::vector<std::byte>& output) { append_greeting(output); }

  // Takes as much of `input` as makes sense now and appends replies to `output`, which the caller sends and clears. It
  // does a bounded piece of work.
  // After kTransmission or kClose it takes nothing and says the same again.
  [[nodiscard]] HandshakeStep feed(std::span<const std::byte> input, std::vector<std::byte>& output);

  // After kStartTls, once the TLS handshake is through: a new handshake that begins with the options and knows nothing
  // of what was said in clear but the two flags that a client sends once.
  Handshake over_tls() const;

  // After kAuthorize: the name of an export that is not for everybody, and the answer, which counts for the option that
  // the client wanted it for. An export that the client may not use is one that does not exist, for that client.
  std::string_view wanted_export() const { return wanted_export_; }
  void authorized(bool allowed);
  // Whether that option is LIST: the client has not named the export.
  bool is_listing() const { return stage_ == Stage::kListing; }

  // From now on every option but ABORT is answered with ERR_SHUTDOWN.
  void begin_shutdown() { shutting_down_ = true; }

  const SessionState& state() const { return state_; }

  // After kTransmission: the export as the directory gave it, valid as long as the directory says. Null before.
  const ExportInfo* chosen_export() const { return chosen_export_; }

  // After kClose: for the log; printable, without a newline.
  std::string_view close_reason() const { return close_reason_; }

 private:
  enum class Stage : std::uint8_t { kClientFlags, kOptionHeader, kPayload, kSkip, kListing };

  // How an option is answered once its payload was skipped.
  struct Answer {
    OptionReply type = OptionReply::kAck;
    std::string text;
  };

  // Whether the client may use an export.
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
  std::uint64_t contexts_sequence_ = 0;  // the export that SET_META_CONTEXT named; 0 for none

  HandshakeStatus status_ = HandshakeStatus::kNeedInput;
  Stage stage_ = Stage::kClientFlags;
  std::uint32_t wanted_bytes_ = kClientFlagsBytes;  // still to come of the message, or to skip
  std::vector<std::byte> message_;                  // what came of the message so far
  std::uint32_t option_ = 0;
  std::uint32_t option_bytes_ = 0;
  Answer answer_;                    // in stage kSkip
  std::uint64_t list_position_ = 0;  // in stage kListing: the sequence of the export sent last

  std::string wanted_export_;
  std::uint64_t wanted_sequence_ = 0;
  std::uint64_t decided_sequence_ = 0;  // of the export that the answer below is about; 0 for none
  bool is_allowed_ = false;

  std::uint32_t steps_ = 0;  // of this call of feed()
  std::uint32_t options_seen_ = 0;
  std::uint64_t option_bytes_seen_ = 0;
  bool shutting_down_ = false;
  const ExportInfo* chosen_export_ = nullptr;
  std::string close_reason_;
};

}  // namespace blockexport::nbd

// Fuzzes the NBD handshake: any bytes in any pieces keep its state consistent, and the split into pieces does not
// change the result.
//
// Input: one byte of settings, one byte of piece size, then the client's bytes.
#include <cstdlib>

#include "export/nbd/testing/handshake.h"
#include "export/nbd/wire/request_check.h"

namespace blockexport::nbd {
namespace {

using testing::Bytes;
using testing::FakeDirectory;

constexpr std::uint8_t kSettingTlsRequired = 1u << 0;
constexpr std::uint8_t kSettingTightOutput = 1u << 1;
constexpr std::uint8_t kSettingShutdown = 1u << 2;

void require(bool promise) {
  if (!promise) std::abort();
}

struct Outcome {
  Bytes output;
  std::size_t consumed = 0;
  HandshakeStatus status = HandshakeStatus::kNeedInput;
  SessionState state;

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// Plays the whole input in pieces of `piece_bytes`.
Outcome play(std::span<const std::byte> input, std::size_t piece_bytes, const HandshakeOptions& options,
             bool shutdown) {
  FakeDirectory directory;
  directory.add("disk").description = "text";
  ExportInfo& other = directory.add("");
  other.block_sizes.minimum = 4096;
  other.contexts = {{"base:allocation", 0}, {"qemu:allocation-depth", 1}, {"qemu:dirty-bitmap:b", 2}};
  directory.add("ro").read_only = true;
  directory.add("private").is_restricted = true;

  Handshake handshake(directory, options);
  Outcome outcome;
  handshake.greet(outcome.output);
  if (shutdown) handshake.begin_shutdown();
  std::size_t available = 0;
  while (outcome.consumed < input.size() || outcome.status == HandshakeStatus::kDrainOutput ||
         outcome.status == HandshakeStatus::kAuthorize) {
    if (outcome.status != HandshakeStatus::kDrainOutput) available = std::min(input.size(), available + piece_bytes);
    Bytes produced;
    const HandshakeStep step = handshake.feed(input.subspan(outcome.consumed, available - outcome.consumed), produced);
    require(step.consumed <= available - outcome.consumed);
    require(produced.size() <= options.limits.output_bytes_max + 64 * 1024);
    outcome.consumed += step.consumed;
    outcome.status = step.status;
    outcome.output.insert(outcome.output.end(), produced.begin(), produced.end());
    if (step.status == HandshakeStatus::kStartTls) handshake = handshake.over_tls();
    if (step.status == HandshakeStatus::kAuthorize) handshake.authorized(outcome.consumed % 2 == 0);
    if (step.status == HandshakeStatus::kTransmission || step.status == HandshakeStatus::kClose) break;
  }
  outcome.state = handshake.state();
  return outcome;
}

void check_transmission(const Outcome& outcome, std::span<const std::byte> rest) {
  const auto copy = deserialize(serialize(outcome.state));
  require(copy.has_value() && *copy == outcome.state);
  const RequestRules rules(outcome.state);
  const HeaderMode mode = outcome.state.header_mode;
  if (rest.size() < request_header_bytes(mode)) return;
  const Request request = decode_request(rest, mode);
  const Verdict verdict = rules.check(request);
  require(verdict.ok() == (verdict.error == NbdError::kNone));
}

}  // namespace
}  // namespace blockexport::nbd

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::nbd;
  if (size < 2) return 0;
  const auto input = std::as_bytes(std::span(data, size)).subspan(2);
  HandshakeOptions options;
  if ((data[0] & kSettingTlsRequired) != 0) options.tls = TlsPolicy::kRequired;
  const bool shutdown = (data[0] & kSettingShutdown) != 0;
  const Outcome whole = play(input, input.size(), options, shutdown);
  if ((data[0] & kSettingTightOutput) != 0) options.limits.output_bytes_max = 1;
  const Outcome pieces = play(input, data[1] + std::size_t{1}, options, shutdown);
  // With TLS, bytes in the same piece as STARTTLS end the session, so there the split does change the result.
  if (options.tls == TlsPolicy::kNone) require(whole == pieces);
  if (whole.status == HandshakeStatus::kTransmission) check_transmission(whole, input.subspan(whole.consumed));
  return 0;
}

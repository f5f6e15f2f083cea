// Fuzzes the processing of a request before it reaches a node: decoding, checks and the reply's encoding.
//
// Input: a session in a few bytes, then request headers, each followed by a short payload.
#include <array>
#include <cstdlib>
#include <vector>

#include "base/byte_reader.h"
#include "export/nbd/wire/block_status_filter.h"
#include "export/nbd/wire/export_info.h"
#include "export/nbd/wire/reply_encoder.h"
#include "export/nbd/wire/request_check.h"

namespace blockexport::nbd {
namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

SessionState make_session(ByteReader& reader) {
  const std::uint8_t choice = reader.u8();
  SessionState state;
  state.header_mode = static_cast<HeaderMode>(choice % 3);
  state.export_bytes = reader.u64() & static_cast<std::uint64_t>(INT64_MAX);
  if ((choice & 0x10) != 0) state.block_sizes.minimum = 4096;
  const bool contexts = (choice & 0x20) != 0 && state.header_mode != HeaderMode::kSimple;
  if (contexts) state.contexts = {{"base:allocation", 0}, {"qemu:dirty-bitmap:b", 2}};
  ExportInfo info;
  info.read_only = (choice & 0x40) != 0;
  info.can_fast_zero = (choice & 0x80) != 0;
  state.transmission_flags = transmission_flags(info, state.header_mode, contexts);
  return state;
}

void check_refusal(const RequestRules& rules, HeaderMode mode, const Request& request, const Verdict& verdict) {
  require(verdict.error != NbdError::kNone);
  require(verdict.payload_bytes <= kPayloadBytesMax && (!verdict.disconnect || verdict.payload_bytes == 0));
  std::array<char, kErrorTextBytesMax> buffer;
  const std::string_view text = rules.describe(request, verdict, buffer);
  require(!text.empty() && is_wire_string(text));
  std::array<std::byte, kErrorReplyBytesMax> reply;
  require(encode_error(reply, mode, request, verdict.error, text) <= reply.size());
}

void check_status(const Request& request, std::uint64_t length, ByteReader& reader) {
  BlockStatus status(request, length, 16);
  while (!status.is_full() && reader.remaining() >= 9) {
    const std::uint64_t extent = reader.u64();
    status.add(extent, reader.u8() & 3u);
  }
  if (status.extent_count() == 0) return;
  require(status.covered_bytes() <= length);
  std::vector<std::byte> chunk(status.encoded_bytes());
  require(status.encode(chunk, 0, true) == chunk.size());
}

void check_accepted(const RequestRules& rules, const SessionState& state, const Request& request,
                    const Verdict& verdict, ByteReader& reader) {
  if (request.is(Command::kDisconnect)) return;
  require(verdict.error == NbdError::kNone && !verdict.disconnect);
  std::uint64_t length = request.length;
  if (request.is(Command::kBlockStatus) && verdict.payload_bytes > 0) {
    if (reader.remaining() < verdict.payload_bytes) return;
    const auto filter = parse_block_status_payload(reader.bytes(verdict.payload_bytes), state.contexts);
    if (!filter || !rules.check_status_range(request.offset, filter->length).ok()) return;
    require(!filter->context_ids.empty() && filter->context_ids.size() <= state.contexts.size());
    length = filter->length;
  }
  require(request.offset <= state.export_bytes && length <= state.export_bytes - request.offset);
  if (request.is(Command::kBlockStatus)) return check_status(request, length, reader);
  std::array<std::byte, kReplyHeadBytesMax> reply;
  require(encode_success(reply, state.header_mode, request) <= reply.size());
}

}  // namespace
}  // namespace blockexport::nbd

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport;
  using namespace blockexport::nbd;
  ByteReader reader(std::as_bytes(std::span(data, size)));
  const SessionState state = make_session(reader);
  const RequestRules rules(state);
  while (reader.remaining() >= request_header_bytes(state.header_mode)) {
    const Request request = decode_request(reader.bytes(request_header_bytes(state.header_mode)), state.header_mode);
    const Verdict verdict = rules.check(request);
    if (verdict.ok()) {
      check_accepted(rules, state, request, verdict, reader);
    } else {
      check_refusal(rules, state.header_mode, request, verdict);
    }
  }
  return 0;
}

#include "export/nbd/wire/session_state.h"

#include <bit>
#include <cassert>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "export/nbd/wire/wire_text.h"

namespace blockexport::nbd {
namespace {

constexpr std::uint32_t kStateMagic = 0x4e424453;  // "NBDS"
constexpr std::uint16_t kStateVersion = 1;
constexpr std::size_t kStateFixedBytes = 4 + 2 + 1 + 1 + 2 + 2 + 8 + 12 + 4;

// Bits of the byte that holds the boolean members.
constexpr std::uint8_t kBitFixedNewstyle = 1u << 0;
constexpr std::uint8_t kBitNoZeroes = 1u << 1;
constexpr std::uint8_t kBitTls = 1u << 2;
constexpr std::uint8_t kBitsKnown = kBitFixedNewstyle | kBitNoZeroes | kBitTls;

// The protocol limits every name to kStringBytesMax, so a 16-bit length is enough.
void write_name(ByteWriter& writer, std::string_view name) {
  assert(name.size() <= kStringBytesMax);
  writer.u16(static_cast<std::uint16_t>(name.size()));
  writer.text(name);
}

bool has(const SessionState& state, std::uint16_t flag) {
  return (state.transmission_flags & flag) != 0;
}

// The reason why the members contradict each other, or an empty text.
std::string_view inconsistency(const SessionState& state) {
  using namespace transmission_flag;
  if (state.export_name.size() > kStringBytesMax) return "export name too long";
  if (state.export_bytes > static_cast<std::uint64_t>(INT64_MAX)) return "export size out of range";
  if ((state.transmission_flags & ~kAll) != 0 || !has(state, kHasFlags)) return "bad transmission flags";
  if (has(state, kSendDontFragment) && state.header_mode == HeaderMode::kSimple) return "DF without chunks";
  if (has(state, kBlockStatusPayload) && state.header_mode != HeaderMode::kExtended) {
    return "payload filter without extended headers";
  }
  if (has(state, kSendFastZero) && !has(state, kSendWriteZeroes)) return "fast zero without write zeroes";
  if (!are_valid(state.block_sizes)) return "bad block sizes";
  if (!state.contexts.empty() && state.header_mode == HeaderMode::kSimple) return "contexts without chunks";
  if (state.contexts.size() > kContextsMax) return "too many contexts";
  for (std::size_t index = 0; index < state.contexts.size(); ++index) {
    const ContextInfo& context = state.contexts[index];
    if (context.name.find(':') == std::string::npos || !is_wire_string(context.name)) return "bad context name";
    if (index > 0 && context.id <= state.contexts[index - 1].id) return "context ids not ascending";
  }
  return {};
}

}  // namespace

bool are_valid(const BlockSizes& sizes) {
  return std::has_single_bit(sizes.minimum) && sizes.minimum <= 65536 && std::has_single_bit(sizes.preferred) &&
         sizes.preferred >= 512 && sizes.preferred >= sizes.minimum && sizes.maximum >= sizes.preferred;
}

std::vector<std::byte> serialize(const SessionState& state) {
  assert(inconsistency(state).empty());
  std::size_t size = kStateFixedBytes + 2 + state.export_name.size();
  for (const ContextInfo& context : state.contexts) size += 4 + 2 + context.name.size();
  std::vector<std::byte> bytes(size);
  ByteWriter writer(bytes);
  writer.u32(kStateMagic);
  writer.u16(kStateVersion);
  writer.u8(static_cast<std::uint8_t>((state.fixed_newstyle ? kBitFixedNewstyle : 0) |
                                      (state.no_zeroes ? kBitNoZeroes : 0) | (state.tls ? kBitTls : 0)));
  writer.u8(static_cast<std::uint8_t>(state.header_mode));
  writer.u16(state.transmission_flags);
  writer.u16(0);  // padding
  writer.u64(state.export_bytes);
  writer.u32(state.block_sizes.minimum);
  writer.u32(state.block_sizes.preferred);
  writer.u32(state.block_sizes.maximum);
  writer.u32(static_cast<std::uint32_t>(state.contexts.size()));
  write_name(writer, state.export_name);
  for (const ContextInfo& context : state.contexts) {
    writer.u32(context.id);
    write_name(writer, context.name);
  }
  assert(writer.written().size() == size);
  return bytes;
}

std::expected<SessionState, std::string_view> deserialize(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  if (reader.u32() != kStateMagic) return std::unexpected("not a session state");
  if (reader.u16() != kStateVersion) return std::unexpected("unknown version");
  SessionState state;
  const std::uint8_t bits = reader.u8();
  if ((bits & ~kBitsKnown) != 0) return std::unexpected("unknown member");
  state.fixed_newstyle = (bits & kBitFixedNewstyle) != 0;
  state.no_zeroes = (bits & kBitNoZeroes) != 0;
  state.tls = (bits & kBitTls) != 0;
  const std::uint8_t mode = reader.u8();
  if (mode > static_cast<std::uint8_t>(HeaderMode::kExtended)) return std::unexpected("unknown header mode");
  state.header_mode = static_cast<HeaderMode>(mode);
  state.transmission_flags = reader.u16();
  if (reader.u16() != 0) return std::unexpected("unknown member");
  state.export_bytes = reader.u64();
  state.block_sizes.minimum = reader.u32();
  state.block_sizes.preferred = reader.u32();
  state.block_sizes.maximum = reader.u32();
  const std::uint32_t contexts = reader.u32();
  state.export_name = reader.text(reader.u16());
  if (contexts > kContextsMax) return std::unexpected("too many contexts");
  for (std::uint32_t index = 0; index < contexts && !reader.failed(); ++index) {
    ContextInfo& context = state.contexts.emplace_back();
    context.id = reader.u32();
    context.name = reader.text(reader.u16());
  }
  if (reader.failed()) return std::unexpected("cut short");
  if (reader.remaining() > 0) return std::unexpected("trailing bytes");
  if (const std::string_view reason = inconsistency(state); !reason.empty()) return std::unexpected(reason);
  return state;
}

}  // namespace blockexport::nbd

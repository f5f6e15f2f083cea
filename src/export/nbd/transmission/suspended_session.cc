#include "export/nbd/transmission/suspended_session.h"

#include <cassert>
#include <cstdint>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "export/nbd/transmission/receive_window.h"

namespace blockexport::nbd {
namespace {

constexpr std::uint32_t kSessionMagic = 0x4e424450;  // "NBDP"
constexpr std::uint16_t kSessionVersion = 1;
constexpr std::size_t kSessionFixedBytes = 4 + 2 + 3 * 4;
constexpr std::size_t kUnsentFixedBytes = 3 * 8;

std::vector<std::byte> copy(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}

}  // namespace

std::vector<std::byte> serialize(const SuspendedSession& session) {
  assert(session.unread.size() <= ReceiveWindow::kCapacityBytes && session.unsent.size() <= kUnsentRepliesMax);
  const std::vector<std::byte> state = serialize(session.state);
  std::size_t size = kSessionFixedBytes + state.size() + session.unread.size();
  for (const UnsentReply& reply : session.unsent) size += kUnsentFixedBytes + reply.bytes.size();
  std::vector<std::byte> bytes(size);
  ByteWriter writer(bytes);
  writer.u32(kSessionMagic);
  writer.u16(kSessionVersion);
  writer.u32(static_cast<std::uint32_t>(state.size()));
  writer.u32(static_cast<std::uint32_t>(session.unread.size()));
  writer.u32(static_cast<std::uint32_t>(session.unsent.size()));
  writer.bytes(state);
  writer.bytes(session.unread);
  for (const UnsentReply& reply : session.unsent) {
    writer.u64(reply.bytes.size());
    writer.u64(reply.data.offset);
    writer.u64(reply.data.length);
    writer.bytes(reply.bytes);
  }
  assert(writer.written().size() == size);
  return bytes;
}

std::expected<SuspendedSession, std::string_view> deserialize_session(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  if (reader.u32() != kSessionMagic) return std::unexpected("not a suspended session");
  if (reader.u16() != kSessionVersion) return std::unexpected("unknown version");
  const std::uint32_t state_bytes = reader.u32();
  const std::uint32_t unread_bytes = reader.u32();
  const std::uint32_t replies = reader.u32();
  if (unread_bytes > ReceiveWindow::kCapacityBytes) return std::unexpected("too many unread bytes");
  if (replies > kUnsentRepliesMax) return std::unexpected("too many unsent replies");
  auto state = deserialize(reader.bytes(state_bytes));
  if (!state) return std::unexpected(state.error());
  SuspendedSession session{.state = *std::move(state), .unread = copy(reader.bytes(unread_bytes)), .unsent = {}};
  for (std::uint32_t index = 0; index < replies && !reader.failed(); ++index) {
    const std::uint64_t reply_bytes = reader.u64();
    const block::Range data{.offset = reader.u64(), .length = reader.u64()};
    if (!data.fits(session.state.export_bytes)) return std::unexpected("reply outside of the export");
    session.unsent.push_back({.bytes = copy(reader.bytes(reply_bytes)), .data = data});
    const UnsentReply& added = session.unsent.back();
    if (!reader.failed() && added.bytes.empty() && added.data.empty()) return std::unexpected("empty reply");
  }
  if (reader.failed()) return std::unexpected("cut short");
  if (reader.remaining() > 0) return std::unexpected("trailing bytes");
  return session;
}

}  // namespace blockexport::nbd

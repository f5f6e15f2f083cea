#include "export/nbd/handshake/handshake_reply.h"

#include "base/byte_writer.h"
#include "export/nbd/wire/wire_text.h"

namespace blockexport::nbd {
namespace {

std::span<std::byte> append_bytes(std::vector<std::byte>& output, std::size_t count) {
  const std::size_t start = output.size();
  output.resize(start + count);
  return std::span(output).subspan(start);
}

}  // namespace

void append_greeting(std::vector<std::byte>& output) {
  ByteWriter writer(append_bytes(output, kGreetingBytes));
  writer.u64(kNbdMagic);
  writer.u64(kOptionMagic);
  writer.u16(handshake_flag::kFixedNewstyle | handshake_flag::kNoZeroes);
}

std::span<std::byte> OptionReplies::append_reply(OptionReply type, std::size_t payload_bytes) {
  const std::span<std::byte> reply = append_bytes(output_, kOptionReplyHeaderBytes + payload_bytes);
  ByteWriter writer(reply);
  writer.u64(kOptionReplyMagic);
  writer.u32(option_);
  writer.u32(static_cast<std::uint32_t>(type));
  writer.u32(static_cast<std::uint32_t>(payload_bytes));
  return reply.subspan(kOptionReplyHeaderBytes);
}

void OptionReplies::ack() {
  append_reply(OptionReply::kAck, 0);
}

void OptionReplies::error(OptionReply type, std::string_view text) {
  const std::string clean = printable(text);
  ByteWriter(append_reply(type, clean.size())).text(clean);
}

void OptionReplies::server(const ExportInfo& info) {
  const std::string_view description = info.description ? std::string_view(*info.description) : std::string_view();
  ByteWriter writer(append_reply(OptionReply::kServer, 4 + info.name.size() + description.size()));
  writer.u32(static_cast<std::uint32_t>(info.name.size()));
  writer.text(info.name);
  writer.text(description);
}

void OptionReplies::meta_context(std::string_view name, std::uint32_t id) {
  ByteWriter writer(append_reply(OptionReply::kMetaContext, 4 + name.size()));
  writer.u32(id);
  writer.text(name);
}

void OptionReplies::info_text(InfoType type, std::string_view text) {
  ByteWriter writer(append_reply(OptionReply::kInfo, 2 + text.size()));
  writer.u16(static_cast<std::uint16_t>(type));
  writer.text(text);
}

void OptionReplies::info_block_size(const BlockSizes& sizes) {
  ByteWriter writer(append_reply(OptionReply::kInfo, 14));
  writer.u16(static_cast<std::uint16_t>(InfoType::kBlockSize));
  writer.u32(sizes.minimum);
  writer.u32(sizes.preferred);
  writer.u32(sizes.maximum);
}

void OptionReplies::info_export(std::uint64_t size_bytes, std::uint16_t transmission_flags) {
  ByteWriter writer(append_reply(OptionReply::kInfo, 12));
  writer.u16(static_cast<std::uint16_t>(InfoType::kExport));
  writer.u64(size_bytes);
  writer.u16(transmission_flags);
}

void append_export_name_answer(std::vector<std::byte>& output, std::uint64_t size_bytes,
                               std::uint16_t transmission_flags, bool no_zeroes) {
  constexpr std::size_t kFixedBytes = 10;
  // The padding is zero, as are all new bytes of a vector.
  ByteWriter writer(append_bytes(output, kFixedBytes + (no_zeroes ? 0 : kExportNameZeroBytes)));
  writer.u64(size_bytes);
  writer.u16(transmission_flags);
}

}  // namespace blockexport::nbd

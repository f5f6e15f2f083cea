// Encoder for the server's messages of the handshake, which appends them to an output vector.
//
// Thread: any; the output belongs to the caller. It makes no decisions: see handshake.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "export/nbd/wire/export_info.h"
#include "export/nbd/wire/wire.h"

namespace blockexport::nbd {

// The 18 bytes that open a connection.
void append_greeting(std::vector<std::byte>& output);

// Replies to one option; `option` is the number that the client sent.
class OptionReplies {
 public:
  OptionReplies(std::vector<std::byte>& output, std::uint32_t option) : output_(output), option_(option) {}

  void ack();
  // `type` is one of the error types; `text` is made printable and truncated.
  void error(OptionReply type, std::string_view text);
  void server(const ExportInfo& info);
  void meta_context(std::string_view name, std::uint32_t id);
  void info_text(InfoType type, std::string_view text);
  void info_block_size(const BlockSizes& sizes);
  void info_export(std::uint64_t size_bytes, std::uint16_t transmission_flags);

 private:
  std::span<std::byte> append_reply(OptionReply type, std::size_t payload_bytes);

  std::vector<std::byte>& output_;
  std::uint32_t option_;
};

// The reply to EXPORT_NAME, which has no reply header.
void append_export_name_answer(std::vector<std::byte>& output, std::uint64_t size_bytes,
                               std::uint16_t transmission_flags, bool no_zeroes);

}  // namespace blockexport::nbd

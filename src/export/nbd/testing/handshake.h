// For tests and fuzzers: a directory of exports in a vector, an encoder of a client's bytes, and a parser of a server's
// replies.
//
// Thread: any. Not part of the daemon.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_reader.h"
#include "export/nbd/handshake/handshake.h"

namespace blockexport::nbd::testing {

using Bytes = std::vector<std::byte>;

class FakeDirectory : public ExportDirectory {
 public:
  ExportInfo& add(std::string name) {
    ExportInfo info;
    info.sequence = ++last_sequence_;
    info.name = std::move(name);
    info.size_bytes = 1u << 20;
    info.contexts = {{"base:allocation", 0}};
    exports_.push_back(std::move(info));
    return exports_.back();
  }
  void remove(std::string_view name) {
    std::erase_if(exports_, [&](const ExportInfo& info) { return info.name == name; });
  }
  const ExportInfo* find(std::string_view name) override {
    const auto found = std::ranges::find(exports_, name, &ExportInfo::name);
    return found == exports_.end() ? nullptr : &*found;
  }
  const ExportInfo* next_after(std::uint64_t sequence) override {
    const auto found = std::ranges::find_if(exports_, [&](const auto& info) { return info.sequence > sequence; });
    return found == exports_.end() ? nullptr : &*found;
  }

 private:
  std::vector<ExportInfo> exports_;
  std::uint64_t last_sequence_ = 0;
};

// Bytes of a client, appended in order.
class ClientBytes {
 public:
  ClientBytes& u16(std::uint16_t value) { return integer(value, 2); }
  ClientBytes& u32(std::uint32_t value) { return integer(value, 4); }
  ClientBytes& u64(std::uint64_t value) { return integer(value, 8); }
  ClientBytes& text(std::string_view text) { return raw(std::as_bytes(std::span(text))); }
  ClientBytes& raw(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  // An option header that announces `length` bytes, without the bytes.
  ClientBytes& option_header(std::uint32_t option, std::uint32_t length) {
    return u64(kOptionMagic).u32(option).u32(length);
  }
  ClientBytes& option(Option option, std::span<const std::byte> payload = {}) {
    return option_header(static_cast<std::uint32_t>(option), static_cast<std::uint32_t>(payload.size())).raw(payload);
  }
  ClientBytes& export_name(std::string_view name) {
    return option(Option::kExportName, std::as_bytes(std::span(name)));
  }
  ClientBytes& info(Option which, std::string_view name, const std::vector<InfoType>& types = {}) {
    ClientBytes payload;
    payload.u32(static_cast<std::uint32_t>(name.size())).text(name).u16(static_cast<std::uint16_t>(types.size()));
    for (const InfoType type : types) payload.u16(static_cast<std::uint16_t>(type));
    return option(which, payload.bytes());
  }
  ClientBytes& meta(Option which, std::string_view name, const std::vector<std::string_view>& queries) {
    ClientBytes payload;
    payload.u32(static_cast<std::uint32_t>(name.size())).text(name).u32(static_cast<std::uint32_t>(queries.size()));
    for (const auto query : queries) payload.u32(static_cast<std::uint32_t>(query.size())).text(query);
    return option(which, payload.bytes());
  }
  const Bytes& bytes() const { return bytes_; }

 private:
  ClientBytes& integer(std::uint64_t value, int bytes) {
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) bytes_.push_back(static_cast<std::byte>(value >> shift));
    return *this;
  }
  Bytes bytes_;
};

struct Reply {
  std::uint32_t option = 0;
  OptionReply type = OptionReply::kAck;
  Bytes payload;

  bool is_error() const { return (static_cast<std::uint32_t>(type) & 0x80000000u) != 0; }
  std::string text(std::size_t from = 0) const {
    const auto tail = std::span(payload).subspan(from);
    return {reinterpret_cast<const char*>(tail.data()), tail.size()};
  }
};

// All replies in `bytes`, or nothing if they are not a sequence of complete replies.
inline std::optional<std::vector<Reply>> parse_replies(std::span<const std::byte> bytes) {
  std::vector<Reply> replies;
  ByteReader reader(bytes);
  while (reader.remaining() > 0) {
    Reply reply;
    if (reader.u64() != kOptionReplyMagic) return std::nullopt;
    reply.option = reader.u32();
    reply.type = static_cast<OptionReply>(reader.u32());
    const auto payload = reader.bytes(reader.u32());
    if (reader.failed()) return std::nullopt;
    reply.payload.assign(payload.begin(), payload.end());
    replies.push_back(std::move(reply));
  }
  return replies;
}

// A handshake with its client: calls feed(), drains, and records all output.
class Conversation {
 public:
  explicit Conversation(ExportDirectory& directory, const HandshakeOptions& options = {}, std::uint32_t flags = 3)
      : handshake(directory, options) {
    status = send(ClientBytes().u32(flags).bytes());
  }

  // Feeds `input`, and drains as often as the handshake requests it.
  HandshakeStatus send(std::span<const std::byte> input) {
    while (true) {
      const HandshakeStep step = handshake.feed(input, pending_);
      input = input.subspan(step.consumed);
      most_pending = std::max(most_pending, pending_.size());
      output.insert(output.end(), pending_.begin(), pending_.end());
      pending_.clear();
      status = step.status;
      left_over.assign(input.begin(), input.end());
      if (status != HandshakeStatus::kDrainOutput) return status;
    }
  }
  HandshakeStatus send(const ClientBytes& client) { return send(client.bytes()); }

  // The replies since the last call. Empty if they cannot be parsed or there are none.
  std::vector<Reply> replies() {
    auto parsed = parse_replies(output);
    output.clear();
    return parsed ? *std::move(parsed) : std::vector<Reply>{};
  }
  // The reply to one message that has a single reply.
  Reply ask(const ClientBytes& client) {
    send(client);
    auto all = replies();
    return all.size() == 1 ? std::move(all.front()) : Reply{.option = 0xdead, .type = {}, .payload = {}};
  }

  Handshake handshake;
  HandshakeStatus status = HandshakeStatus::kNeedInput;
  Bytes output;
  Bytes left_over;
  std::size_t most_pending = 0;

 private:
  Bytes pending_;
};

}  // namespace blockexport::nbd::testing

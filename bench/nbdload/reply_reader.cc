#include "nbdload/reply_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/wire.h"

namespace blockexport::bench {

void ReplyReader::feed(std::span<const std::byte> bytes, uint64_t now_ns) {
  while (!bytes.empty() && tally_.breach.empty()) {
    if (left_ != 0) {
      bytes = bytes.subspan(take_payload(bytes, now_ns));
      continue;
    }
    auto head = replies_ == Replies::kExtended ||
                        (bytes.size() >= sizeof(uint32_t) && load_be<uint32_t>(bytes.data()) == kStructuredReplyMagic)
                    ? take_chunk(bytes, now_ns)
                    : take_simple(bytes, now_ns);
    if (!head) {
      break;
    }
    bytes = bytes.subspan(head->size);
  }
  carried_ = std::min(bytes.size(), carry_.size());
  std::copy_n(bytes.begin(), carried_, carry_.begin());
}

std::size_t ReplyReader::take_payload(std::span<const std::byte> bytes, uint64_t now_ns) {
  std::size_t take = std::min<uint64_t>(bytes.size(), left_);
  if (is_data_) {
    slots_.take_data(*slot_, offset_, bytes.first(take));
    offset_ += take;
  }
  left_ -= take;
  if (left_ == 0) {
    finish_chunk(now_ns);
  }
  return take;
}

void ReplyReader::finish_chunk(uint64_t now_ns) {
  if (done_) {
    slots_.close(*slot_, now_ns);
    slot_ = nullptr;
  }
}

Slot* ReplyReader::slot_of(uint64_t cookie) {
  Slot* slot = slots_.find(cookie);
  if (slot == nullptr) {
    tally_.set_breach(fmt::format("a reply with the cookie {:#x}, which is not in flight", cookie));
  }
  return slot;
}

std::optional<ReplyReader::Head> ReplyReader::take_simple(std::span<const std::byte> bytes, uint64_t now_ns) {
  if (bytes.size() < kSimpleReplySize) {
    return std::nullopt;
  }
  if (load_be<uint32_t>(bytes.data()) != kSimpleReplyMagic) {
    tally_.set_breach(fmt::format("a reply with the magic {:#x}", load_be<uint32_t>(bytes.data())));
    return std::nullopt;
  }
  slot_ = slot_of(load_be<uint64_t>(bytes.data() + 8));
  if (slot_ == nullptr) {
    return std::nullopt;
  }
  auto error = load_be<uint32_t>(bytes.data() + 4);
  bool is_read = slot_->request.command == Command::kRead;
  if (is_read && replies_ != Replies::kSimple) {
    tally_.set_breach("a simple reply to a read although structured replies were agreed");
    return std::nullopt;
  }
  done_ = true;
  if (error != 0) {
    slots_.take_error(*slot_, error);
  }
  is_data_ = is_read && error == 0;
  offset_ = slot_->request.offset;
  left_ = is_data_ ? slot_->request.length : 0;
  if (left_ == 0) {
    finish_chunk(now_ns);
  }
  return Head{.size = kSimpleReplySize};
}

std::optional<ReplyReader::Head> ReplyReader::take_chunk(std::span<const std::byte> bytes, uint64_t now_ns) {
  bool extended = replies_ == Replies::kExtended;
  std::size_t size = extended ? kExtendedReplySize : kStructuredReplySize;
  if (bytes.size() < size) {
    return std::nullopt;
  }
  uint32_t magic = extended ? kExtendedReplyMagic : kStructuredReplyMagic;
  if (load_be<uint32_t>(bytes.data()) != magic || replies_ == Replies::kSimple) {
    tally_.set_breach(fmt::format("an unexpected reply with the magic {:#x}", load_be<uint32_t>(bytes.data())));
    return std::nullopt;
  }
  auto type = static_cast<Chunk>(load_be<uint16_t>(bytes.data() + 6));
  uint64_t length = extended ? load_be<uint64_t>(bytes.data() + 24) : load_be<uint32_t>(bytes.data() + 16);
  slot_ = slot_of(load_be<uint64_t>(bytes.data() + 8));
  if (slot_ == nullptr) {
    return std::nullopt;
  }
  auto body = open_content(bytes.subspan(size), type, length);
  if (!body) {
    return std::nullopt;
  }
  done_ = (load_be<uint16_t>(bytes.data() + 4) & kChunkDone) != 0;
  left_ = body->payload;
  if (left_ == 0) {
    finish_chunk(now_ns);
  }
  return Head{.size = size + body->size};
}

// Parses the fixed part after a chunk header. Nothing: it is incomplete, or invalid, which the tally records.
std::optional<ReplyReader::Head> ReplyReader::open_content(std::span<const std::byte> body, Chunk type,
                                                           uint64_t length) {
  constexpr std::size_t kOffsetSize = 8;
  constexpr std::size_t kHoleSize = 12;
  constexpr std::size_t kErrorSize = 6;
  bool is_error = (static_cast<uint16_t>(type) & kChunkErrorBit) != 0;
  std::size_t fixed = is_error                     ? kErrorSize
                      : type == Chunk::kOffsetData ? kOffsetSize
                      : type == Chunk::kOffsetHole ? kHoleSize
                                                   : 0;
  bool fits = type == Chunk::kNone ? length == 0 : fixed != 0 && length >= fixed;
  if (!fits || (!is_error && type != Chunk::kNone && slot_->request.command != Command::kRead)) {
    tally_.set_breach(fmt::format("a chunk of type {} and {} bytes", static_cast<unsigned>(type), length));
    return std::nullopt;
  }
  if (body.size() < fixed) {
    return std::nullopt;
  }
  is_data_ = type == Chunk::kOffsetData;
  if (is_error) {
    slots_.take_error(*slot_, load_be<uint32_t>(body.data()));
    return Head{.size = fixed, .payload = length - fixed};
  }
  if (type == Chunk::kNone) {
    return Head{};
  }
  offset_ = load_be<uint64_t>(body.data());
  uint64_t covered = is_data_ ? length - fixed : load_be<uint32_t>(body.data() + kOffsetSize);
  const Request& request = slot_->request;
  if (covered == 0 || covered > request.length || offset_ < request.offset ||
      offset_ - request.offset > request.length - covered) {
    tally_.set_breach(fmt::format("a chunk for {}+{} outside its request", offset_, covered));
    return std::nullopt;
  }
  if (!is_data_) {
    slots_.take_hole(*slot_, offset_, covered);
  }
  return Head{.size = fixed, .payload = length - fixed};
}

}  // namespace blockexport::bench

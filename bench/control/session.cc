#include "control/session.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "common/fatal.h"

namespace blockexport::bench {

namespace {

constexpr uint32_t kContextId = 1;
constexpr uint32_t kHoleAndZero = 3;
// Most descriptors in one chunk of a block status reply.
constexpr std::size_t kMostDescriptors = std::size_t{1} << 20;

}  // namespace

void Session::greet() {
  std::array<std::byte, kGreetingSize> greeting{};
  std::byte* at = store_be(greeting.data(), kGreetingMagic);
  at = store_be(at, kOptionMagic);
  store_be(at, static_cast<uint16_t>(kFixedNewstyle | kNoZeroes));
  batch_.put(greeting);
}

bool Session::feed(std::span<const std::byte> bytes) {
  while (!bytes.empty() && phase_ != Phase::kOver) {
    std::size_t taken = 0;
    if (write_.left != 0) {
      taken = take_payload(bytes);
    } else if (phase_ == Phase::kTransmission) {
      taken = take_request(bytes);
    } else if (phase_ == Phase::kOptions) {
      taken = take_option(bytes);
    } else if (bytes.size() >= sizeof(uint32_t)) {
      taken = sizeof(uint32_t);
      phase_ = Phase::kOptions;
    }
    if (taken == 0) {
      break;
    }
    bytes = bytes.subspan(taken);
  }
  if (bytes.size() > kLongestHead) {
    phase_ = Phase::kOver;
  }
  carry_.assign(bytes.begin(), bytes.end());
  return phase_ != Phase::kOver;
}

std::size_t Session::take_option(std::span<const std::byte> bytes) {
  if (bytes.size() < kOptionHeaderSize) {
    return 0;
  }
  auto length = load_be<uint32_t>(bytes.data() + 12);
  if (load_be<uint64_t>(bytes.data()) != kOptionMagic) {
    phase_ = Phase::kOver;
    return bytes.size();
  }
  if (bytes.size() < kOptionHeaderSize + length) {
    return 0;
  }
  answer_option(static_cast<Option>(load_be<uint32_t>(bytes.data() + 8)), bytes.subspan(kOptionHeaderSize, length));
  return kOptionHeaderSize + length;
}

void Session::answer_option(Option option, std::span<const std::byte> data) {
  switch (option) {
    case Option::kStructuredReply:
      structured_ = true;
      return reply_option(option, OptionReply::kAck, {});
    case Option::kSetMetaContext: {
      constexpr std::string_view kName = "base:allocation";
      std::array<std::byte, sizeof(uint32_t) + kName.size()> context{};
      std::memcpy(store_be(context.data(), kContextId), kName.data(), kName.size());
      if (std::search(data.begin(), data.end(), context.begin() + sizeof(uint32_t), context.end()) != data.end()) {
        reply_option(option, OptionReply::kMetaContext, context);
      }
      return reply_option(option, OptionReply::kAck, {});
    }
    case Option::kInfo:
    case Option::kGo: {
      constexpr uint16_t kFlags =
          kTransmissionHasFlags | kTransmissionSendFlush | kTransmissionSendFua | kTransmissionMultiConn;
      std::array<std::byte, 12> info{};
      store_be(store_be(store_be(info.data(), kInfoExport), image_.size), kFlags);
      reply_option(option, OptionReply::kInfo, info);
      reply_option(option, OptionReply::kAck, {});
      phase_ = option == Option::kGo ? Phase::kTransmission : phase_;
      return;
    }
    case Option::kAbort:
      phase_ = Phase::kOver;
      return reply_option(option, OptionReply::kAck, {});
    case Option::kStartTls:
      if (!offers_tls_) {
        break;
      }
      starts_tls_ = true;
      return reply_option(option, OptionReply::kAck, {});
    case Option::kExportName:
    case Option::kList:
    case Option::kExtendedHeaders:
      break;
  }
  reply_option(option, OptionReply::kUnsupported, {});
}

void Session::reply_option(Option option, OptionReply type, std::span<const std::byte> data) {
  std::array<std::byte, kOptionReplyHeaderSize> header{};
  std::byte* at = store_be(header.data(), kOptionReplyMagic);
  at = store_be(at, static_cast<uint32_t>(option));
  at = store_be(at, static_cast<uint32_t>(type));
  store_be(at, static_cast<uint32_t>(data.size()));
  batch_.put(header);
  batch_.put(data);
}

std::size_t Session::take_request(std::span<const std::byte> bytes) {
  if (bytes.size() < kRequestSize) {
    return 0;
  }
  auto cookie = load_be<uint64_t>(bytes.data() + 8);
  auto offset = load_be<uint64_t>(bytes.data() + 16);
  auto length = load_be<uint32_t>(bytes.data() + 24);
  if (load_be<uint32_t>(bytes.data()) != kRequestMagic || offset > image_.size || length > image_.size - offset) {
    phase_ = Phase::kOver;
    return bytes.size();
  }
  switch (static_cast<Command>(load_be<uint16_t>(bytes.data() + 6))) {
    case Command::kRead:
      answer_read(cookie, offset, std::min<uint32_t>(length, kLargestPayload));
      break;
    case Command::kWrite:
      write_ = {.cookie = cookie, .offset = offset, .left = length};
      break;
    case Command::kFlush:
      if (image_.fd >= 0 && fdatasync(image_.fd) != 0) {
        fatal("sync of the image: {}", std::strerror(errno));
      }
      answer_done(cookie);
      break;
    case Command::kBlockStatus:
      answer_status(cookie, offset, length);
      break;
    case Command::kDisconnect:
      phase_ = Phase::kOver;
      break;
  }
  return kRequestSize;
}

// Writes each piece of a payload directly from the receive buffer.
std::size_t Session::take_payload(std::span<const std::byte> bytes) {
  std::size_t size = std::min<uint64_t>(bytes.size(), write_.left);
  if (image_.fd >= 0 &&
      pwrite(image_.fd, bytes.data(), size, static_cast<off_t>(write_.offset)) != static_cast<ssize_t>(size)) {
    fatal("write of the image: {}", std::strerror(errno));
  }
  write_.offset += size;
  write_.left -= size;
  if (write_.left == 0) {
    answer_done(write_.cookie);
  }
  return size;
}

void Session::answer_read(uint64_t cookie, uint64_t offset, uint32_t length) {
  std::array<std::byte, kStructuredReplySize + sizeof(uint64_t)> header{};
  std::byte* at = header.data();
  if (structured_) {
    at = store_be(at, kStructuredReplyMagic);
    at = store_be(at, kChunkDone);
    at = store_be(at, static_cast<uint16_t>(Chunk::kOffsetData));
    at = store_be(at, cookie);
    at = store_be(at, static_cast<uint32_t>(length + sizeof(uint64_t)));
    at = store_be(at, offset);
  } else {
    at = store_be(at, kSimpleReplyMagic);
    at = store_be(at, uint32_t{0});
    at = store_be(at, cookie);
  }
  batch_.put(std::span(header).first(static_cast<std::size_t>(at - header.data())));
  batch_.put_data(image_, offset, length);
}

void Session::answer_done(uint64_t cookie) {
  std::array<std::byte, kSimpleReplySize> header{};
  store_be(store_be(store_be(header.data(), kSimpleReplyMagic), uint32_t{0}), cookie);
  batch_.put(header);
}

void Session::answer_status(uint64_t cookie, uint64_t offset, uint64_t length) {
  auto first = std::ranges::upper_bound(image_.extents, offset, {}, &Extent::end);
  auto last = std::ranges::lower_bound(image_.extents, offset + length, {}, &Extent::end);
  auto count = std::min(static_cast<std::size_t>(last - first) + 1, kMostDescriptors);
  constexpr std::size_t kDescriptorSize = 8;
  std::size_t payload = sizeof kContextId + count * kDescriptorSize;
  scratch_.resize(kStructuredReplySize + payload);
  std::byte* at = store_be(scratch_.data(), kStructuredReplyMagic);
  at = store_be(at, kChunkDone);
  at = store_be(at, static_cast<uint16_t>(Chunk::kBlockStatus));
  at = store_be(at, cookie);
  at = store_be(at, static_cast<uint32_t>(payload));
  at = store_be(at, kContextId);
  uint64_t start = offset;
  for (auto extent = first; count != 0; ++extent, --count) {
    uint64_t end = std::min(extent->end, offset + length);
    at = store_be(at, static_cast<uint32_t>(end - start));
    at = store_be(at, extent->hole ? kHoleAndZero : uint32_t{0});
    start = end;
  }
  batch_.put(scratch_);
}

}  // namespace blockexport::bench

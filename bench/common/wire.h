// Constants of the NBD protocol for the benchmark programs, and big-endian loads and stores.
//
// Source of the numbers: the NBD protocol specification (doc/proto.md of the NBD project). The benchmark has its own
// copy on purpose: it must not share code with the server that it measures. Thread: any. Constants and pure functions.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace blockexport::bench {

inline constexpr uint64_t kGreetingMagic = 0x4e42444d41474943;
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054;
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr uint32_t kRequestMagic = 0x25609513;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr uint32_t kStructuredReplyMagic = 0x668e33ef;
inline constexpr uint32_t kExtendedRequestMagic = 0x21e41c71;
inline constexpr uint32_t kExtendedReplyMagic = 0x6e8a278c;

inline constexpr uint16_t kFixedNewstyle = 1;
inline constexpr uint16_t kNoZeroes = 2;

enum class Option : uint32_t {
  kExportName = 1,
  kAbort = 2,
  kList = 3,
  kStartTls = 5,
  kInfo = 6,
  kGo = 7,
  kStructuredReply = 8,
  kSetMetaContext = 10,
  kExtendedHeaders = 11,
};

enum class OptionReply : uint32_t {
  kAck = 1,
  kServer = 2,
  kInfo = 3,
  kMetaContext = 4,
  kUnsupported = 0x80000001,
};
inline constexpr uint32_t kOptionErrorBit = 0x80000000;
inline constexpr uint16_t kInfoExport = 0;

enum class Command : uint16_t { kRead = 0, kWrite = 1, kDisconnect = 2, kFlush = 3, kBlockStatus = 7 };
inline constexpr uint16_t kCommandFua = 1;

enum class Chunk : uint16_t {
  kNone = 0,
  kOffsetData = 1,
  kOffsetHole = 2,
  kBlockStatus = 5,
  kBlockStatusExtended = 6,
  kError = 0x8001,
  kErrorOffset = 0x8002,
};
inline constexpr uint16_t kChunkErrorBit = 0x8000;
inline constexpr uint16_t kChunkDone = 1;

inline constexpr uint16_t kTransmissionHasFlags = 1;
inline constexpr uint16_t kTransmissionSendFlush = 4;
inline constexpr uint16_t kTransmissionSendFua = 8;
inline constexpr uint16_t kTransmissionMultiConn = 256;

inline constexpr std::size_t kGreetingSize = 18;
inline constexpr std::size_t kOptionHeaderSize = 16;
inline constexpr std::size_t kOptionReplyHeaderSize = 20;
inline constexpr std::size_t kRequestSize = 28;
inline constexpr std::size_t kExtendedRequestSize = 32;
inline constexpr std::size_t kSimpleReplySize = 16;
inline constexpr std::size_t kStructuredReplySize = 20;
inline constexpr std::size_t kExtendedReplySize = 32;

// The largest read or write that a server must accept by default.
inline constexpr std::size_t kLargestPayload = std::size_t{32} << 20;

template <std::unsigned_integral T>
T load_be(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return std::byteswap(value);
}

// Writes `value` at `to` and returns the address after it.
template <std::unsigned_integral T>
std::byte* store_be(std::byte* to, T value) {
  value = std::byteswap(value);
  std::memcpy(to, &value, sizeof value);
  return to + sizeof value;
}

static_assert(std::endian::native == std::endian::little, "the benchmark programs run on little-endian machines");

}  // namespace blockexport::bench

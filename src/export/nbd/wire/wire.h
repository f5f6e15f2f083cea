// NBD constants: magics, options, flags, commands, reply types, errors and limits.
//
// Names follow the protocol text (doc/proto.md of the NBD project and its extended-headers extension). wire_codec.h
// reads and writes messages with them. Thread: any. Constants only; never allocates.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/errno.h"

namespace blockexport::nbd {

inline constexpr std::uint64_t kNbdMagic = 0x4e42444d41474943;     // "NBDMAGIC"
inline constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr std::uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr std::uint32_t kRequestMagic = 0x25609513;
inline constexpr std::uint32_t kExtendedRequestMagic = 0x21e41c71;
inline constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr std::uint32_t kStructuredReplyMagic = 0x668e33ef;
inline constexpr std::uint32_t kExtendedReplyMagic = 0x6e8a278c;

// Maximum length of a name, description, context, query or error text: 4096 bytes (proto.md, "Conventions").
inline constexpr std::size_t kStringBytesMax = 4096;
// Maximum payload of a WRITE, and maximum length of a READ or CACHE: 32 MiB, which every client may rely on.
inline constexpr std::uint32_t kPayloadBytesMax = 32u << 20;
// Maximum number of extents in one block status chunk; a longer reply is truncated, which the protocol allows.
inline constexpr std::size_t kExtentsMax = 131072;
// Zero bytes after the reply to EXPORT_NAME, unless the client has set NO_ZEROES.
inline constexpr std::size_t kExportNameZeroBytes = 124;

inline constexpr std::size_t kGreetingBytes = 18;
inline constexpr std::size_t kClientFlagsBytes = 4;
inline constexpr std::size_t kOptionHeaderBytes = 16;
inline constexpr std::size_t kOptionReplyHeaderBytes = 20;
inline constexpr std::size_t kCompactRequestBytes = 28;
inline constexpr std::size_t kExtendedRequestBytes = 32;
inline constexpr std::size_t kSimpleReplyBytes = 16;
inline constexpr std::size_t kStructuredHeaderBytes = 20;
inline constexpr std::size_t kExtendedHeaderBytes = 32;

// Negotiated format of requests and replies.
enum class HeaderMode : std::uint8_t {
  kSimple = 0,      // compact requests, simple replies
  kStructured = 1,  // compact requests, structured replies where the protocol requires them
  kExtended = 2,    // extended requests and replies only
};

// The server's handshake flags and the client's reply share these bits.
namespace handshake_flag {
inline constexpr std::uint16_t kFixedNewstyle = 1u << 0;
inline constexpr std::uint16_t kNoZeroes = 1u << 1;
}  // namespace handshake_flag

enum class Option : std::uint32_t {
  kExportName = 1,
  kAbort = 2,
  kList = 3,
  kStartTls = 5,
  kInfo = 6,
  kGo = 7,
  kStructuredReply = 8,
  kListMetaContext = 9,
  kSetMetaContext = 10,
  kExtendedHeaders = 11,
};

enum class OptionReply : std::uint32_t {
  kAck = 1,
  kServer = 2,
  kInfo = 3,
  kMetaContext = 4,
  kErrorUnsupported = 0x80000001,
  kErrorPolicy = 0x80000002,
  kErrorInvalid = 0x80000003,
  kErrorPlatform = 0x80000004,
  kErrorTlsRequired = 0x80000005,
  kErrorUnknown = 0x80000006,
  kErrorShutdown = 0x80000007,
  kErrorBlockSizeRequired = 0x80000008,
  kErrorTooBig = 0x80000009,
  kErrorExtendedHeaderRequired = 0x8000000a,
};

enum class InfoType : std::uint16_t {
  kExport = 0,
  kName = 1,
  kDescription = 2,
  kBlockSize = 3,
};

// The capabilities of an export, as sent to the client.
namespace transmission_flag {
inline constexpr std::uint16_t kHasFlags = 1u << 0;
inline constexpr std::uint16_t kReadOnly = 1u << 1;
inline constexpr std::uint16_t kSendFlush = 1u << 2;
inline constexpr std::uint16_t kSendFua = 1u << 3;
inline constexpr std::uint16_t kRotational = 1u << 4;
inline constexpr std::uint16_t kSendTrim = 1u << 5;
inline constexpr std::uint16_t kSendWriteZeroes = 1u << 6;
inline constexpr std::uint16_t kSendDontFragment = 1u << 7;
inline constexpr std::uint16_t kCanMultiConn = 1u << 8;
inline constexpr std::uint16_t kSendCache = 1u << 10;
inline constexpr std::uint16_t kSendFastZero = 1u << 11;
inline constexpr std::uint16_t kBlockStatusPayload = 1u << 12;
// Every bit named above.
inline constexpr std::uint16_t kAll = 0x1dff;
}  // namespace transmission_flag

enum class Command : std::uint16_t {
  kRead = 0,
  kWrite = 1,
  kDisconnect = 2,
  kFlush = 3,
  kTrim = 4,
  kCache = 5,
  kWriteZeroes = 6,
  kBlockStatus = 7,
};
inline constexpr std::uint16_t kCommandCount = 8;

namespace command_flag {
inline constexpr std::uint16_t kFua = 1u << 0;
inline constexpr std::uint16_t kNoHole = 1u << 1;
inline constexpr std::uint16_t kDontFragment = 1u << 2;
inline constexpr std::uint16_t kOneExtent = 1u << 3;
inline constexpr std::uint16_t kFastZero = 1u << 4;
inline constexpr std::uint16_t kPayloadLength = 1u << 5;
}  // namespace command_flag

enum class ChunkType : std::uint16_t {
  kNone = 0,
  kOffsetData = 1,
  kOffsetHole = 2,
  kBlockStatus = 5,
  kBlockStatusExtended = 6,
  kError = 0x8001,
  kErrorOffset = 0x8002,
};

namespace chunk_flag {
inline constexpr std::uint16_t kDone = 1u << 0;
}  // namespace chunk_flag

// All error numbers that may be sent.
enum class NbdError : std::uint32_t {
  kNone = 0,
  kNotPermitted = 1,
  kIo = 5,
  kNoMemory = 12,
  kInvalid = 22,
  kNoSpace = 28,
  kOverflow = 75,
  kNotSupported = 95,
  kShutdown = 108,
};

// The bits of base:allocation.
namespace allocation_flag {
inline constexpr std::uint32_t kHole = 1u << 0;
inline constexpr std::uint32_t kZero = 1u << 1;
}  // namespace allocation_flag

// The bit of qemu:dirty-bitmap:NAME.
namespace dirty_flag {
inline constexpr std::uint32_t kDirty = 1u << 0;
}  // namespace dirty_flag

// Maps a POSIX error number to the protocol's; errors without one become kInvalid.
NbdError nbd_error(Errno error);

// Bytes of a request header.
constexpr std::size_t request_header_bytes(HeaderMode mode) {
  return mode == HeaderMode::kExtended ? kExtendedRequestBytes : kCompactRequestBytes;
}

// Size of the header of a reply chunk; in simple mode, of the simple reply, which has no chunks.
constexpr std::size_t reply_header_bytes(HeaderMode mode) {
  if (mode == HeaderMode::kSimple) return kSimpleReplyBytes;
  return mode == HeaderMode::kStructured ? kStructuredHeaderBytes : kExtendedHeaderBytes;
}

}  // namespace blockexport::nbd

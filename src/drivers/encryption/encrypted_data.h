// EncryptedData: reads and writes sectors that another node holds in encrypted form.
//
// Owned by the driver of an encrypted image. It decrypts in the caller's memory where each buffer has whole sectors,
// and encrypts through memory of its own, which it bounds. Ranges and their place are multiples of a sector.
// Thread: any reactor, many at once. Long requests let other tasks run in between.
#pragma once

#include <cstdint>
#include <memory>

#include "aio/task/task.h"
#include "block/io.h"
#include "block/node.h"
#include "crypto/sector_cipher.h"
#include "drivers/work_slots/work_slots.h"

namespace blockexport::drivers {

class EncryptedData {
 public:
  // Data that is encrypted or decrypted in one turn of the event loop.
  static constexpr std::uint64_t kPieceBytes = 256u << 10;
  // Memory of a request that is written.
  static constexpr std::uint64_t kBounceBytes = 1u << 20;
  // Requests of an image that have such memory at the same time; others wait.
  static constexpr std::uint64_t kBouncesAtOnceMax = 64;
  // A longer write is written by the blocking verb.
  static constexpr std::uint64_t kInlineWriteBytesMax = 64u << 10;

  // `cipher`: null for an image whose key is not known: reads and writes fail with EACCES.
  explicit EncryptedData(std::unique_ptr<crypto::SectorCipher> cipher)
      : cipher_(std::move(cipher)), slots_(kBouncesAtOnceMax) {}

  // The bytes of `place` in `node`, whose first sector has the number `sector`.
  aio::Task<IoResult> read(block::Node& node, block::Range place, std::uint64_t sector, block::IoBuffers buffers);
  aio::Task<IoResult> write(block::Node& node, block::Range place, std::uint64_t sector, block::IoBuffers buffers,
                            block::WriteOptions options);
  // Writes encrypted zeros.
  aio::Task<IoResult> write_zeroes(block::Node& node, block::Range place, std::uint64_t sector,
                                   block::WriteOptions options);

  // Inline verbs, as those of the node.
  IoResult try_read(block::Node& node, aio::Reactor& reactor, block::Range place, std::uint64_t sector,
                    block::IoBuffers buffers, block::InlineHints& hints);
  IoResult try_write(block::Node& node, aio::Reactor& reactor, block::Range place, std::uint64_t sector,
                     block::IoBuffers buffers, block::InlineHints& hints);

 private:
  IoResult decrypt(std::uint64_t sector, block::IoBuffers buffers);
  aio::Task<IoResult> read_in_place(block::Node& node, block::Range place, std::uint64_t sector,
                                    block::IoBuffers buffers);
  aio::Task<IoResult> read_bounced(block::Node& node, block::Range place, std::uint64_t sector,
                                   block::IoBuffers buffers);
  aio::Task<IoResult> encrypt(std::uint64_t sector, std::span<std::byte> bytes);

  std::unique_ptr<crypto::SectorCipher> cipher_;
  WorkSlots slots_;
};

}  // namespace blockexport::drivers

// GuestData: reads and writes host clusters with guest data, which may be encrypted.
//
// Plain value: the edge to the node that has the data, and the encryption of the image, null without one. Both outlive
// it. `guest_offset` is that of the first byte on the disk: some images are encrypted by it, others by the place in the
// file. Thread: any reactor.
#pragma once

#include <cstdint>

#include "block/edge.h"
#include "block/node.h"
#include "drivers/qcow2/file/image_encryption.h"

namespace blockexport::drivers::qcow2 {

class GuestData {
 public:
  GuestData(block::Edge& edge, ImageEncryption* encryption) : edge_(edge), encryption_(encryption) {}

  block::Node& node() const { return edge_.node(); }
  bool is_encrypted() const { return encryption_ != nullptr; }

  // Bytes past the end of the node read as zeros.
  aio::Task<IoResult> read(block::Range host, std::uint64_t guest_offset, block::IoBuffers buffers) const;
  // It may grow the node.
  aio::Task<IoResult> write(block::Range host, std::uint64_t guest_offset, block::IoBuffers buffers) const;
  aio::Task<IoResult> write_zeroes(block::Range host, std::uint64_t guest_offset) const;
  IoResult try_read(aio::Reactor& reactor, block::Range host, std::uint64_t guest_offset, block::IoBuffers buffers,
                    block::InlineHints& hints) const;
  IoResult try_write(aio::Reactor& reactor, block::Range host, std::uint64_t guest_offset, block::IoBuffers buffers,
                     block::InlineHints& hints) const;

 private:
  std::uint64_t sector_of(block::Range host, std::uint64_t guest_offset) const {
    return (encryption_->by_guest_offset ? guest_offset : host.offset) / crypto::kSectorBytes;
  }

  block::Edge& edge_;
  ImageEncryption* encryption_;
};

}  // namespace blockexport::drivers::qcow2

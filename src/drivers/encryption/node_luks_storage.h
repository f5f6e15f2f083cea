// NodeLuksStorage: the LUKS header of an image, in a node at a certain offset, for crypto/luks_volume.h.
//
// Bytes past the end of the node read as zeros. It lives in the frame of the task that uses it.
// Thread: the reactor of the calling task, inside the gate of an edge above or before the node has one.
#pragma once

#include <cstdint>

#include "block/node.h"
#include "crypto/luks_volume.h"

namespace blockexport::drivers {

class NodeLuksStorage final : public crypto::LuksStorage {
 public:
  // `area_bytes`: accesses that end behind so many bytes fail with EINVAL; UINT64_MAX: the area has no end.
  NodeLuksStorage(block::Node& node, std::uint64_t offset, std::uint64_t area_bytes = UINT64_MAX)
      : node_(node), offset_(offset), area_bytes_(area_bytes) {}

  aio::Task<IoResult> read(std::uint64_t offset, std::span<std::byte> bytes) override;
  aio::Task<IoResult> write(std::uint64_t offset, std::span<const std::byte> bytes) override;
  aio::Task<IoResult> flush() override;

 private:
  bool is_outside(std::uint64_t offset, std::uint64_t length) const {
    return length > area_bytes_ || offset > area_bytes_ - length;
  }

  block::Node& node_;
  std::uint64_t offset_;
  std::uint64_t area_bytes_;
};

}  // namespace blockexport::drivers

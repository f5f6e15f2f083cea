// ImageCopy: copies a disk to a node: data where there are data, and as few zeroes as the target
// needs.
//
// Thread: the main thread, with both nodes held by root edges.
#pragma once

#include "block/buffers.h"
#include "block/node.h"
#include "client/image/image_work.h"
#include "client/image/source_disk.h"

namespace blockexport::image {

// Content of the target's parts before they are written.
enum class TargetContent : std::uint8_t { kUnknown, kZero, kBacking };

struct ImageCopyOptions {
  TargetContent target_content = TargetContent::kUnknown;
  bool is_compressed = false;
  std::uint64_t hole_bytes = 4096;  // zeroes, at the least, that become a hole; 0: all bytes are written as data
};

class ImageCopy final : public ImageWork {
 public:
  // The target is as large as the source.
  ImageCopy(const SourceDisk& source, block::Node& target, ImageCopyOptions options, Percentage& percentage);

  // Bytes that were written to the target as data.
  std::uint64_t written_bytes() const { return written_bytes_; }

 private:
  // The way of a part of the source to the target: the target shows it already, or gets zeroes or data.
  enum class Part { kShown, kZero, kData };

  aio::Task<Result<>> work_on(block::Range piece, std::span<std::byte> memory) override;
  aio::Task<Result<std::uint64_t>> zero_bytes_of_target(std::uint64_t offset, std::uint64_t length);
  // `shown`: what the target shows there; empty: not known.
  Part part_of(std::span<const std::byte> bytes, std::span<const std::byte> shown) const;
  aio::Task<Result<>> copy_data(block::Range range, std::span<std::byte> memory);
  // Writes the parts that the target does not show already.
  aio::Task<Result<>> write_parts(block::Range range, std::span<std::byte> bytes, std::span<const std::byte> shown);
  aio::Task<Result<>> write(block::Range range, std::span<std::byte> bytes);
  aio::Task<Result<>> write_zeroes(block::Range range);
  // Bytes that are written together, or not at all.
  std::uint64_t unit_bytes() const;

  const SourceDisk& source_;
  block::Node& target_;
  ImageCopyOptions options_;
  std::uint64_t written_bytes_ = 0;
};

}  // namespace blockexport::image

#include "client/image/image_copy.h"

#include <fmt/format.h>

#include <algorithm>

namespace blockexport::image {
namespace {

// A multiple of every cluster size, so that a compressed cluster is written by one task, at once.
constexpr std::uint64_t kPieceBytes = 2u << 20;
constexpr std::uint64_t kAskedBytesMax = 1u << 30;

}  // namespace

ImageCopy::ImageCopy(const SourceDisk& source, block::Node& target, ImageCopyOptions options, Percentage& percentage)
    : ImageWork(source.size_bytes(), kPieceBytes,
                options.target_content == TargetContent::kBacking ? 2 * kPieceBytes : kPieceBytes, percentage),
      source_(source),
      target_(target),
      options_(options) {}

std::uint64_t ImageCopy::unit_bytes() const {
  if (options_.hole_bytes == 0) return 0;
  const std::uint64_t cluster_bytes = std::max<std::uint64_t>(target_.limits().discard_alignment, 512);
  // A compressed cluster is stored as a whole; a part of a cluster that differs from the backing file takes a cluster.
  if (options_.is_compressed || options_.target_content == TargetContent::kBacking) return cluster_bytes;
  return options_.hole_bytes;
}

// Bytes at `offset`, at most `length`, that the target shows as they are in the source without a write: zeroes.
aio::Task<Result<std::uint64_t>> ImageCopy::zero_bytes_of_target(std::uint64_t offset, std::uint64_t length) {
  if (options_.target_content == TargetContent::kZero) co_return length;
  block::Extents found;
  const IoResult asked = co_await target_.extents({offset, length}, found);
  if (!asked) co_return fail(Error::system("Failed to read image metadata", asked.error()));
  co_return found.front().zero ? std::min(length, found.front().length) : 0;
}

aio::Task<Result<>> ImageCopy::work_on(block::Range piece, std::span<std::byte> memory) {
  if (options_.hole_bytes == 0) co_return co_await copy_data(piece, memory);
  const std::uint64_t end = piece.offset + piece.length;
  // Parts of a cluster are not written alone.
  const bool takes_whole_pieces = options_.is_compressed || options_.target_content == TargetContent::kBacking;
  for (std::uint64_t offset = piece.offset; offset < end;) {
    const std::uint64_t asked_bytes = std::min(kAskedBytesMax, pieces().end() - offset);
    CO_TRY_ASSIGN(const block::Extent extent, co_await source_.extent_at(offset, asked_bytes));
    std::uint64_t zero_bytes = 0;
    if (extent.zero) {
      CO_TRY_ASSIGN(zero_bytes, co_await zero_bytes_of_target(offset, extent.length));
    }
    if (zero_bytes > 0 && (!takes_whole_pieces || offset + zero_bytes >= end)) {
      offset += zero_bytes;
      pieces().skip_to(offset);
      continue;
    }
    const block::Range range{offset, takes_whole_pieces ? end - offset : std::min(extent.length, end - offset)};
    CO_TRY(co_await (extent.zero && !takes_whole_pieces ? write_zeroes(range) : copy_data(range, memory)));
    offset += range.length;
  }
  co_return Result<>();
}

aio::Task<Result<>> ImageCopy::copy_data(block::Range range, std::span<std::byte> memory) {
  const std::span<std::byte> bytes = memory.first(range.length);
  CO_TRY(co_await source_.read(range, bytes));
  std::span<std::byte> shown;
  if (options_.target_content == TargetContent::kBacking) {
    shown = memory.subspan(kPieceBytes, range.length);
    CO_TRY(co_await read_node(target_, range, shown));
  }
  co_return co_await write_parts(range, bytes, shown);
}

ImageCopy::Part ImageCopy::part_of(std::span<const std::byte> bytes, std::span<const std::byte> shown) const {
  if (!shown.empty() && std::ranges::equal(bytes, shown)) return Part::kShown;
  const iovec vector{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
  if (!block::is_zero({&vector, 1})) return Part::kData;
  return options_.target_content == TargetContent::kZero ? Part::kShown : Part::kZero;
}

aio::Task<Result<>> ImageCopy::write_parts(block::Range range, std::span<std::byte> bytes,
                                           std::span<const std::byte> shown) {
  const std::uint64_t unit = unit_bytes();
  if (unit == 0) co_return co_await write(range, bytes);
  const auto length_at = [&](std::uint64_t at) {
    return std::min(unit - (range.offset + at) % unit, range.length - at);
  };
  const auto part_at = [&](std::uint64_t at) {
    return part_of(bytes.subspan(at, length_at(at)), shown.empty() ? shown : shown.subspan(at, length_at(at)));
  };
  for (std::uint64_t at = 0; at < range.length;) {
    const Part part = part_at(at);
    std::uint64_t run = length_at(at);
    while (at + run < range.length && part_at(at + run) == part) run += length_at(at + run);
    const block::Range target{range.offset + at, run};
    if (part == Part::kData) {
      CO_TRY(co_await write(target, bytes.subspan(at, run)));
    } else if (part == Part::kZero) {
      CO_TRY(co_await write_zeroes(target));
    }
    at += run;
  }
  co_return Result<>();
}

aio::Task<Result<>> ImageCopy::write(block::Range range, std::span<std::byte> bytes) {
  const iovec vector{.iov_base = bytes.data(), .iov_len = bytes.size()};
  const IoResult done = co_await target_.write(range, {&vector, 1}, {.compressed = options_.is_compressed});
  if (!done) co_return fail(Error::system(fmt::format("error while writing at byte {}", range.offset), done.error()));
  written_bytes_ += range.length;
  co_return Result<>();
}

aio::Task<Result<>> ImageCopy::write_zeroes(block::Range range) {
  const IoResult done = co_await target_.write_zeroes(range, {.may_unmap = true});
  if (!done) co_return fail(Error::system(fmt::format("error while writing at byte {}", range.offset), done.error()));
  co_return Result<>();
}

}  // namespace blockexport::image

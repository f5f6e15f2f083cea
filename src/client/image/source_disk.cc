#include "client/image/source_disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace blockexport::image {
namespace {

constexpr std::uint64_t kSectorBytes = 512;

}  // namespace

aio::Task<Result<>> read_node(block::Node& node, block::Range range, std::span<std::byte> bytes) {
  const iovec vector{.iov_base = bytes.data(), .iov_len = bytes.size()};
  const IoResult done = co_await node.read(range, {&vector, 1});
  if (!done) co_return fail(Error::system(fmt::format("error while reading at byte {}", range.offset), done.error()));
  co_return Result<>();
}

SourceDisk::SourceDisk(std::vector<block::Node*> nodes) : nodes_(std::move(nodes)) {
  std::uint64_t end = 0;
  for (const block::Node* node : nodes_) {
    end += node->size_bytes();
    if (nodes_.size() > 1 && end % kSectorBytes != 0) end += kSectorBytes - end % kSectorBytes;
    ends_.push_back(end);
  }
}

std::size_t SourceDisk::node_at(std::uint64_t offset) const {
  return static_cast<std::size_t>(std::ranges::upper_bound(ends_, offset) - ends_.begin());
}

aio::Task<Result<block::Extent>> SourceDisk::extent_at(std::uint64_t offset, std::uint64_t length) const {
  const std::size_t number = node_at(offset);
  block::Node& node = *nodes_[number];
  const std::uint64_t at = offset - begin_of(number);
  const std::uint64_t left = std::min(length, ends_[number] - offset);
  if (at >= node.size_bytes()) co_return block::Extent{.length = left, .data = false, .zero = true};
  block::Extents found;
  const IoResult asked = co_await node.extents({at, std::min(left, node.size_bytes() - at)}, found);
  if (!asked) co_return fail(Error::system("Failed to read image metadata", asked.error()));
  co_return found.front();
}

aio::Task<Result<>> SourceDisk::read(block::Range range, std::span<std::byte> bytes) const {
  for (std::uint64_t done = 0; done < range.length;) {
    const std::uint64_t offset = range.offset + done;
    const std::size_t number = node_at(offset);
    block::Node& node = *nodes_[number];
    const std::uint64_t at = offset - begin_of(number);
    const std::uint64_t length = std::min(range.length - done, ends_[number] - offset);
    const std::uint64_t inside = at >= node.size_bytes() ? 0 : std::min(length, node.size_bytes() - at);
    const std::span<std::byte> part = bytes.subspan(done, length);
    if (inside > 0) CO_TRY(co_await read_node(node, {at, inside}, part.first(inside)));
    std::memset(part.data() + inside, 0, length - inside);
    done += length;
  }
  co_return Result<>();
}

}  // namespace blockexport::image

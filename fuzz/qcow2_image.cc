// Fuzzes opening and reading of a qcow2 image and its bitmaps in the simulation: whatever the file contains, it may
// fail, but reads of what opened end, extents are well-formed, each reads as zeros where it says so, and bitmaps have
// no more dirty granules than their size.
//
// Input: the content of the image's file. It is opened with and without a backing node.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "aio/sync/scope.h"
#include "aio/testing/simulation.h"
#include "block/buffers.h"
#include "block/loaded_bitmaps.h"
#include "block/node.h"
#include "drivers/qcow2/qcow2_open.h"
#include "drivers/qcow2/testing/byte_driver.h"
#include "drivers/qcow2/testing/node_opener.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr block::NodeOptions kReadOnly{.read_only = true};
constexpr std::uint64_t kReadBytesMax = 4u << 20;
constexpr std::uint64_t kBitmapDiskBytesMax = 1u << 30;

void require(bool promise) {
  if (!promise) std::abort();
}

aio::Task<void> read_range(block::Node& node, block::Range range) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(range.length));
  const iovec vector{bytes.data(), bytes.size()};
  const block::IoBuffers buffers(&vector, 1);
  const IoResult read = co_await node.read(range, buffers);
  block::Extents extents;
  const IoResult found = co_await node.extents(range, extents);
  require(!read || found);
  std::uint64_t offset = 0;
  for (const block::Extent& extent : extents) {
    require(extent.length > 0 && extent.length <= range.length - offset);
    const auto part =
        std::span(bytes).subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(extent.length));
    require(!read || !extent.zero || std::ranges::all_of(part, [](std::byte one) { return one == std::byte{}; }));
    offset += extent.length;
  }
  (void)co_await node.prefetch(range);
}

aio::Task<void> load_bitmaps(block::Node& node) {
  // More bits than these would only cost time.
  if (node.size_bytes() > kBitmapDiskBytesMax || !co_await block::load_image_bitmaps(node)) co_return;
  for (const auto& bitmap : node.bitmaps().list().all()) {
    const block::DirtyBits& bits = std::as_const(*bitmap).bits();
    require(bits.size_bytes() == node.size_bytes());
    require(bits.dirty_bytes() < bits.size_bytes() + bits.granularity_bytes());
  }
}

aio::Task<void> use(std::span<const std::byte> content, bool with_backing) {
  block::Node file("file", std::make_unique<ByteDriver>(content), kReadOnly);
  const std::vector<std::byte> below(300'000, std::byte{0x42});
  block::Node backing("backing", std::make_unique<ByteDriver>(below), kReadOnly);
  NodeOpener opener({&file, &backing});
  schema::BlockdevOptionsQcow2 options;
  options.file = {"file"};
  options.backing = with_backing ? schema::BlockdevRefOrNull{"backing"} : schema::BlockdevRefOrNull{json::Null{}};
  auto opened = co_await open_qcow2(options, kReadOnly, opener, {nullptr, nullptr});
  if (!opened || (*opened)->size_bytes() > block::kNodeBytesMax) co_return;
  block::Node node("image", std::move(*opened), kReadOnly);
  const std::uint64_t size = node.size_bytes();
  co_await load_bitmaps(node);
  if (size == 0) co_return;
  co_await read_range(node, {0, std::min(size, kReadBytesMax)});
  co_await read_range(node, {size - std::min<std::uint64_t>(size, 70'000), std::min<std::uint64_t>(size, 70'000)});
}

void fuzz(std::span<const std::byte> content, bool with_backing) {
  aio::Simulation simulation;
  const auto reactor = simulation.make_reactor();
  aio::Scope scope(*reactor);
  scope.spawn("use", use(content, with_backing));
  while (scope.size() > 0) reactor->run_once(UINT64_MAX);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  blockexport::drivers::qcow2::fuzz(bytes, false);
  blockexport::drivers::qcow2::fuzz(bytes, true);
  return 0;
}

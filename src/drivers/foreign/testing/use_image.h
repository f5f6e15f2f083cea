// use_image(): opens bytes as an image of a foreign format, reads its disk and asks for its extents, and checks that
// both agree: for tests and fuzz targets of hostile images.
//
// Without GoogleTest. The reactor of the task.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "aio/task/current.h"
#include "block/buffers.h"
#include "block/node.h"
#include "drivers/foreign/foreign_open.h"
#include "drivers/qcow2/testing/byte_driver.h"
#include "drivers/qcow2/testing/node_opener.h"

namespace blockexport::drivers::foreign {

enum class Format : std::uint8_t { kVdi, kVpc, kVmdk, kVhdx, kParallels };

inline constexpr block::NodeOptions kReadOnlyNode{.read_only = true};

// `options.file` must name a node of `children`.
inline aio::Task<OpenedMapped> open_format(Format format, block::ChildOpener& children) {
  schema::BlockdevOptionsGenericFormat plain;
  plain.file = {"file"};
  switch (format) {
    case Format::kVdi:
      co_return co_await open_vdi(plain, children);
    case Format::kVpc:
      co_return co_await open_vpc(plain, children);
    case Format::kVmdk: {
      schema::BlockdevOptionsGenericCOWFormat options;
      options.file = {"file"};
      co_return co_await open_vmdk(options, children);
    }
    case Format::kVhdx:
      co_return co_await open_vhdx(plain, children);
    case Format::kParallels:
      co_return co_await open_parallels(plain, children);
  }
  co_return fail("no such format");
}

struct UsedImage {
  std::string refusal = {};  // empty: it was opened
  std::string broken = {};   // a promise that the driver broke; empty: none
  std::uint64_t reads_failed = 0;
};

inline aio::Task<void> read_part(block::Node& node, block::Range range, UsedImage& used) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(range.length), std::byte{0x5c});
  const iovec vector{bytes.data(), bytes.size()};
  const block::IoBuffers buffers(&vector, 1);
  const IoResult read = co_await node.read(range, buffers);
  if (!read) ++used.reads_failed;
  block::Extents extents;
  const IoResult found = co_await node.extents(range, extents);
  if (read && !found) used.broken = "extents failed where a read did not";
  std::uint64_t offset = 0;
  for (const block::Extent& extent : extents) {
    if (extent.length == 0 || extent.length > range.length - offset) {
      used.broken = "an extent has a wrong length";
      co_return;
    }
    const auto part =
        std::span(bytes).subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(extent.length));
    const bool is_zero = std::ranges::all_of(part, [](std::byte one) { return one == std::byte{}; });
    if (read && extent.zero && !is_zero) used.broken = "an extent of zeros has data";
    offset += extent.length;
  }
  // The same once more, from memory as far as possible.
  std::vector<std::byte> again(bytes.size(), std::byte{0x5c});
  const iovec other{again.data(), again.size()};
  aio::Reactor& reactor = co_await aio::current_reactor();
  if (node.try_read(reactor, range, {&other, 1}) && (!read || again != bytes)) used.broken = "two reads differ";
  block::Extents quick;
  (void)node.try_extents(reactor, range, quick);
  (void)co_await node.prefetch(range);
  (void)co_await node.driver().locate(range);
}

inline aio::Task<UsedImage> use_image(Format format, std::span<const std::byte> content) {
  constexpr std::uint64_t kReadBytes = 70'000;
  block::Node file("file", std::make_unique<qcow2::ByteDriver>(content), kReadOnlyNode);
  qcow2::NodeOpener opener({&file});
  UsedImage used;
  auto opened = co_await open_format(format, opener);
  if (!opened) {
    used.refusal = opened.error().message();
    if (used.refusal.empty()) used.broken = "a refusal has no text";
    co_return used;
  }
  if ((*opened)->size_bytes() > block::kNodeBytesMax) co_return used;
  block::Node node("image", std::move(*opened), kReadOnlyNode);
  const std::uint64_t size = node.size_bytes();
  schema::ImageInfo info;
  node.driver().describe_image(info);
  if (size == 0) co_return used;
  // Around the ends of the blocks of the samples, and all of a small disk.
  for (std::uint64_t part = 0; part <= 3; ++part) {
    const std::uint64_t middle = size / 3 * part;
    const std::uint64_t begin = std::min(middle - std::min(middle, kReadBytes / 2), size - std::min(size, kReadBytes));
    co_await read_part(node, {begin, std::min(size, kReadBytes)}, used);
  }
  co_await read_part(node, {size / 2, 1}, used);
  co_return used;
}

}  // namespace blockexport::drivers::foreign

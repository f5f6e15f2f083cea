// NodeModel: random verbs on a slice of a node, each compared with the expected bytes, by seed.
//
// For property tests. Several models share a node, each with a slice of its own that does not begin or end at a block
// boundary, and run at once: if a neighbour's read-modify-write loses bytes, a read here differs.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "aio/task/current.h"
#include "block/buffers.h"
#include "block/node.h"

namespace blockexport::block {

class NodeModel {
 public:
  // The slice reads as zeros now.
  NodeModel(Node& node, Range slice, std::uint64_t seed)
      : node_(node), slice_(slice), random_(seed), expected_(slice.length) {}

  aio::Task<void> run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFailure(); step++) co_await run_step();
    co_await check(slice_);
  }

 private:
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  Range some_range() {
    std::uint64_t offset = below(slice_.length);
    // Often a short range, sometimes up to the end.
    std::uint64_t longest = below(4) == 0 ? slice_.length : 700;
    std::uint64_t length = 1 + below(std::min(slice_.length - offset, longest));
    return {slice_.offset + offset, length};
  }

  aio::Task<void> run_step() {
    Range range = some_range();
    switch (below(8)) {
      case 0:
        co_await zero(range);
        break;
      case 1: {
        IoResult result = co_await node_.flush();
        EXPECT_TRUE(result.has_value());
        break;
      }
      case 2:
      case 3:
        co_await check(range);
        co_await check_extents(range);
        break;
      default:
        co_await write(range);
    }
  }

  aio::Task<void> write(Range range) {
    std::vector<std::byte> bytes(range.length);
    // Includes runs of zeros, for detect-zeroes.
    bool zeros = below(6) == 0;
    for (std::byte& byte : bytes) byte = zeros ? std::byte{0} : static_cast<std::byte>(random_());
    std::copy(bytes.begin(), bytes.end(), at(range));
    std::vector<iovec> vectors = pieces(bytes);
    IoResult result = node_.try_write(co_await aio::current_reactor(), range, vectors);
    if (!result) result = co_await node_.write(range, vectors, {.force_unit_access = below(4) == 0});
    EXPECT_TRUE(result.has_value()) << "write " << range.offset << "+" << range.length;
  }

  aio::Task<void> zero(Range range) {
    ZeroOptions options{.may_unmap = below(2) == 0, .no_fallback = below(4) == 0};
    IoResult result = co_await node_.write_zeroes(range, options);
    if (!result && options.no_fallback) {
      // The verb was refused: nothing may have changed.
      EXPECT_EQ(result.error(), Errno(ENOTSUP));
      co_return;
    }
    EXPECT_TRUE(result.has_value()) << "zero " << range.offset << "+" << range.length;
    std::fill_n(at(range), range.length, std::byte{0});
  }

  aio::Task<void> check(Range range) {
    std::vector<std::byte> bytes(range.length, std::byte{0x5a});
    std::vector<iovec> vectors = pieces(bytes);
    IoResult result = node_.try_read(co_await aio::current_reactor(), range, vectors);
    if (!result) result = co_await node_.read(range, vectors);
    EXPECT_TRUE(result.has_value()) << "read " << range.offset << "+" << range.length;
    auto difference = std::mismatch(bytes.begin(), bytes.end(), at(range));
    EXPECT_EQ(difference.first, bytes.end())
        << "read " << range.offset << "+" << range.length << " differs at " << difference.first - bytes.begin();
  }

  // Extents of zeros must be right; data may be zeros.
  aio::Task<void> check_extents(Range range) {
    while (!range.empty() && !testing::Test::HasFailure()) {
      Extents extents;
      IoResult result = node_.try_extents(co_await aio::current_reactor(), range, extents);
      if (!result) result = co_await node_.extents(range, extents);
      EXPECT_TRUE(result.has_value());
      EXPECT_FALSE(extents.empty());
      for (const Extent& extent : extents) {
        EXPECT_LE(extent.length, range.length);
        auto start = at(range);
        auto end = start + static_cast<std::ptrdiff_t>(extent.length);
        bool zeros = std::all_of(start, end, [](std::byte byte) { return byte == std::byte{0}; });
        EXPECT_TRUE(zeros || !extent.zero) << "extent " << range.offset << "+" << extent.length;
        range = {range.offset + extent.length, range.length - extent.length};
      }
    }
  }

  std::vector<std::byte>::iterator at(Range range) {
    return expected_.begin() + static_cast<std::ptrdiff_t>(range.offset - slice_.offset);
  }

  // Divides `bytes` into one to four vectors at random offsets.
  std::vector<iovec> pieces(std::vector<std::byte>& bytes) {
    std::vector<iovec> vectors;
    std::byte* start = bytes.data();
    std::size_t rest = bytes.size();
    for (int cuts = static_cast<int>(below(4)); cuts > 0 && rest > 1; cuts--) {
      std::size_t length = 1 + below(rest - 1);
      vectors.push_back(iovec{start, length});
      start += length;
      rest -= length;
    }
    vectors.push_back(iovec{start, rest});
    return vectors;
  }

  Node& node_;
  Range slice_;
  std::mt19937_64 random_;
  std::vector<std::byte> expected_;
};

}  // namespace blockexport::block

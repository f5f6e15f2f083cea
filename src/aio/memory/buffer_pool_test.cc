#include "aio/memory/buffer_pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "aio/testing/resident.h"

namespace blockexport::aio {
namespace {

TEST(BufferPoolTest, BuffersAreAlignedAndLargeEnough) {
  BufferPool pool;
  for (std::size_t bytes : {1u, 4096u, 4097u, 65536u, 1048576u, 1048577u, 33554432u, 50000000u}) {
    Buffer buffer = pool.take(bytes);
    EXPECT_GE(buffer.size(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % BufferPool::kAlignmentBytes, 0u);
    std::memset(buffer.data(), 0xff, buffer.size());
  }
}

TEST(BufferPoolTest, APowerOfTwoAndAHeadTakeNoDouble) {
  BufferPool pool;
  EXPECT_LT(pool.take((1u << 20) + 100).size(), (1u << 20) + 8192u);
}

TEST(BufferPoolTest, AReturnedBufferIsUsedAgain) {
  BufferPool pool;
  std::byte* first;
  {
    Buffer buffer = pool.take(100'000);
    first = buffer.data();
  }
  EXPECT_EQ(pool.take(90'000).data(), first);
}

TEST(BufferPoolTest, AMovedBufferIsReturnedOnce) {
  BufferPool pool;
  Buffer buffer = pool.take(4096);
  std::byte* data = buffer.data();
  Buffer moved = std::move(buffer);
  EXPECT_EQ(moved.data(), data);
  moved = Buffer();
  Buffer one = pool.take(4096);
  Buffer other = pool.take(4096);
  EXPECT_NE(one.data(), other.data());
}

// Small long-lived allocations lie between the buffers, and keep the allocator from returning free memory to the
// system. Buffers of another size do not fit into the gaps.
TEST(BufferPoolTest, WhatWasTakenInOneSizeIsNotHeldBesideWhatIsTakenInTheNext) {
  if (testing::kAllocatorKeepsAll) GTEST_SKIP() << "this allocator keeps what is freed";
  constexpr std::size_t kIdleBytes = 8u << 20;
  constexpr std::size_t kHeldBytes = 96u << 20;
  testing::use_heap_up_to_2_mib();
  BufferPool pool(kIdleBytes);
  std::vector<std::unique_ptr<char[]>> others;
  const std::size_t before = testing::resident_bytes();
  for (std::size_t bytes : {200'000u, 400'000u, 800'000u, 3'000'000u}) {
    std::vector<Buffer> held;
    for (std::size_t total = 0; total < kHeldBytes; total += held.back().size()) {
      held.push_back(pool.take(bytes));
      std::memset(held.back().data(), 0xff, held.back().size());
      others.push_back(std::make_unique<char[]>(2000));
    }
    EXPECT_LE(testing::resident_bytes() - before, (kHeldBytes + kIdleBytes) * 5 / 4) << bytes;
    held.clear();
    EXPECT_LE(testing::resident_bytes() - before, 3 * kIdleBytes) << bytes;
  }
}

TEST(BufferPoolTest, IdleMemoryIsBounded) {
  BufferPool pool(1u << 20);
  {
    Buffer buffers[4];
    for (Buffer& buffer : buffers) buffer = pool.take(500'000);
  }
  EXPECT_LE(pool.idle_bytes(), 1u << 20);
  EXPECT_GT(pool.idle_bytes(), 0u);
  pool.trim();
  EXPECT_EQ(pool.idle_bytes(), 0u);
}

}  // namespace
}  // namespace blockexport::aio

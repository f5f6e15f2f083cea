#include "block/buffers.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "aio/testing/resident.h"

namespace blockexport::block {
namespace {

TEST(AlignedMemoryTest, IsAlignedAndHasTheRequestedSize) {
  for (std::size_t alignment : {512u, 4096u, 65536u}) {
    for (std::size_t bytes : {1u, 512u, 100'000u, 200'000u, 1u << 20}) {
      AlignedMemory memory(bytes, alignment);
      ASSERT_TRUE(memory);
      EXPECT_EQ(memory.bytes().size(), bytes);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.bytes().data()) % alignment, 0u);
      std::memset(memory.bytes().data(), 0xff, bytes);
    }
  }
}

// As for buffers of a pool: see aio/memory/buffer_pool_test.cc.
TEST(AlignedMemoryTest, FreedMemoryReturnsToTheSystemWhileOtherBlocksAreInUse) {
  if (aio::testing::kAllocatorKeepsAll) GTEST_SKIP() << "this allocator keeps freed memory";
  constexpr std::size_t kHeldBytes = 64u << 20;
  aio::testing::use_heap_up_to_2_mib();
  std::vector<std::unique_ptr<char[]>> others;
  const std::size_t before = aio::testing::resident_bytes();
  for (std::size_t bytes : {130'000u + 2048u, 400'000u, 1'000'000u}) {
    std::vector<AlignedMemory> held;
    for (std::size_t total = 0; total < kHeldBytes; total += bytes) {
      held.emplace_back(bytes, 512);
      std::memset(held.back().bytes().data(), 0xff, bytes);
      others.push_back(std::make_unique<char[]>(2000));
    }
    held.clear();
    EXPECT_LE(aio::testing::resident_bytes() - before, kHeldBytes / 4) << bytes;
  }
}

}  // namespace
}  // namespace blockexport::block

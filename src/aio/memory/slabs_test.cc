#include "aio/memory/slabs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "aio/memory/buffer_pool.h"

namespace blockexport::aio {
namespace {

// A buffer filled with a unique byte, which shows whether buffers overlap.
struct Filled {
  std::byte* data;
  std::size_t size_class;
  std::byte content;
};

Filled fill(Slabs& slabs, std::size_t size_class, std::byte content) {
  Filled made{slabs.take(size_class), size_class, content};
  if (made.data != nullptr) std::memset(made.data, std::to_integer<int>(content), buffer_bytes(size_class));
  return made;
}

bool is_intact(const Filled& filled) {
  return std::all_of(filled.data, filled.data + buffer_bytes(filled.size_class),
                     [&](std::byte byte) { return byte == filled.content; });
}

TEST(SlabsTest, BuffersAreAlignedAndNeverShared) {
  Slabs slabs;
  std::minstd_rand random(1);
  std::vector<Filled> held;
  for (int step = 0; step < 4000; ++step) {
    if (held.empty() || random() % 5 < 3) {
      held.push_back(fill(slabs, random() % Slabs::kSizeClasses, static_cast<std::byte>(random())));
      ASSERT_NE(held.back().data, nullptr);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(held.back().data) % kBufferAlignmentBytes, 0u);
    } else {
      std::swap(held[random() % held.size()], held.back());
      EXPECT_TRUE(is_intact(held.back()));
      EXPECT_TRUE(slabs.give_back(held.back().data, held.back().size_class));
      held.pop_back();
    }
    if (step % 500 == 0) slabs.trim();
  }
  for (const Filled& filled : held) EXPECT_TRUE(is_intact(filled));
}

TEST(SlabsTest, AllMemoryOfIdleBuffersGoesAndTheirPlacesAreUsedAgain) {
  Slabs slabs;
  std::vector<Filled> some;
  for (int i = 0; i < 3; ++i) some.push_back(fill(slabs, 0, std::byte{1}));
  slabs.give_back(some[0].data, 0);
  slabs.give_back(some[1].data, 0);
  EXPECT_EQ(slabs.idle_bytes(), 2 * buffer_bytes(0));
  slabs.trim();
  EXPECT_EQ(slabs.idle_bytes(), 0u);
  EXPECT_TRUE(is_intact(some[2]));

  std::byte* again = slabs.take(0);
  EXPECT_TRUE(again == some[0].data || again == some[1].data);
  EXPECT_EQ(*again, std::byte{0}) << "its memory was not given back";
  slabs.give_back(again, 0);
  EXPECT_EQ(slabs.idle_bytes(), buffer_bytes(0));
}

TEST(SlabsTest, ASlabThatNobodyUsesServesAnotherSizeAfterATrim) {
  Slabs slabs;
  for (int round = 0; round < 4; ++round) {
    for (std::size_t size_class = 0; size_class < Slabs::kSizeClasses; ++size_class) {
      // Uses all slabs for one size.
      std::vector<std::byte*> taken;
      while (std::byte* buffer = slabs.take(size_class)) taken.push_back(buffer);
      EXPECT_GE(taken.size() * buffer_bytes(size_class), Slabs::kSlabsMax * Slabs::kSlabBytes / 2);
      for (std::byte* buffer : taken) slabs.give_back(buffer, size_class);
      slabs.trim();
    }
  }
}

TEST(SlabsTest, TellsTheSlabOfAnAddress) {
  Slabs slabs;
  EXPECT_EQ(slabs.slab_of(&slabs, 1), std::nullopt) << "there are none yet";
  std::byte* buffer = slabs.take(0);
  EXPECT_EQ(slabs.slab_of(buffer, buffer_bytes(0)), 0u);
  std::byte* end = slabs.slab(0).data() + Slabs::kSlabBytes;
  EXPECT_EQ(slabs.slab_of(end - 1, 1), 0u);
  EXPECT_EQ(slabs.slab_of(end - 1, 2), std::nullopt);
  EXPECT_EQ(slabs.slab_of(end, 1), 1u);
  EXPECT_EQ(slabs.slab_of(slabs.slab(0).data() - 1, 1), std::nullopt);
  EXPECT_EQ(slabs.slab_of(slabs.slab(Slabs::kSlabsMax - 1).data() + Slabs::kSlabBytes, 1), std::nullopt);
}

TEST(SlabsTest, ABufferOfAnotherOriginIsNotTaken) {
  Slabs slabs;
  std::vector<std::byte> other(buffer_bytes(0));
  EXPECT_FALSE(slabs.give_back(other.data(), 0));
  slabs.take(0);
  EXPECT_FALSE(slabs.give_back(other.data(), 0));
  EXPECT_EQ(slabs.idle_bytes(), 0u);
}

TEST(SlabsTest, APoolHasBuffersWhenAllSlabsAreInUse) {
  BufferPool pool;
  std::vector<Buffer> held;
  const std::size_t bytes = 64u << 10;
  for (std::size_t i = 0; i < 2 * Slabs::kSlabsMax * Slabs::kSlabBytes / bytes; ++i) {
    held.push_back(pool.take(bytes));
    std::memset(held.back().data(), 1, held.back().size());
  }
  EXPECT_FALSE(pool.slabs().slab_of(held.back().data(), bytes));
  held.clear();
  EXPECT_GT(pool.idle_bytes(), 0u);
  pool.trim();
  EXPECT_EQ(pool.idle_bytes(), 0u);
}

}  // namespace
}  // namespace blockexport::aio

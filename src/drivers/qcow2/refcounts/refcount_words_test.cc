#include "drivers/qcow2/refcounts/refcount_words.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace blockexport::drivers::qcow2 {
namespace {

TEST(RefcountWordsTest, SetsOneAndLeavesTheOthers) {
  for (unsigned order = 0; order <= 6; ++order) {
    std::vector<std::byte> block(512);
    const std::size_t entries = block.size() * 8 >> order;
    std::vector<std::uint64_t> model(entries);
    std::mt19937_64 random(order);
    const std::uint64_t mask = order == 6 ? UINT64_MAX : (std::uint64_t{1} << (1u << order)) - 1;
    for (int i = 0; i < 2000; ++i) {
      const std::size_t index = random() % entries;
      model[index] = random() & mask;
      set_refcount_at(block, order, index, model[index]);
    }
    for (std::size_t i = 0; i < entries; ++i) ASSERT_EQ(refcount_at(block, order, i), model[i]) << order << " " << i;
  }
}

TEST(RefcountWordsTest, FindsTheNextFreeOne) {
  for (unsigned order = 0; order <= 6; ++order) {
    std::vector<std::byte> block(512);
    const std::uint64_t entries = block.size() * 8 >> order;
    const std::uint64_t mask = order == 6 ? UINT64_MAX : (std::uint64_t{1} << (1u << order)) - 1;
    std::mt19937_64 random(order);
    for (int round = 0; round < 50; ++round) {
      // From no free refcount to many, some of them at the borders of a value: the largest one, or 1.
      for (std::uint64_t i = 0; i < entries; ++i) {
        const bool is_free = round != 0 && random() % static_cast<unsigned>(4 * round) == 0;
        set_refcount_at(block, order, i, is_free ? 0 : random() % 2 == 0 ? mask : 1);
      }
      std::uint64_t expected = entries;
      for (std::uint64_t i = entries; i > 0; --i) {
        if (refcount_at(block, order, i - 1) == 0) expected = i - 1;
        ASSERT_EQ(next_free(block, order, i - 1), expected) << order << " " << i - 1;
      }
    }
  }
}

TEST(RefcountWordsTest, HasTheBytesOfTheSpecification) {
  std::vector<std::byte> block(512);
  set_refcount_at(block, 4, 1, 0x1234);
  EXPECT_EQ(block[2], std::byte{0x12});
  EXPECT_EQ(block[3], std::byte{0x34});
  set_refcount_at(block, 0, 33, 1);
  EXPECT_EQ(block[4], std::byte{2});
  set_refcount_at(block, 2, 12, 9);
  set_refcount_at(block, 2, 13, 5);
  EXPECT_EQ(block[6], std::byte{0x59});
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

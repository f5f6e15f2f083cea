// DirtyBits with marks of several threads, concurrent searches, and a thread that clears.
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <random>
#include <thread>
#include <vector>

#include "block/bitmap/dirty_bits.h"

namespace blockexport::block {
namespace {

constexpr std::uint32_t kGranularity = 512;
constexpr std::uint64_t kWordBytes = 64 * kGranularity;

std::unique_ptr<DirtyBits> make(std::uint64_t size_bytes) {
  auto bits = DirtyBits::create(size_bytes, kGranularity);
  EXPECT_TRUE(bits.has_value());
  return bits ? std::move(*bits) : nullptr;
}

// Runs all functions at once, and returns when they have ended.
template <class... Functions>
void run_threads(Functions... functions) {
  std::latch start(sizeof...(functions));
  auto run_when_all_are_there = [&start](auto function) {
    start.arrive_and_wait();
    function();
  };
  std::vector<std::thread> threads;
  (threads.emplace_back(run_when_all_are_there, functions), ...);
  for (std::thread& thread : threads) thread.join();
}

TEST(DirtyBitsThreads, KeepAllMarksOfAllThreads) {
  constexpr std::uint64_t kSize = 5000 * kWordBytes;
  auto bits = make(kSize);
  auto mark_each_third = [&](std::uint64_t first) {
    for (std::uint64_t granule = first; granule < kSize / kGranularity; granule += 3) {
      bits->mark({granule * kGranularity, 1});
      // A short range that other threads mark too.
      bits->mark({granule / 64 * kWordBytes, 700});
    }
  };
  run_threads([&] { mark_each_third(0); }, [&] { mark_each_third(1); }, [&] { mark_each_third(2); });
  EXPECT_EQ(bits->find_clean({0, kSize}), kSize);
  EXPECT_EQ(bits->dirty_bytes(), kSize);
}

// Each word has bits that one thread clears, while others set one bit of it that nobody clears. So the word may be
// empty for a moment, and its summary bit is reset while a mark is under way.
TEST(DirtyBitsThreads, FindEveryReturnedMarkDuringAClear) {
  constexpr std::uint64_t kWords = 60'000;
  constexpr std::uint64_t kSize = kWords * kWordBytes;
  auto bits = make(kSize);
  for (std::uint64_t word = 0; word < kWords; word++) bits->mark({word * kWordBytes, kWordBytes / 2});
  std::atomic<std::uint64_t> cleared_words = 0;
  std::atomic<std::uint64_t> missed = 0;
  auto mark_and_search = [&] {
    for (std::uint64_t word = 1; word < kWords; word++) {
      // While the clearing thread runs, neither long before nor long after.
      while (word > cleared_words.load(std::memory_order_relaxed) + 1) std::this_thread::yield();
      const std::uint64_t offset = word * kWordBytes + kWordBytes / 2;
      bits->mark({offset, 1});
      // Starts in the word before, so that the search depends on the summaries.
      const std::uint64_t before = (word - 1) * kWordBytes + kWordBytes / 2 + kGranularity;
      if (bits->find_dirty({before, kSize - before}) > offset) missed++;
    }
  };
  run_threads(
      [&] {
        for (std::uint64_t word = 0; word < kWords; word++) {
          bits->clear({word * kWordBytes, kWordBytes / 2});
          cleared_words.store(word + 1, std::memory_order_relaxed);
        }
      },
      mark_and_search, mark_and_search, mark_and_search);
  EXPECT_EQ(missed, 0u);
  EXPECT_EQ(bits->dirty_bytes(), (kWords - 1) * kGranularity);
}

TEST(DirtyBitsThreads, TakeEachMarkOnceOrLeaveItThere) {
  constexpr std::uint64_t kSize = 300 * kWordBytes;
  constexpr std::uint64_t kGranules = kSize / kGranularity;
  auto bits = make(kSize);
  auto all_taken = make(kSize);
  auto expected = make(kSize);
  std::atomic<int> markers = 2;
  auto mark_some = [&](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    for (int step = 0; step < 20'000; step++) {
      const Range range{random() % kGranules * kGranularity, 1 + random() % 3 * kGranularity};
      expected->mark(range);
      bits->mark(range);
    }
    markers--;
  };
  run_threads([&] { mark_some(1); }, [&] { mark_some(2); },
              [&] {
                while (markers > 0) {
                  auto taken = bits->take();
                  if (taken) all_taken->merge(**taken);
                }
              });
  all_taken->merge(*bits);
  EXPECT_EQ(all_taken->dirty_bytes(), expected->dirty_bytes());
  std::vector<std::uint64_t> found(expected->word_count());
  std::vector<std::uint64_t> wanted(expected->word_count());
  all_taken->copy_words(0, found);
  expected->copy_words(0, wanted);
  EXPECT_EQ(found, wanted);
  bits->clear();
  EXPECT_EQ(bits->dirty_bytes(), 0u);
}

}  // namespace
}  // namespace blockexport::block

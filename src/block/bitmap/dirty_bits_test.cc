#include "block/bitmap/dirty_bits.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <vector>

namespace blockexport::block {
namespace {

constexpr std::uint64_t kKib = 1024;
constexpr std::uint64_t kGib = 1024 * 1024 * kKib;
constexpr std::uint64_t kTib = 1024 * kGib;

std::unique_ptr<DirtyBits> make(std::uint64_t size_bytes, std::uint32_t granularity_bytes) {
  auto bits = DirtyBits::create(size_bytes, granularity_bytes);
  EXPECT_TRUE(bits.has_value());
  return bits ? std::move(*bits) : nullptr;
}

std::vector<std::uint64_t> words_of(const DirtyBits& bits) {
  std::vector<std::uint64_t> words(bits.word_count());
  bits.copy_words(0, words);
  return words;
}

std::vector<Range> dirty_runs(const DirtyBits& bits, Range range, std::uint64_t* words_read = nullptr) {
  std::vector<Range> runs;
  while (std::optional<Range> run = bits.next_dirty(range, words_read)) {
    runs.push_back(*run);
    range = {run->end(), range.end() - run->end()};
  }
  return runs;
}

TEST(DirtyBits, TakesPowersOfTwoFrom512BytesTo2GiBAsGranularity) {
  EXPECT_TRUE(DirtyBits::is_granularity(512));
  EXPECT_TRUE(DirtyBits::is_granularity(2 * kGib));
  EXPECT_FALSE(DirtyBits::is_granularity(0));
  EXPECT_FALSE(DirtyBits::is_granularity(256));
  EXPECT_FALSE(DirtyBits::is_granularity(4 * kGib));
  EXPECT_FALSE(DirtyBits::is_granularity(65'537));
}

TEST(DirtyBits, MarksEveryGranuleThatARangeTouches) {
  auto bits = make(kGib, 4096);
  bits->mark({4095, 2});
  bits->mark({10 * 4096 + 5, 1});
  EXPECT_EQ(dirty_runs(*bits, {0, kGib}), (std::vector<Range>{{0, 8192}, {40'960, 4096}}));
  EXPECT_EQ(bits->dirty_bytes(), 3u * 4096);
}

TEST(DirtyBits, MarksNothingForAnEmptyRange) {
  auto bits = make(kGib, 4096);
  bits->mark({4096, 0});
  EXPECT_EQ(bits->dirty_bytes(), 0u);
}

TEST(DirtyBits, CutsRunsToTheRequestedRange) {
  auto bits = make(kGib, 65'536);
  bits->mark({65'536, 1});
  EXPECT_EQ(bits->run_at({0, 1000}), (DirtyBits::Run{1000, false}));
  EXPECT_EQ(bits->run_at({1000, kGib - 1000}), (DirtyBits::Run{64'536, false}));
  EXPECT_EQ(bits->run_at({70'000, 10}), (DirtyBits::Run{10, true}));
  EXPECT_EQ(bits->run_at({70'000, kGib - 70'000}), (DirtyBits::Run{61'072, true}));
  EXPECT_EQ(bits->find_clean({70'000, 10}), 70'010u);
  EXPECT_EQ(bits->find_dirty({0, 65'536}), 65'536u);
}

TEST(DirtyBits, CountsTheLastPartialGranuleAsAWholeOne) {
  auto bits = make(65'536 + 1, 65'536);
  bits->mark({65'536, 1});
  EXPECT_EQ(bits->dirty_bytes(), 65'536u);
  EXPECT_EQ(dirty_runs(*bits, {0, 65'537}), (std::vector<Range>{{65'536, 1}}));
}

TEST(DirtyBits, IgnoresMarksPastTheSizeAndReadsTheBytesThereAsDirty) {
  auto bits = make(1000, 512);
  bits->mark({1000, 4096});
  bits->mark({UINT64_MAX - 10, 10});
  EXPECT_EQ(bits->dirty_bytes(), 0u);
  bits->mark({999, 4096});
  EXPECT_EQ(bits->dirty_bytes(), 512u);
  bits->clear();
  EXPECT_EQ(dirty_runs(*bits, {0, 2000}), (std::vector<Range>{{1000, 1000}}));
  EXPECT_EQ(bits->run_at({UINT64_MAX - 1, 1}), (DirtyBits::Run{1, true}));
}

TEST(DirtyBits, HasOneCleanWordForADiskOfNoBytes) {
  auto bits = make(0, 512);
  bits->mark({0, 1});
  bits->clear();
  EXPECT_EQ(words_of(*bits), std::vector<std::uint64_t>{0});
  EXPECT_FALSE(bits->next_dirty({0, 0}).has_value());
  auto taken = bits->take();
  ASSERT_TRUE(taken.has_value());
  bits->merge(**taken);
  EXPECT_EQ(bits->dirty_bytes(), 0u);
}

TEST(DirtyBits, HoldsTheLargestDiskAtTheLargestGranularity) {
  const std::uint64_t size_bytes = (std::uint64_t{1} << 63) - kGib;
  auto bits = make(size_bytes, DirtyBits::kGranularityBytesMax);
  bits->mark({size_bytes - 1, 1});
  EXPECT_EQ(bits->find_dirty({0, size_bytes}), size_bytes - kGib);
  EXPECT_EQ(bits->find_clean({size_bytes - 1, 1}), size_bytes);
  EXPECT_EQ(bits->dirty_bytes(), 2 * kGib);
}

TEST(DirtyBits, RefusesMoreGranulesThanTheLimit) {
  auto bits = DirtyBits::create(DirtyBits::kGranulesMax * 512 + 1, 512);
  ASSERT_FALSE(bits.has_value());
  EXPECT_EQ(bits.error(), Errno(EFBIG));
  bits = DirtyBits::create(UINT64_MAX, 512);
  ASSERT_FALSE(bits.has_value());
}

TEST(DirtyBits, ReportsThatThereIsNoMemory) {
  auto words = ZeroedWords::create(std::uint64_t{1} << 50);
  ASSERT_FALSE(words.has_value());
  EXPECT_EQ(words.error(), Errno(ENOMEM));
  words = ZeroedWords::create(UINT64_MAX);
  ASSERT_FALSE(words.has_value());
}

TEST(DirtyBits, ClearsOnlyTheGranulesThatLieCompletelyInTheRange) {
  auto bits = make(10 * 512 + 100, 512);
  bits->mark({0, 10 * 512 + 100});
  bits->clear({1, 3 * 512});
  EXPECT_EQ(dirty_runs(*bits, {0, 5220}), (std::vector<Range>{{0, 512}, {1536, 3684}}));
  // The last granule ends with the disk.
  bits->clear({10 * 512, 50});
  EXPECT_EQ(bits->run_at({10 * 512, 100}), (DirtyBits::Run{100, true}));
  bits->clear({10 * 512, 100});
  EXPECT_EQ(bits->run_at({10 * 512, 100}), (DirtyBits::Run{100, false}));
  EXPECT_EQ(bits->dirty_bytes(), 8u * 512);
}

TEST(DirtyBits, TakeCleansAndMergeOfTheTakenBitsKeepsLaterMarks) {
  auto bits = make(kGib, 65'536);
  bits->mark({0, 1});
  auto taken = bits->take();
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(bits->dirty_bytes(), 0u);
  bits->mark({kGib - 1, 1});
  bits->merge(**taken);
  EXPECT_EQ(dirty_runs(*bits, {0, kGib}), (std::vector<Range>{{0, 65'536}, {kGib - 65'536, 65'536}}));
}

TEST(DirtyBits, SwapWithAnEarlierCopyUndoesAMerge) {
  auto bits = make(kGib, 65'536);
  auto other = make(kGib, 4096);
  bits->mark({0, 1});
  other->mark({200'000, 1});
  auto before = bits->copy();
  ASSERT_TRUE(before.has_value());
  bits->merge(*other);
  EXPECT_EQ(bits->dirty_bytes(), 2u * 65'536);
  bits->swap(**before);
  EXPECT_EQ(dirty_runs(*bits, {0, kGib}), (std::vector<Range>{{0, 65'536}}));
  EXPECT_EQ(bits->dirty_bytes(), 65'536u);
  EXPECT_EQ((*before)->dirty_bytes(), 2u * 65'536);
}

TEST(DirtyBits, MergesAcrossGranularities) {
  const std::uint64_t size_bytes = 10 * 65'536 + 700;
  auto coarse = make(size_bytes, 65'536);
  auto fine = make(size_bytes, 512);
  coarse->mark({size_bytes - 1, 1});
  fine->merge(*coarse);
  EXPECT_EQ(dirty_runs(*fine, {0, size_bytes}), (std::vector<Range>{{10 * 65'536, 700}}));
  EXPECT_EQ(fine->dirty_bytes(), 1024u);
  fine->mark({70'000, 1});
  coarse->merge(*fine);
  EXPECT_EQ(dirty_runs(*coarse, {0, size_bytes}), (std::vector<Range>{{65'536, 65'536}, {10 * 65'536, 700}}));
  coarse->merge(*coarse);
  EXPECT_EQ(coarse->dirty_bytes(), 2u * 65'536);
}

TEST(DirtyBits, GrowsWithCleanBytesExceptInAGranuleThatWasDirty) {
  auto bits = make(1000, 512);
  bits->mark({999, 1});
  ASSERT_TRUE(bits->resize(1024 * 512).has_value());
  EXPECT_EQ(dirty_runs(*bits, {0, 1024 * 512}), (std::vector<Range>{{512, 512}}));
  bits->mark({1023 * 512, 1});
  EXPECT_EQ(bits->find_dirty({1024, 1023 * 512}), 1023u * 512);
}

TEST(DirtyBits, DropsTheBitsOfBytesThatShrinkingCutsOff) {
  auto bits = make(kGib, 512);
  bits->mark({0, kGib});
  ASSERT_TRUE(bits->resize(700).has_value());
  EXPECT_EQ(words_of(*bits), std::vector<std::uint64_t>{3});
  EXPECT_EQ(bits->dirty_bytes(), 1024u);
  ASSERT_TRUE(bits->resize(kGib).has_value());
  EXPECT_EQ(dirty_runs(*bits, {0, kGib}), (std::vector<Range>{{0, 1024}}));
}

TEST(DirtyBits, KeepsItsContentsWhenItCannotGrow) {
  auto bits = make(1000, 512);
  bits->mark({0, 1});
  EXPECT_EQ(bits->resize(UINT64_MAX), IoResult(fail(EFBIG)));
  EXPECT_EQ(bits->size_bytes(), 1000u);
  EXPECT_EQ(dirty_runs(*bits, {0, 1000}), (std::vector<Range>{{0, 512}}));
}

TEST(DirtyBits, HasAWordForEach64GranulesAndNoBitsPastTheLast) {
  auto bits = make(65 * 512 + 1, 512);
  bits->mark({0, 512});
  bits->mark({63 * 512, 3 * 512});
  EXPECT_EQ(words_of(*bits), (std::vector<std::uint64_t>{std::uint64_t{1} << 63 | 1, 3}));
}

TEST(DirtyBits, TakesATenthMoreThanABitForEachGranuleOfAHugeDisk) {
  auto bits = make(16 * kTib, 65'536);
  EXPECT_LE(bits->allocated_bytes(), 32 * kKib * kKib * 11 / 10);
}

std::uint64_t resident_pages() {
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident;
}

TEST(DirtyBits, TakesNoMemoryForAHugeDiskUntilItIsMarked) {
  const std::uint64_t before = resident_pages();
  auto bits = make(16 * kTib, 65'536);
  bits->mark({8 * kTib, 1});
  EXPECT_LT(resident_pages(), before + 1024);
}

TEST(DirtyBits, FindsOneDirtyGranuleOfAHugeDiskInAFewWords) {
  auto bits = make(16 * kTib, 65'536);
  std::uint64_t words_read = 0;
  EXPECT_EQ(bits->find_dirty({0, 16 * kTib}, &words_read), 16 * kTib);
  EXPECT_LE(words_read, 5u);
  bits->mark({16 * kTib - 1, 1});
  words_read = 0;
  EXPECT_EQ(bits->find_dirty({0, 16 * kTib}, &words_read), 16 * kTib - 65'536);
  EXPECT_LE(words_read, 10u);
}

TEST(DirtyBits, CostsAFewWordsAgainOnceAHugeDiskWasCleared) {
  auto bits = make(16 * kTib, 65'536);
  for (std::uint64_t offset = 0; offset < 16 * kTib; offset += kGib) bits->mark({offset, 1});
  bits->clear();
  std::uint64_t words_read = 0;
  EXPECT_EQ(bits->find_dirty({0, 16 * kTib}, &words_read), 16 * kTib);
  EXPECT_LE(words_read, 5u);
}

TEST(DirtyBits, FindsScatteredRunsOfAHugeDiskInAFewWordsEach) {
  auto bits = make(16 * kTib, 65'536);
  constexpr std::uint64_t kGranules = 16 * kTib / 65'536;
  std::mt19937_64 random(1);
  for (std::uint64_t mark = 0; mark < kGranules / 100; mark++) bits->mark({random() % kGranules * 65'536, 1});
  std::uint64_t words_read = 0;
  std::uint64_t runs = 0;
  std::uint64_t dirty_bytes = 0;
  for (Range range{0, 16 * kTib}; std::optional<Range> run = bits->next_dirty(range, &words_read); runs++) {
    dirty_bytes += run->length;
    range = {run->end(), range.end() - run->end()};
  }
  EXPECT_EQ(dirty_bytes, bits->dirty_bytes());
  EXPECT_GT(runs, kGranules / 110);
  EXPECT_LT(words_read, runs * 5);
}

}  // namespace
}  // namespace blockexport::block

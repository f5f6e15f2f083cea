// Random operations on DirtyBits, compared with a model of one bool for each granule, by seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "block/bitmap/dirty_bits.h"

namespace blockexport::block {
namespace {

// The semantics of DirtyBits, without its structure.
struct Model {
  std::uint64_t size_bytes;
  std::uint64_t granularity_bytes;
  std::vector<bool> dirty;

  Model(std::uint64_t size, std::uint64_t granularity) : size_bytes(size), granularity_bytes(granularity) {
    resize(size);
  }

  void resize(std::uint64_t size) {
    size_bytes = size;
    dirty.resize((size + granularity_bytes - 1) / granularity_bytes);
  }
  std::uint64_t end_of(std::uint64_t granule) const { return std::min((granule + 1) * granularity_bytes, size_bytes); }
  bool is_dirty(std::uint64_t offset) const { return offset >= size_bytes || dirty[offset / granularity_bytes]; }

  void mark(Range range) {
    if (range.empty() || range.offset >= size_bytes) return;
    for (std::uint64_t granule = range.offset / granularity_bytes;
         granule < dirty.size() && granule * granularity_bytes < range.end(); granule++) {
      dirty[granule] = true;
    }
  }
  void clear(Range range) {
    for (std::uint64_t granule = 0; granule < dirty.size(); granule++) {
      if (granule * granularity_bytes >= range.offset && end_of(granule) <= range.end()) dirty[granule] = false;
    }
  }
  void merge(const Model& other) {
    for (std::uint64_t granule = 0; granule < other.dirty.size(); granule++) {
      const std::uint64_t offset = granule * other.granularity_bytes;
      if (other.dirty[granule]) mark({offset, other.end_of(granule) - offset});
    }
  }
  // The first byte of the range that is dirty (or clean), or its end.
  std::uint64_t find(Range range, bool for_dirty) const {
    std::uint64_t offset = range.offset;
    while (offset < range.end() && is_dirty(offset) != for_dirty) {
      offset = offset >= size_bytes ? range.end() : end_of(offset / granularity_bytes);
    }
    return std::min(offset, range.end());
  }
  std::vector<std::uint64_t> words() const {
    std::vector<std::uint64_t> words(std::max<std::size_t>((dirty.size() + 63) / 64, 1));
    for (std::size_t granule = 0; granule < dirty.size(); granule++) {
      if (dirty[granule]) words[granule / 64] |= std::uint64_t{1} << (granule % 64);
    }
    return words;
  }
};

struct Pair {
  std::unique_ptr<DirtyBits> bits;
  Model model;

  Pair(std::uint64_t size_bytes, std::uint32_t granularity_bytes) : model(size_bytes, granularity_bytes) {
    auto made = DirtyBits::create(size_bytes, granularity_bytes);
    EXPECT_TRUE(made.has_value());
    bits = std::move(*made);
  }
};

class DirtyBitsPropertyTest : public testing::Test {
 protected:
  std::uint64_t below(std::uint64_t limit) { return limit == 0 ? 0 : random_() % limit; }

  // Often a short range, sometimes nearly everything, sometimes past the end.
  Range some_range(std::uint64_t size_bytes) {
    const std::uint64_t offset = below(size_bytes + 600);
    switch (below(4)) {
      case 0:
        return {offset, below(size_bytes + 600)};
      case 1:
        return {offset / 512 * 512, 512 * below(200)};
      default:
        return {offset, below(3000)};
    }
  }

  std::uint64_t some_size() {
    switch (below(5)) {
      case 0:
        return below(3) * 512;
      case 1:
        return 64 * 512 * below(70) + below(2);
      case 2:
        return 64 * 64 * 512 * (1 + below(3)) + below(1000) - 500;
      default:
        return below(largest_bytes_);
    }
  }

  std::uint32_t some_granularity() { return std::uint32_t{512} << below(largest_bytes_ > 10'000'000 ? 3 : 8); }

  void check_whole(const Pair& pair) {
    std::vector<std::uint64_t> words(pair.bits->word_count());
    pair.bits->copy_words(0, words);
    EXPECT_EQ(words, pair.model.words());
    const auto dirty = static_cast<std::uint64_t>(std::ranges::count(pair.model.dirty, true));
    EXPECT_EQ(pair.bits->dirty_bytes(), dirty * pair.model.granularity_bytes);
  }

  void check_search(const Pair& pair) {
    const Range range = some_range(pair.model.size_bytes);
    const std::uint64_t dirty = pair.model.find(range, true);
    const std::uint64_t clean = pair.model.find(range, false);
    EXPECT_EQ(pair.bits->find_dirty(range), dirty) << range.offset << "+" << range.length;
    EXPECT_EQ(pair.bits->find_clean(range), clean) << range.offset << "+" << range.length;
    if (range.empty()) return;
    EXPECT_EQ(pair.bits->run_at(range), (DirtyBits::Run{std::max(dirty, clean) - range.offset, dirty == range.offset}));
    std::optional<Range> run = pair.bits->next_dirty(range);
    EXPECT_EQ(run.has_value(), dirty < range.end());
    if (run) {
      EXPECT_EQ(run->offset, dirty);
      EXPECT_EQ(run->end(), pair.model.find({dirty, range.end() - dirty}, false));
    }
  }

  void resize(Pair& pair) {
    const std::uint64_t size_bytes = some_size();
    EXPECT_TRUE(pair.bits->resize(size_bytes).has_value());
    pair.model.resize(size_bytes);
  }

  void merge_another(Pair& pair) {
    Pair other(pair.model.size_bytes, some_granularity());
    for (std::uint64_t marks = below(20); marks > 0; marks--) {
      const Range range = some_range(pair.model.size_bytes);
      other.bits->mark(range);
      other.model.mark(range);
    }
    pair.bits->merge(*other.bits);
    pair.model.merge(other.model);
  }

  // Calls take(), marks more, and merges the result back or not.
  void take(Pair& pair) {
    auto taken = pair.bits->take();
    ASSERT_TRUE(taken.has_value());
    const Model before = pair.model;
    pair.model.clear({0, pair.model.size_bytes});
    check_whole(pair);
    const Range range = some_range(pair.model.size_bytes);
    pair.bits->mark(range);
    pair.model.mark(range);
    if (below(4) == 0) return;
    pair.bits->merge(**taken);
    pair.model.merge(before);
  }

  void undo_by_copy(Pair& pair) {
    auto before = pair.bits->copy();
    ASSERT_TRUE(before.has_value());
    pair.bits->mark(some_range(pair.model.size_bytes));
    if (below(2) == 0) EXPECT_TRUE(pair.bits->resize(some_size()).has_value());
    pair.bits->swap(**before);
  }

  void run_step(Pair& pair) {
    switch (below(40)) {
      case 0:
        return resize(pair);
      case 1:
        pair.bits->clear();
        return pair.model.clear({0, pair.model.size_bytes});
      case 2:
      case 3:
        return merge_another(pair);
      case 4:
        return take(pair);
      case 5:
        return undo_by_copy(pair);
      default:
        break;
    }
    const Range range = some_range(pair.model.size_bytes);
    if (below(3) == 0) {
      pair.bits->clear(range);
      pair.model.clear(range);
    } else {
      pair.bits->mark(range);
      pair.model.mark(range);
    }
  }

  void run(std::uint64_t seed, std::uint64_t largest_bytes, int steps) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    random_.seed(seed);
    largest_bytes_ = largest_bytes;
    Pair pair(some_size(), some_granularity());
    for (int step = 0; step < steps && !HasFailure(); step++) {
      SCOPED_TRACE(testing::Message() << "step " << step);
      run_step(pair);
      check_search(pair);
      if (step % 16 == 0) check_whole(pair);
    }
    check_whole(pair);
  }

 private:
  std::mt19937_64 random_;
  std::uint64_t largest_bytes_ = 0;
};

TEST_F(DirtyBitsPropertyTest, AgreesWithTheModelOnSmallDisks) {
  for (std::uint64_t seed = 1; seed <= 40 && !HasFailure(); seed++) run(seed, 200'000, 500);
}

TEST_F(DirtyBitsPropertyTest, AgreesWithTheModelOnDisksOfFourLevels) {
  for (std::uint64_t seed = 100; seed <= 103 && !HasFailure(); seed++) run(seed, 300'000 * 512, 500);
}

}  // namespace
}  // namespace blockexport::block

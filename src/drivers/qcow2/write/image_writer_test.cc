// The write path of qcow2 images: its results, its consistency after every flush, and after a power cut at any moment.
#include "drivers/qcow2/write/image_writer.h"

#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <utility>

#include "aio/sync/scope.h"
#include "aio/testing/seeds.h"
#include "block/testing/promise_model.h"
#include "block/testing/reactor_test.h"
#include "block/testing/reactors.h"
#include "drivers/qcow2/testing/image_consistency.h"
#include "drivers/qcow2/testing/memory_image.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::PromiseModel;
using block::Range;

constexpr std::uint64_t kSector = 512;

struct Variant {
  std::string name;
  Geometry geometry;
  std::uint64_t disk_sectors = 256;
  std::optional<std::byte> backing = std::nullopt;
  WritePolicy policy = {};
  CompressionType compression_type = CompressionType::kZlib;
};

CompressionType other_compression_type() {
  return ClusterDecompressor::is_built(CompressionType::kZstd) ? CompressionType::kZstd : CompressionType::kZlib;
}

std::vector<Variant> variants() {
  const WritePolicy passes{.pass_discard_request = true, .pass_discard_other = true};
  return {
      {.name = "smallest clusters", .geometry = {.cluster_bits = 9}},
      {.name = "refcounts of one bit", .geometry = {.cluster_bits = 9, .refcount_order = 0}, .disk_sectors = 1000},
      {.name = "refcounts of 64 bits, with backing",
       .geometry = {.cluster_bits = 9, .refcount_order = 6},
       .disk_sectors = 1000,
       .backing = std::byte{0xbb}},
      {.name = "clusters of 4 KiB that pass discards on", .geometry = {.cluster_bits = 12}, .policy = passes},
      {.name = "clusters of 4 KiB with backing",
       .geometry = {.cluster_bits = 12},
       .disk_sectors = 251,
       .backing = std::byte{0xbb},
       .policy = passes},
      {.name = "no references given up",
       .geometry = {.cluster_bits = 12},
       .backing = std::byte{0xbb},
       .policy = {.pass_discard_request = true, .discard_no_unref = true}},
      {.name = "zstd, and discards passed on",
       .geometry = {.cluster_bits = 11},
       .policy = passes,
       .compression_type = other_compression_type()},
      {.name = "version 2", .geometry = {.cluster_bits = 10, .zero_flag = false}},
      {.name = "version 2 with backing",
       .geometry = {.cluster_bits = 10, .zero_flag = false},
       .backing = std::byte{0xbb}},
      {.name = "subclusters", .geometry = {.cluster_bits = 14, .extended_l2 = true}, .disk_sectors = 300},
      {.name = "subclusters with backing",
       .geometry = {.cluster_bits = 14, .extended_l2 = true},
       .disk_sectors = 300,
       .backing = std::byte{0xbb},
       .policy = passes},
      {.name = "data file", .geometry = {.cluster_bits = 12, .data_file = true}, .policy = passes},
      {.name = "data file with backing",
       .geometry = {.cluster_bits = 12, .data_file = true},
       .backing = std::byte{0xbb}},
  };
}

// Several clients' random requests to an image at once, with a model of the promises that were made.
class Course final : RecordingObserver {
 public:
  Course(const Variant& variant, std::uint64_t seed)
      : variant_(variant), random_(seed), model_(variant.disk_sectors, variant.backing.value_or(std::byte{0})) {
    file_.begin(make_image(variant.geometry, disk_bytes(), variant.compression_type));
    data_.begin(std::vector<std::byte>(disk_bytes()));
    file_.turns = data_.turns = &random_;
  }

  RecordingState& file() { return file_; }
  bool has_errors = false;    // requests may fail
  unsigned sample_every = 0;  // one of so many changes of the file is followed by a power cut; 0: none

  aio::Task<void> open() {
    file_.observer = data_.observer = this;
    image_ =
        std::make_unique<MemoryImage>(file_, variant_.geometry.data_file ? &data_ : nullptr,
                                      MemoryImage::Options{.backing = variant_.backing, .policy = variant_.policy});
    const bool opened = co_await image_->open();
    EXPECT_TRUE(opened);
  }

  // A few clients at the same time, each with one request after the other. Their sectors differ, their clusters need
  // not; readers read what others change.
  aio::Task<void> step() {
    aio::Scope scope(co_await aio::current_reactor());
    for (std::uint64_t count = 1 + random_() % 4; count > 0; --count) scope.spawn("client", client());
    if (random_() % 2 == 0) scope.spawn("read", read(random_range()));
    co_await scope.join();
  }

  aio::Task<void> flush() {
    const PromiseModel::Moment moment = model_.flush_begins();
    const IoResult result = co_await image_->disk().flush();
    if (result) model_.flush_is_acknowledged(moment);
    EXPECT_TRUE(result || has_errors);
  }

  // Readers see what was written last; after a restart and errors, all that was flushed.
  aio::Task<void> compare() {
    std::vector<std::byte> bytes(disk_bytes());
    const iovec vector{bytes.data(), bytes.size()};
    const IoResult result = co_await image_->disk().read({0, bytes.size()}, {&vector, 1});
    EXPECT_TRUE(result);
    if (has_errors && was_closed_) {
      EXPECT_TRUE(model_.may_be_left({0, bytes.size()}, bytes));
    } else if (has_errors) {
      EXPECT_TRUE(model_.may_be_read({0, bytes.size()}, bytes));
    } else {
      EXPECT_TRUE(model_.is_current({0, bytes.size()}, bytes));
    }
  }

  // Opens the images that power cuts left since the last call.
  aio::Task<void> check_power_cuts() {
    for (PowerCut& cut : std::exchange(power_cuts_, {})) {
      if (testing::Test::HasFailure()) co_return;
      co_await check(cut);
      ++power_cuts_checked;
    }
  }
  std::uint64_t power_cuts_checked = 0;

  aio::Task<void> close() {
    // The first flush makes freed clusters available, and the second writes their refcounts if need be.
    co_await flush();
    co_await flush();
    image_.reset();
    was_closed_ = true;
  }

 private:
  struct PowerCut {
    std::vector<std::byte> file;
    std::vector<std::byte> data;
    PromiseModel model;
  };

  std::uint64_t disk_bytes() const { return variant_.disk_sectors * kSector; }

  Range random_range() {
    const std::uint64_t length = 1 + random_() % (random_() % 4 == 0 ? 64 : 8);
    const std::uint64_t first = random_() % variant_.disk_sectors;
    return {first * kSector, std::min(length, variant_.disk_sectors - first) * kSector};
  }

  void before_change() override {
    if (sample_every == 0 || random_() % sample_every != 0) return;
    power_cuts_.push_back({file_.after_power_cut(random_), data_.after_power_cut(random_), model_});
  }

  aio::Task<void> client() {
    for (std::uint64_t count = 1 + random_() % 5; count > 0; --count) {
      const Range range = random_range();
      const auto overlaps = [range](Range other) { return range.offset < other.end() && other.offset < range.end(); };
      if (std::ranges::any_of(changing_, overlaps)) continue;
      changing_.push_back(range);
      co_await request(range);
      std::erase(changing_, range);
    }
  }

  aio::Task<void> request(Range range) {
    switch (random_() % 11) {
      case 0:
        return flush();
      case 1:
      case 2:
        return zero(range, random_() % 2 == 0);
      case 3:
        return discard(range);
      case 4:
      case 5:
      case 6:
        if (!variant_.geometry.data_file)
          return write(range, {.force_unit_access = random_() % 8 == 0, .compressed = true});
        [[fallthrough]];
      default:
        return write(range, {.force_unit_access = random_() % 8 == 0});
    }
  }

  // At the same time as changes of the same sectors.
  aio::Task<void> read(Range range) {
    const PromiseModel::Moment begun = model_.flush_begins();
    std::vector<std::byte> bytes(range.length);
    const iovec vector{bytes.data(), bytes.size()};
    const IoResult result = co_await image_->disk().read(range, {&vector, 1});
    EXPECT_TRUE(result || has_errors);
    if (result) EXPECT_TRUE(model_.may_be_read_since(begun, range, bytes)) << "sector " << range.offset / kSector;
  }

  aio::Task<void> write(Range range, block::WriteOptions options) {
    const auto value = static_cast<std::byte>(1 + random_() % 200);
    model_.write_begins(range, value);
    std::vector<std::byte> bytes(range.length, value);
    const iovec vector{bytes.data(), bytes.size()};
    IoResult result = fail(EAGAIN);
    if (!options.force_unit_access && !options.compressed)
      result = image_->disk().try_write(co_await aio::current_reactor(), range, {&vector, 1});
    if (!result && result.error() == Errno(EAGAIN)) {
      result = co_await image_->disk().write(range, {&vector, 1}, options);
    }
    acknowledge(range, result, options.force_unit_access);
  }
  aio::Task<void> zero(Range range, bool may_unmap) {
    model_.write_begins(range, std::byte{0});
    const IoResult result = co_await image_->disk().write_zeroes(range, {.may_unmap = may_unmap});
    acknowledge(range, result, false);
  }
  // A discarded cluster reads as zeros; other bytes stay.
  aio::Task<void> discard(Range range) {
    const std::uint64_t cluster = variant_.geometry.cluster_bytes();
    const bool is_refused = !variant_.geometry.zero_flag && variant_.backing;
    const std::uint64_t begin = (range.offset + cluster - 1) / cluster * cluster;
    const std::uint64_t end = range.end() == disk_bytes() ? disk_bytes() : range.end() / cluster * cluster;
    const Range whole = begin < end ? Range{begin, end - begin} : Range{};
    if (!is_refused) model_.write_begins(whole, std::byte{0});
    const IoResult result = co_await image_->disk().discard(range);
    if (!is_refused) {
      acknowledge(whole, result, false);
    } else if (!whole.empty()) {
      EXPECT_EQ(result, IoResult(fail(ENOTSUP)));
    }
  }

  void acknowledge(Range range, const IoResult& result, bool is_durable) {
    if (result) model_.write_is_acknowledged(range, is_durable);
    EXPECT_TRUE(result || has_errors) << result.error().value();
  }

  aio::Task<void> check(const PowerCut& cut) {
    RecordingState file;
    RecordingState data;
    file.begin(cut.file);
    data.begin(cut.data);
    const Consistency consistency = check_consistency(file.bytes);
    for (const std::string& corruption : consistency.corruptions) ADD_FAILURE() << corruption;
    MemoryImage left(file, variant_.geometry.data_file ? &data : nullptr, {.backing = variant_.backing});
    const bool opened = co_await left.open();
    EXPECT_TRUE(opened);
    if (!opened) co_return;
    std::vector<std::byte> bytes(disk_bytes());
    const iovec vector{bytes.data(), bytes.size()};
    const IoResult result = co_await left.disk().read({0, bytes.size()}, {&vector, 1});
    EXPECT_TRUE(result);
    for (std::uint64_t sector = 0; sector < variant_.disk_sectors; ++sector) {
      const std::span<const std::byte> content = std::span(bytes).subspan(sector * kSector, kSector);
      if (cut.model.may_be_left({sector * kSector, kSector}, content)) continue;
      ADD_FAILURE() << "sector " << sector << " is left as " << static_cast<int>(content[0]);
      break;
    }
  }

  const Variant& variant_;
  std::mt19937_64 random_;
  PromiseModel model_;
  RecordingState file_;
  RecordingState data_;
  std::vector<Range> changing_;  // by requests that are under way
  std::vector<PowerCut> power_cuts_;
  std::unique_ptr<MemoryImage> image_;
  bool was_closed_ = false;
};

aio::Task<void> run_course(Course& course, int steps) {
  co_await course.open();
  for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
    co_await course.step();
    if (i % 8 == 0) co_await course.compare();
    co_await course.check_power_cuts();
  }
  co_await course.compare();
  co_await course.close();
  co_await course.open();
  co_await course.compare();
  co_await course.close();
}

aio::Task<void> run_steps(Course& course, int steps) {
  for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) co_await course.step();
}

// The file is in memory, so the kinds of reactors with threads would repeat what the simulation does.
class ImageWriterTest : public block::ReactorTest {
 protected:
  void SetUp() override {
    if (!block::Reactors::are_simulated()) GTEST_SKIP() << "it runs in the simulation";
  }
};

TEST_F(ImageWriterTest, KeepsDataAndRefcountsUnderRandomRequests) {
  for (const Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    for (std::uint64_t seed = 0; seed < aio::testing::seeds_here(8) && !HasFailure(); ++seed) {
      SCOPED_TRACE(seed);
      Course course(variant, seed);
      run(run_course(course, 150));
      const Consistency consistency = check_consistency(course.file().bytes);
      for (const std::string& corruption : consistency.corruptions) ADD_FAILURE() << corruption;
      EXPECT_EQ(consistency.leaks, 0u);
    }
  }
}

// Seeds for each kind of image: a hundred thousand power cuts in a thorough run.
std::uint64_t power_cut_seeds() {
  return std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 100 : aio::testing::seeds_here(2);
}

// Between any two writes to the file, and any two flushes.
TEST_F(ImageWriterTest, LosesNothingFlushedAndCorruptsNothingInAPowerCut) {
  constexpr int kSteps = static_cast<int>(aio::testing::seeds_here(50));
  std::uint64_t power_cuts = 0;
  for (const Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    for (std::uint64_t seed = 100; seed < 100 + power_cut_seeds() && !HasFailure(); ++seed) {
      SCOPED_TRACE(seed);
      Course course(variant, seed);
      course.sample_every = 2;
      run(run_course(course, kSteps));
      power_cuts += course.power_cuts_checked;
    }
  }
  EXPECT_GE(power_cuts, power_cut_seeds() * std::uint64_t{kSteps} * 15);
  RecordProperty("count", std::to_string(power_cuts));
}

// The k-th call to the file fails, for every k of a course. The image stays consistent, and so do later requests.
TEST_F(ImageWriterTest, SurvivesAnErrorOfAnyCall) {
  const bool every_call = std::getenv("BLOCKEXPORT_THOROUGH") != nullptr;
  std::uint64_t courses = 0;
  for (const Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    for (std::uint64_t call = 0; call < 150 && !HasFailure();
         call += every_call ? 1 : 10 / aio::testing::seeds_here(10)) {
      SCOPED_TRACE(call);
      ++courses;
      Course course(variant, 7);
      course.has_errors = true;
      run(course.open());
      course.file().fails_at = course.file().calls + call;
      course.file().error = call % 2 == 0 ? EIO : ENOSPC;
      run(run_steps(course, 12));
      const bool has_failed = course.file().calls > *course.file().fails_at;
      course.file().fails_at.reset();
      run(course.compare());
      run(run_steps(course, 3));
      run(course.compare());
      run(course.close());
      const Consistency consistency = check_consistency(course.file().bytes);
      for (const std::string& corruption : consistency.corruptions) ADD_FAILURE() << corruption;
      if (!has_failed) break;
    }
  }
  EXPECT_GT(courses, variants().size());
  RecordProperty("count", std::to_string(courses));
}

// A file that cannot grow any more: requests that need no new place succeed, and a discard makes room.
TEST_F(ImageWriterTest, GoesOnWhenTheFileCannotGrow) {
  for (const Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    Course course(variant, 11);
    course.has_errors = true;
    course.file().bytes_max = course.file().bytes.size() + 40 * variant.geometry.cluster_bytes();
    run(run_course(course, 60));
    const Consistency consistency = check_consistency(course.file().bytes);
    for (const std::string& corruption : consistency.corruptions) ADD_FAILURE() << corruption;
    EXPECT_LE(course.file().bytes.size(), course.file().bytes_max);
  }
}

// Bytes of which about a quarter is left when they are compressed.
std::vector<std::byte> compressible(std::uint64_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> data(bytes);
  for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>(i % 4 == 0 ? random() : seed);
  return data;
}

// Compressed writes of whole clusters with contents of their own.
class CompressedWriterTest : public ImageWriterTest {
 protected:
  static constexpr std::uint64_t kCluster = 4096;
  static constexpr std::uint64_t kClusters = 32;

  void open(Geometry geometry = {.cluster_bits = 12}, MemoryImage::Options options = {}) {
    file_.begin(make_image(geometry, kClusters * kCluster - kSector));
    data_.begin(std::vector<std::byte>(kClusters * kCluster));
    image_ = std::make_unique<MemoryImage>(file_, geometry.data_file ? &data_ : nullptr, options);
    EXPECT_TRUE(run(image_->open()));
  }
  IoResult write(std::uint64_t offset, std::span<const std::byte> bytes, bool compressed = true) {
    const iovec vector{const_cast<std::byte*>(bytes.data()), bytes.size()};
    return run(image_->disk().write({offset, bytes.size()}, {&vector, 1}, {.compressed = compressed}));
  }
  std::vector<std::byte> read(std::uint64_t offset, std::uint64_t length) {
    std::vector<std::byte> bytes(length);
    const iovec vector{bytes.data(), bytes.size()};
    EXPECT_TRUE(run(image_->disk().read({offset, length}, {&vector, 1})));
    return bytes;
  }
  aio::Task<void> flush(IoResult& result) { result = co_await image_->disk().flush(); }
  ClusterPlace place(std::uint64_t cluster) {
    const auto entry = run(image_->tables().entry(cluster));
    return entry ? place_of(image_->tables().geometry(), *entry) : ClusterPlace{.kind = ClusterKind::kInvalid};
  }
  void expect_clean() {
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(run(image_->disk().flush()));
    const Consistency consistency = check_consistency(file_.bytes);
    for (const std::string& corruption : consistency.corruptions) ADD_FAILURE() << corruption;
    EXPECT_EQ(consistency.leaks, 0u);
  }

  RecordingState file_;
  RecordingState data_;
  std::unique_ptr<MemoryImage> image_;
};

TEST_F(CompressedWriterTest, PacksClustersBehindEachOther) {
  open();
  const std::uint64_t before = file_.bytes.size();
  for (unsigned i = 0; i < 24; ++i) EXPECT_TRUE(write(i * kCluster, compressible(kCluster, i)));
  unsigned spanning = 0;
  for (unsigned i = 0; i < 24; ++i) {
    EXPECT_EQ(read(i * kCluster, kCluster), compressible(kCluster, i));
    const ClusterPlace found = place(i);
    EXPECT_EQ(found.kind, ClusterKind::kCompressed);
    EXPECT_FALSE(found.copied);
    const std::uint64_t last = found.host_offset + found.compressed_bytes - 1;
    if (found.host_offset / kCluster != last / kCluster) ++spanning;
  }
  EXPECT_GT(spanning, 3u);
  // An L2 table, and a third of the guest's bytes.
  EXPECT_LT(file_.bytes.size() - before, kCluster + 24 * kCluster / 2);
  expect_clean();
}

TEST_F(CompressedWriterTest, StoresBytesThatDoNotShrinkAsTheyAre) {
  open();
  std::mt19937 random(1);
  std::vector<std::byte> bytes(kCluster);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  EXPECT_TRUE(write(0, bytes));
  EXPECT_EQ(place(0).kind, ClusterKind::kData);
  EXPECT_TRUE(place(0).copied);
  EXPECT_EQ(read(0, kCluster), bytes);
  expect_clean();
}

TEST_F(CompressedWriterTest, OverwritesPlainClustersInPlace) {
  open();
  EXPECT_TRUE(write(0, compressible(kCluster, 1), false));
  const ClusterPlace plain = place(0);
  EXPECT_TRUE(write(0, compressible(kCluster, 2)));
  EXPECT_EQ(place(0), plain);
  EXPECT_EQ(read(0, kCluster), compressible(kCluster, 2));
  expect_clean();
}

TEST_F(CompressedWriterTest, PartsOfClustersKeepTheRest) {
  open({.cluster_bits = 12}, {.backing = std::byte{0xbb}});
  std::vector<std::byte> expected(kClusters * kCluster - kSector, std::byte{0xbb});
  std::mt19937 random(3);
  for (unsigned i = 1; i <= 60; ++i) {
    const std::uint64_t offset = random() % (expected.size() - 1);
    const std::uint64_t length = std::min<std::uint64_t>(1 + random() % 9000, expected.size() - offset);
    const std::vector<std::byte> bytes = compressible(length, i);
    EXPECT_TRUE(write(offset, bytes));
    std::ranges::copy(bytes, expected.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  EXPECT_EQ(read(0, expected.size()), expected);
  EXPECT_GT(image_->compressed_reads, 20u);
  expect_clean();
}

// Refcounts of one bit: no cluster is shared; of two bits: at most three share one.
TEST_F(CompressedWriterTest, SharesAsFarAsRefcountsAllow) {
  for (const unsigned order : {0u, 1u}) {
    open({.cluster_bits = 12, .refcount_order = order});
    std::map<std::uint64_t, unsigned> users;
    unsigned largest = 0;
    for (unsigned i = 0; i < 8; ++i) {
      EXPECT_TRUE(write(i * kCluster, std::vector<std::byte>(kCluster, std::byte{7})));
      largest = std::max(largest, ++users[place(i).host_offset / kCluster]);
    }
    EXPECT_EQ(largest, order == 0 ? 1u : 3u);
    expect_clean();
  }
}

TEST_F(CompressedWriterTest, ReplacedClustersAreFreed) {
  open({.cluster_bits = 12}, {.policy = {.pass_discard_request = true, .pass_discard_other = true}});
  for (unsigned round = 0; round < 40; ++round) {
    for (unsigned i = 0; i < 8; ++i) EXPECT_TRUE(write(i * kCluster, compressible(kCluster, round * 8 + i)));
    EXPECT_TRUE(run(image_->disk().flush()));
    EXPECT_EQ(read(7 * kCluster, kCluster), compressible(kCluster, round * 8 + 7));
  }
  EXPECT_GT(file_.discards, 0u);
  EXPECT_LT(file_.bytes.size(), 20 * kCluster);
  expect_clean();
}

// The discard that precedes the reuse of a host cluster is slow, and clusters are compressed meanwhile.
TEST_F(CompressedWriterTest, ADiscardOfAFreedClusterMeetsNoNeighbour) {
  open({.cluster_bits = 12}, {.policy = {.pass_discard_request = true, .pass_discard_other = true}});
  std::mt19937_64 random(1);
  file_.turns = &random;
  for (unsigned round = 0; round < 200 && !HasFailure(); ++round) {
    EXPECT_TRUE(write(0, compressible(kCluster, 4 * round)));
    EXPECT_TRUE(run(image_->disk().discard({0, kCluster})));
    IoResult flushed = fail(EIO);
    start(flush(flushed));
    for (unsigned i = 1; i < 4; ++i) EXPECT_TRUE(write(i * kCluster, compressible(kCluster / 4, 4 * round + i)));
    until_idle();
    EXPECT_TRUE(flushed);
    for (unsigned i = 1; i < 4; ++i) {
      EXPECT_EQ(read(i * kCluster, kCluster / 4), compressible(kCluster / 4, 4 * round + i)) << round;
    }
    EXPECT_TRUE(run(image_->disk().discard({0, 4 * kCluster})));
    EXPECT_TRUE(run(image_->disk().flush()));
  }
  EXPECT_GE(file_.discards, 200u);
  expect_clean();
}

TEST_F(CompressedWriterTest, AnImageWithADataFileRefusesThem) {
  open({.cluster_bits = 12, .data_file = true});
  EXPECT_EQ(write(0, compressible(kCluster, 1)), IoResult(fail(ENOTSUP)));
  EXPECT_EQ(read(0, kCluster), std::vector<std::byte>(kCluster));
  expect_clean();
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

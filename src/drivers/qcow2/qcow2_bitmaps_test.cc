// Bitmaps in qcow2 images through the driver: what is stored is loaded, and after an error or a power cut at any moment
// the image has the former bitmaps, the new ones, or inconsistent ones, and never wrong ones.
#include "drivers/qcow2/qcow2_bitmaps.h"

#include <cstdlib>
#include <map>
#include <random>

#include "aio/testing/seeds.h"
#include "base/byte_writer.h"
#include "block/loaded_bitmaps.h"
#include "block/testing/reactor_test.h"
#include "block/testing/reactors.h"
#include "drivers/qcow2/check/check.h"
#include "drivers/qcow2/qcow2_open.h"
#include "drivers/qcow2/testing/memory_image.h"
#include "drivers/qcow2/testing/node_opener.h"
#include "drivers/qcow2/testing/recording_file.h"
#include "schema/block_node_info.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::DirtyBitmap;
using block::Node;
using block::Range;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kGuestBytes = 64u << 10;  // guests write to the begin of the disk alone

struct Contents {
  std::uint64_t size_bytes = 0;
  std::uint32_t granularity_bytes = 0;
  bool is_enabled = false;
  std::vector<std::uint64_t> words = {};

  friend bool operator==(const Contents&, const Contents&) = default;
};
// By name; nullopt: inconsistent.
using All = std::map<std::string, std::optional<Contents>>;

All contents_of(const Node& node) {
  All all;
  for (const auto& bitmap : node.bitmaps().list().all()) {
    std::optional<Contents>& one = all[bitmap->name()];
    if (bitmap->is_inconsistent()) continue;
    const block::DirtyBits& bits = std::as_const(*bitmap).bits();
    one = {.size_bytes = bits.size_bytes(),
           .granularity_bytes = bits.granularity_bytes(),
           .is_enabled = bitmap->is_enabled(),
           .words = std::vector<std::uint64_t>(bits.word_count())};
    bits.copy_words(0, one->words);
  }
  return all;
}

// A node with an image in a recorded file.
class OpenedImage {
 public:
  OpenedImage(RecordingState& state, block::NodeOptions options)
      : file_("file", std::make_unique<RecordingDriver>(state), options), options_(options) {}

  aio::Task<Result<>> open() {
    NodeOpener opener({&file_});
    schema::BlockdevOptionsQcow2 options;
    options.file = {"file"};
    CO_TRY_ASSIGN(auto driver, co_await open_qcow2(options, options_, opener, {nullptr, nullptr}));
    disk_ = std::make_unique<Node>("disk", std::move(driver), options_);
    co_return co_await block::load_image_bitmaps(*disk_);
  }
  Node& disk() { return *disk_; }
  block::ImageBitmaps& bitmaps() { return *disk_->driver().image_bitmaps(); }
  Node& file() { return file_; }

  aio::Task<Result<DirtyBitmap*>> add(std::string name, std::uint32_t granularity_bytes) {
    CO_TRY(bitmaps().check_addition(
        disk_->bitmaps().list(),
        {.name = name, .size_bytes = disk_->size_bytes(), .granularity_bytes = granularity_bytes}));
    CO_TRY_ASSIGN(DirtyBitmap * bitmap, disk_->bitmaps().add(name, disk_->size_bytes(), granularity_bytes));
    Result<> added = co_await bitmaps().add(*bitmap);
    if (!added) {
      disk_->bitmaps().take(*bitmap);
      co_return fail(added.error().clone());
    }
    co_return bitmap;
  }
  aio::Task<Bytes> guest_bytes() {
    Bytes bytes(std::min(kGuestBytes, disk_->size_bytes()));
    const iovec vector{bytes.data(), bytes.size()};
    EXPECT_TRUE(co_await disk_->read({0, bytes.size()}, {&vector, 1}));
    co_return bytes;
  }

 private:
  Node file_;
  block::NodeOptions options_;
  std::unique_ptr<Node> disk_;
};

constexpr block::NodeOptions kWritable{.discard = block::DiscardMode::kUnmap};
constexpr block::NodeOptions kReadOnly{.read_only = true};

// Random changes of an image with bitmaps, and what they may leave.
class Course final : RecordingObserver {
 public:
  Course(unsigned cluster_bits, std::uint64_t seed) : random_(seed), next_name_(seed * 1000) {
    file_.begin(make_image({.cluster_bits = cluster_bits}, (6u << 20) + 1024));
  }

  RecordingState& file() { return file_; }
  unsigned sample_every = 0;
  std::uint64_t power_cuts_checked = 0;

  aio::Task<void> open() {
    file_.observer = this;
    image_ = std::make_unique<OpenedImage>(file_, kWritable);
    const Result<> opened = co_await image_->open();
    EXPECT_TRUE(opened) << opened.error().message();
    EXPECT_EQ(contents_of(image_->disk()), stored_);
    guest_at_store_ = co_await image_->guest_bytes();
  }

  aio::Task<void> step() {
    Node& disk = image_->disk();
    const auto& all = disk.bitmaps().list().all();
    DirtyBitmap* any = all.empty() ? nullptr : all[random_() % all.size()].get();
    switch (random_() % 9) {
      case 0:
      case 1: {
        if (all.size() >= 4) break;
        const std::uint32_t granularity_bytes = 512u << random_() % 8;
        const auto added = co_await image_->add("b" + std::to_string(next_name_++), granularity_bytes);
        EXPECT_TRUE(added);
        break;
      }
      case 2: {
        if (any == nullptr || random_() % 2 == 0) break;
        const Result<> removed = co_await image_->bitmaps().remove(*any);
        EXPECT_TRUE(removed) << removed.error().message();
        disk.bitmaps().take(*any);
        break;
      }
      case 3: {
        // As the steps of the graph do.
        EXPECT_TRUE(co_await image_->bitmaps().begin_use());
        if (any == nullptr || any->is_inconsistent()) break;
        any->set_enabled(random_() % 2 == 0);
        if (random_() % 2 == 0) any->bits().clear();
        any->bits().mark({random_() % disk.size_bytes(), random_() % (4u << 20)});
        break;
      }
      case 4: {
        const std::uint64_t size_bytes = (4u << 20) + random_() % 8192 * 512;
        EXPECT_TRUE(co_await disk.resize(size_bytes));
        break;
      }
      case 5:
        EXPECT_TRUE(co_await disk.flush());
        break;
      default:
        co_await write();
    }
  }

  aio::Task<void> store() {
    // A store may leave these, and only as a whole.
    being_stored_ = contents_of(image_->disk());
    guest_when_stored_ = co_await image_->guest_bytes();
    EXPECT_TRUE(co_await image_->disk().flush());
    const Result<> done = co_await block::store_image_bitmaps(image_->disk(), nullptr);
    EXPECT_TRUE(done) << done.error().message();
    stored_ = *std::exchange(being_stored_, std::nullopt);
    guest_at_store_ = guest_when_stored_;
  }

  void close() { image_.reset(); }

  aio::Task<void> check_power_cuts() {
    for (PowerCut& cut : std::exchange(power_cuts_, {})) {
      if (testing::Test::HasFailure()) co_return;
      co_await check(cut);
      ++power_cuts_checked;
    }
  }

 private:
  struct PowerCut {
    Bytes file;
    std::vector<std::pair<All, Bytes>> allowed;  // bitmaps, and the guest's bytes of their time
  };

  void before_change() override {
    if (sample_every == 0 || random_() % sample_every != 0) return;
    PowerCut cut{.file = file_.after_power_cut(random_), .allowed = {{stored_, guest_at_store_}}};
    if (being_stored_) cut.allowed.emplace_back(*being_stored_, guest_when_stored_);
    power_cuts_.push_back(std::move(cut));
  }

  aio::Task<void> write() {
    Bytes bytes(512 * (1 + random_() % 20), static_cast<std::byte>(random_()));
    const std::uint64_t offset = random_() % ((kGuestBytes - bytes.size()) / 512) * 512;
    const iovec vector{bytes.data(), bytes.size()};
    EXPECT_TRUE(co_await image_->disk().write({offset, bytes.size()}, {&vector, 1}, {}));
  }

  aio::Task<void> check(const PowerCut& cut) {
    RecordingState file;
    file.begin(cut.file);
    OpenedImage left(file, kReadOnly);
    const Result<CheckReport> report = co_await check_image(left.file(), {});
    EXPECT_TRUE(report && report->corruptions == 0) << (report ? report->findings.front() : report.error().message());
    const Result<> opened = co_await left.open();
    EXPECT_TRUE(opened) << opened.error().message();
    if (!opened) co_return;
    const Bytes guest = co_await left.guest_bytes();
    const All found = contents_of(left.disk());
    // Each bitmap that counts has bits and guest data of one time.
    for (const auto& [name, contents] : found) {
      if (!contents) continue;
      const bool is_allowed = std::ranges::any_of(cut.allowed, [&](const auto& one) {
        const auto at = one.first.find(name);
        return at != one.first.end() && at->second == contents && one.second == guest;
      });
      EXPECT_TRUE(is_allowed) << name;
    }
  }

  std::mt19937_64 random_;
  RecordingState file_;
  std::unique_ptr<OpenedImage> image_;
  All stored_;
  std::optional<All> being_stored_;
  Bytes guest_at_store_;
  Bytes guest_when_stored_;
  std::uint64_t next_name_;
  std::vector<PowerCut> power_cuts_;
};

aio::Task<void> run_course(Course& course, int rounds) {
  for (int round = 0; round < rounds && !testing::Test::HasFailure(); ++round) {
    co_await course.open();
    for (int i = 0; i < 12 && !testing::Test::HasFailure(); ++i) {
      co_await course.step();
      co_await course.check_power_cuts();
    }
    co_await course.store();
    // Sometimes the node goes on afterwards, as after a reopen that failed.
    if (round % 3 == 0) {
      for (int i = 0; i < 4; ++i) co_await course.step();
      co_await course.store();
    }
    course.close();
    co_await course.check_power_cuts();
  }
}

// The file is in memory, so the kinds of reactors with threads would repeat what the simulation does.
class Qcow2BitmapsTest : public block::ReactorTest {
 protected:
  void SetUp() override {
    if (!block::Reactors::are_simulated()) GTEST_SKIP() << "it runs in the simulation";
  }

  std::uint64_t leaks_of(RecordingState& state) {
    OpenedImage image(state, kReadOnly);
    const Result<CheckReport> report = run(check_image(image.file(), {}));
    EXPECT_TRUE(report && report->corruptions == 0) << (report ? report->findings.front() : report.error().message());
    return report ? report->leaks : 0;
  }
};

TEST_F(Qcow2BitmapsTest, WhatIsStoredIsLoaded) {
  for (const unsigned cluster_bits : {9u, 12u, 16u}) {
    for (std::uint64_t seed = 0; seed < aio::testing::seeds_here(6) && !HasFailure(); ++seed) {
      SCOPED_TRACE(testing::Message() << cluster_bits << " " << seed);
      Course course(cluster_bits, seed);
      run(run_course(course, 8));
      EXPECT_EQ(leaks_of(course.file()), 0u);
    }
  }
}

// Seeds for each size of clusters; each has at least twenty power cuts.
std::uint64_t power_cut_seeds() {
  return std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 1000 : aio::testing::seeds_here(4);
}

TEST_F(Qcow2BitmapsTest, APowerCutLeavesRightBitmapsOrInconsistentOnes) {
  std::uint64_t power_cuts = 0;
  for (const unsigned cluster_bits : {9u, 12u}) {
    for (std::uint64_t seed = 100; seed < 100 + power_cut_seeds() && !HasFailure(); ++seed) {
      SCOPED_TRACE(testing::Message() << cluster_bits << " " << seed);
      Course course(cluster_bits, seed);
      course.sample_every = 3;
      run(run_course(course, 6));
      power_cuts += course.power_cuts_checked;
    }
  }
  EXPECT_GT(power_cuts, 2 * 20 * power_cut_seeds());
}

aio::Task<void> make_bitmaps(RecordingState& state) {
  OpenedImage image(state, kWritable);
  EXPECT_TRUE(co_await image.open());
  for (const char* name : {"first", "second", "third"}) {
    const auto added = co_await image.add(name, 512);
    EXPECT_TRUE(added);
    if (added) (*added)->bits().mark({1u << 20, 2u << 20});
  }
  EXPECT_TRUE(co_await block::store_image_bitmaps(image.disk(), nullptr));
}

// A write, the removal of a bitmap, and a store. Returns whether all of them succeeded.
aio::Task<bool> change_bitmaps(RecordingState& state) {
  OpenedImage image(state, kWritable);
  if (!co_await image.open()) co_return false;
  Bytes bytes(4096, std::byte{1});
  const iovec vector{bytes.data(), bytes.size()};
  bool is_good = (co_await image.disk().write({0, bytes.size()}, {&vector, 1}, {})).has_value();
  DirtyBitmap* second = image.disk().bitmaps().list().find("second");
  if (co_await image.bitmaps().remove(*second)) {
    image.disk().bitmaps().take(*second);
  } else {
    is_good = false;
  }
  if (!co_await image.disk().flush()) is_good = false;
  if (!co_await block::store_image_bitmaps(image.disk(), nullptr)) is_good = false;
  co_return is_good;
}

TEST_F(Qcow2BitmapsTest, AnErrorOfAnyCallLeavesASoundImage) {
  RecordingState sound;
  sound.begin(make_image({.cluster_bits = 9}, 6u << 20));
  run(make_bitmaps(sound));
  std::uint64_t failures = 0;
  for (std::uint64_t call = 0; !HasFailure(); ++call) {
    SCOPED_TRACE(call);
    RecordingState state;
    state.begin(sound.bytes);
    state.fails_at = call;
    const bool is_good = run(change_bitmaps(state));
    if (state.calls <= call) break;
    state.fails_at.reset();
    (void)leaks_of(state);
    OpenedImage left(state, kReadOnly);
    ASSERT_TRUE(run(left.open()));
    const Bytes guest = run(left.guest_bytes());
    for (const auto& [name, contents] : contents_of(left.disk())) {
      EXPECT_FALSE(is_good && name == "second");
      // The write stands in each bitmap that counts.
      if (contents && guest[0] != std::byte{0}) EXPECT_EQ(contents->words[0] & 1, 1u) << name;
    }
    failures += is_good ? 0 : 1;
  }
  EXPECT_GT(failures, 20u);
}

TEST_F(Qcow2BitmapsTest, AFileThatCannotGrowKeepsItsImage) {
  RecordingState sound;
  sound.begin(make_image({.cluster_bits = 9}, 6u << 20));
  run(make_bitmaps(sound));
  EXPECT_EQ(leaks_of(sound), 0u);
  for (std::uint64_t more = 0; more < 20 * 512; more += 512) {
    SCOPED_TRACE(more);
    RecordingState state;
    state.begin(sound.bytes);
    state.bytes_max = sound.bytes.size() + more;
    const bool is_good = run(change_bitmaps(state));
    (void)leaks_of(state);
    OpenedImage left(state, kReadOnly);
    ASSERT_TRUE(run(left.open()));
    for (const auto& [name, contents] : contents_of(left.disk())) EXPECT_EQ(contents.has_value(), is_good) << name;
  }
}

TEST_F(Qcow2BitmapsTest, TheImageSaysWhichBitmapsAreInUse) {
  RecordingState state;
  state.begin(make_image({.cluster_bits = 12}, 6u << 20));
  run(make_bitmaps(state));
  OpenedImage image(state, kWritable);
  ASSERT_TRUE(run(image.open()));
  const auto flags = [&] {
    schema::ImageInfo info;
    image.disk().driver().describe_image(info);
    std::string text;
    constexpr auto kIndex = static_cast<std::size_t>(schema::ImageInfoSpecificKind::kQcow2);
    const auto& specific = std::get<kIndex>(info.format_specific->branch).data;
    for (const auto& bitmap : *specific.bitmaps) text += std::to_string(bitmap.flags.size());
    return text;
  };
  EXPECT_EQ(flags(), "111");
  ASSERT_TRUE(run(image.bitmaps().begin_use()));
  EXPECT_EQ(flags(), "222");
  ASSERT_TRUE(run(block::store_image_bitmaps(image.disk(), nullptr)));
  EXPECT_EQ(flags(), "111");
}

TEST_F(Qcow2BitmapsTest, AnImageGetsNoMoreBitsThanCanBeLoaded) {
  RecordingState state;
  state.begin(make_image({.cluster_bits = 16}, std::uint64_t{4} << 40));
  OpenedImage image(state, kWritable);
  ASSERT_TRUE(run(image.open()));
  // Each has 512 MiB of bits.
  ASSERT_TRUE(run(image.add("first", 1024)));
  ASSERT_TRUE(run(image.add("second", 1024)));
  const auto third = run(image.add("third", 65536));
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().message(), "The image has more than 4096 bitmaps, or more than 1073741824 bytes of bitmaps");
  ASSERT_TRUE(run(block::store_image_bitmaps(image.disk(), nullptr)));
  OpenedImage again(state, kReadOnly);
  EXPECT_TRUE(run(again.open()));
}

TEST_F(Qcow2BitmapsTest, AnImageWithMoreBitsThanTheLimitIsNotOpened) {
  RecordingState state;
  state.begin(make_image({.cluster_bits = 16}, 1u << 20));
  OpenedImage image(state, kWritable);
  ASSERT_TRUE(run(image.open()));
  for (const char* name : {"first", "second", "third"}) ASSERT_TRUE(run(image.add(name, 512)));
  ASSERT_TRUE(run(block::store_image_bitmaps(image.disk(), nullptr)));
  // Bitmaps in use may have another size than the disk.
  ASSERT_TRUE(run(image.bitmaps().begin_use()));
  ByteWriter(std::span(state.bytes).subspan(24)).u64(std::uint64_t{4} << 40);
  ByteWriter(std::span(state.bytes).subspan(36)).u32(8192);
  state.bytes.resize(64u << 20);
  OpenedImage hostile(state, kReadOnly);
  const Result<> opened = run(hostile.open());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().message(), "The image has more than 4096 bitmaps, or more than 1073741824 bytes of bitmaps");
}

TEST_F(Qcow2BitmapsTest, WhatDoesNotFitTheFormatIsRefused) {
  RecordingState state;
  state.begin(make_image({.cluster_bits = 16}, std::uint64_t{4} << 40));
  OpenedImage image(state, kWritable);
  ASSERT_TRUE(run(image.open()));
  const auto refusal = [&](std::string name, std::uint32_t granularity_bytes) {
    const Result<> checked = image.bitmaps().check_addition(
        image.disk().bitmaps().list(),
        {.name = name, .size_bytes = image.disk().size_bytes(), .granularity_bytes = granularity_bytes});
    return checked ? "" : checked.error().message();
  };
  EXPECT_EQ(refusal("b", 1024), "");
  EXPECT_EQ(refusal("b", 512), "Too much space will be occupied by the bitmap. Use larger granularity");
  EXPECT_EQ(refusal(std::string(1023, 'b'), 65536), "");
  EXPECT_EQ(refusal(std::string(1024, 'b'), 65536), "Name length exceeds maximum (1023 characters)");
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

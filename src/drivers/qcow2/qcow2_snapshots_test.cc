// Snapshots in qcow2 images through the driver, while a writer goes on: each shows the bytes of its moment, and after
// an error or a power cut at any moment the image has the snapshots before or those after, right bytes, and no damage.
#include "drivers/qcow2/qcow2_snapshots.h"

#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "aio/sync/scope.h"
#include "aio/testing/seeds.h"
#include "base/byte_writer.h"
#include "block/image_bitmaps.h"
#include "block/testing/reactor_test.h"
#include "block/testing/reactors.h"
#include "drivers/qcow2/check/check.h"
#include "drivers/qcow2/qcow2_open.h"
#include "drivers/qcow2/testing/memory_image.h"
#include "drivers/qcow2/testing/recording_file.h"
#include "drivers/qcow2/testing/snapshot_image.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = SnapshotImageBytes;
constexpr std::uint64_t kSector = kSnapshotImageSector;

// The bytes that the image may show: of each sector every byte that it may have had since the last flush.
struct Model {
  explicit Model(std::uint64_t sectors) : now(sectors), allowed(sectors) {
    for (auto& one : allowed) one.insert(std::byte{0});
  }
  Bytes now;
  std::vector<std::set<std::byte>> allowed;
  std::map<std::string, Bytes> snapshots;  // that the image has
  std::optional<std::string> changing;     // it may have this one too, or not have it
  std::map<std::string, Bytes> changing_content;

  void begin(std::uint64_t sector, std::uint64_t count, std::byte fill) {
    for (std::uint64_t i = sector; i < sector + count; ++i) allowed[i].insert(fill);
  }
  void end(std::uint64_t sector, std::uint64_t count, std::byte fill) {
    for (std::uint64_t i = sector; i < sector + count; ++i) now[i] = fill;
  }
  void flushed() {
    for (std::size_t i = 0; i < now.size(); ++i) allowed[i] = {now[i]};
  }
};

aio::Task<void> verify(RecordingState& state, const Model& model, bool is_exact) {
  {
    OpenedImage image(state);
    const CheckReport report = co_await check(image);
    if (is_exact) EXPECT_EQ(report.leaks, 0u) << report.findings.front();
    EXPECT_TRUE(co_await image.open());
    const Bytes shown = co_await image.sectors();
    EXPECT_EQ(shown.size(), model.now.size());
    for (std::size_t i = 0; i < std::min(shown.size(), model.now.size()) && !testing::Test::HasFailure(); ++i) {
      EXPECT_TRUE(is_exact ? shown[i] == model.now[i] : model.allowed[i].contains(shown[i]))
          << "sector " << i << " has " << int(shown[i]);
    }
    std::set<std::string> ids = image.ids();
    if (model.changing) ids.erase(*model.changing);
    std::set<std::string> expected;
    for (const auto& [id, content] : model.snapshots) expected.insert(id);
    if (model.changing) expected.erase(*model.changing);
    EXPECT_EQ(ids, expected);
  }
  std::map<std::string, Bytes> contents = model.snapshots;
  if (model.changing) contents.insert(model.changing_content.begin(), model.changing_content.end());
  for (const auto& [id, content] : contents) {
    RecordingState copy;
    copy.begin(state.bytes);
    OpenedImage image(copy);
    EXPECT_TRUE(co_await image.open());
    if (!image.ids().contains(id)) continue;
    const Result<> applied = co_await image.snapshots().apply(id);
    EXPECT_TRUE(applied) << applied.error().message();
    EXPECT_EQ(co_await image.sectors(), content) << "of snapshot " << id;
    (void)co_await check(image);
    if (testing::Test::HasFailure()) co_return;
  }
}

class Course final : RecordingObserver {
 public:
  Course(Geometry geometry, std::uint64_t seed)
      : random_(seed),
        disk_bytes_(geometry.cluster_bytes() * 96),
        step_bytes_(seed % 2 == 0 ? kSnapshotStepBytesMax : 1),
        model_(0) {
    model_ = Model(disk_bytes_ / kSector);
    file_.begin(make_image(geometry, disk_bytes_));
  }

  RecordingState& file() { return file_; }
  const Model& model() const { return model_; }
  unsigned sample_every = 0;
  std::uint64_t power_cuts_checked = 0;
  std::uint64_t taken = 0;
  std::uint64_t deleted = 0;
  bool may_fail = false;  // calls of the file may
  bool allows_overflow = false;

  aio::Task<void> run(int steps) {
    file_.observer = this;
    file_.turns = &random_;
    image_ = std::make_unique<OpenedImage>(file_, step_bytes_);
    const Result<> opened = co_await image_->open();
    EXPECT_TRUE(opened || may_fail);
    if (!opened) co_return;
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      co_await step();
      co_await check_power_cuts();
    }
    const IoResult flushed = co_await image_->disk().flush();
    EXPECT_TRUE(flushed || may_fail);
    if (flushed) model_.flushed();
    co_await check_power_cuts();
    image_.reset();
  }

 private:
  struct PowerCut {
    Bytes file;
    Model model;
  };

  void before_change() override {
    if (sample_every == 0 || random_() % sample_every != 0) return;
    power_cuts_.push_back({.file = file_.after_power_cut(random_), .model = model_});
  }

  aio::Task<void> step() {
    switch (random_() % 6) {
      case 0:
        co_return co_await take();
      case 1:
        if (model_.snapshots.size() > 1) co_return co_await remove();
        co_return co_await take();
      case 2:
        if (random_() % 4 == 0 && !model_.snapshots.empty() && !may_fail) co_return co_await apply();
        co_return co_await flush();
      default:
        co_return co_await write();
    }
  }

  aio::Task<void> write() {
    const std::uint64_t per_cluster = disk_bytes_ / kSector / 96;
    const bool is_whole = random_() % 3 == 0;
    const std::uint64_t count = is_whole ? per_cluster : 1 + random_() % (2 * per_cluster);
    std::uint64_t sector = random_() % (model_.now.size() - count + 1);
    if (is_whole) sector -= sector % per_cluster;
    const auto fill = static_cast<std::byte>(random_());
    const unsigned kind = static_cast<unsigned>(random_() % 6);
    model_.begin(sector, count, kind == 0 && is_whole ? std::byte{0} : fill);
    IoResult done;
    if (kind == 0 && is_whole) {
      done =
          co_await image_->disk().write_zeroes({sector * kSector, count * kSector}, {.may_unmap = random_() % 2 == 0});
      if (done) model_.end(sector, count, std::byte{0});
    } else {
      done = co_await image_->write(sector, count, fill, kind == 1);
      if (done) model_.end(sector, count, fill);
    }
    EXPECT_TRUE(done || may_fail);
    // It may have changed a part of them.
    if (!done) model_.now = co_await image_->sectors();
  }

  aio::Task<void> flush() {
    const IoResult flushed = co_await image_->disk().flush();
    EXPECT_TRUE(flushed || may_fail);
    if (flushed) model_.flushed();
  }

  aio::Task<void> write_meanwhile(bool& ends) {
    while (!ends && !testing::Test::HasFailure()) {
      if (random_() % 5 == 0) {
        co_await flush();
      } else {
        co_await write();
      }
      for (std::uint64_t turns = random_() % 30; turns > 0; --turns) co_await aio::next_turn();
    }
  }

  // Writes go on during the work.
  aio::Task<Result<>> with_writer(aio::Task<Result<>> work) {
    bool ends = false;
    aio::Scope scope(co_await aio::current_reactor());
    scope.spawn("write meanwhile", write_meanwhile(ends));
    Result<> done = co_await std::move(work);
    ends = true;
    co_await scope.join();
    co_return done;
  }

  aio::Task<void> take() {
    const auto begun = co_await image_->snapshots().begin({.name = "a name"});
    EXPECT_TRUE(begun || may_fail || allows_overflow) << begun.error().message();
    if (!begun) co_return;
    model_.flushed();
    model_.changing = *begun;
    model_.changing_content = {{*begun, model_.now}};
    const Bytes content = model_.now;
    Result<> done = co_await with_writer(image_->snapshots().finish(*begun));
    EXPECT_TRUE(done || may_fail || allows_overflow) << done.error().message();
    const bool cancels = !done || random_() % 5 == 0;
    if (cancels) {
      done = co_await with_writer(image_->snapshots().cancel(*begun));
      EXPECT_TRUE(done || may_fail) << done.error().message();
    }
    end_change(*begun, content, !cancels);
    taken += cancels ? 0 : 1;
  }

  void end_change(const std::string& id, const Bytes& content, bool is_there) {
    // After an error the header on disk may be either.
    if (may_fail) is_there = image_->ids().contains(id);
    if (is_there) model_.snapshots[id] = content;
    if (!is_there) model_.snapshots.erase(id);
    if (!may_fail) model_.changing.reset();
  }

  aio::Task<void> remove() {
    const auto any =
        std::next(model_.snapshots.begin(), static_cast<std::ptrdiff_t>(random_() % model_.snapshots.size()));
    const std::string id = any->first;
    const Bytes content = any->second;
    model_.changing = id;
    model_.changing_content = {{id, content}};
    const Result<> done = co_await with_writer(image_->snapshots().remove(id));
    EXPECT_TRUE(done || may_fail) << done.error().message();
    end_change(id, content, false);
    ++deleted;
  }

  aio::Task<void> apply() {
    const auto any =
        std::next(model_.snapshots.begin(), static_cast<std::ptrdiff_t>(random_() % model_.snapshots.size()));
    // The bytes before or the bytes after, which is more than the model can say.
    const unsigned every = std::exchange(sample_every, 0);
    const Result<> done = co_await image_->snapshots().apply(any->first);
    EXPECT_TRUE(done) << done.error().message();
    model_.now = any->second;
    model_.flushed();
    sample_every = every;
  }

  aio::Task<void> check_power_cuts() {
    for (PowerCut& cut : std::exchange(power_cuts_, {})) {
      if (testing::Test::HasFailure()) co_return;
      RecordingState left;
      left.begin(std::move(cut.file));
      co_await verify(left, cut.model, false);
      ++power_cuts_checked;
    }
  }

  std::mt19937_64 random_;
  std::uint64_t disk_bytes_;
  std::uint64_t step_bytes_;  // one table in each step, or all
  RecordingState file_;
  Model model_;
  std::unique_ptr<OpenedImage> image_;
  std::vector<PowerCut> power_cuts_;
};

// The file is in memory, so the kinds of reactors with threads would repeat what the simulation does.
class Qcow2SnapshotsTest : public block::ReactorTest {
 protected:
  void SetUp() override {
    if (!block::Reactors::are_simulated()) GTEST_SKIP() << "it runs in the simulation";
  }
};

const std::vector<Geometry> kGeometries = {{.cluster_bits = 9},
                                           {.cluster_bits = 12},
                                           {.cluster_bits = 9, .refcount_order = 6},
                                           {.cluster_bits = 14, .extended_l2 = true},
                                           {.cluster_bits = 10, .zero_flag = false}};

TEST_F(Qcow2SnapshotsTest, SnapshotsShowTheBytesOfTheirMoments) {
  std::uint64_t taken = 0;
  std::uint64_t deleted = 0;
  for (const Geometry& geometry : kGeometries) {
    for (std::uint64_t seed = 0; seed < aio::testing::seeds_here(20) && !HasFailure(); ++seed) {
      SCOPED_TRACE(testing::Message() << geometry.cluster_bits << " " << geometry.refcount_order << " " << seed);
      Course course(geometry, seed);
      run(course.run(60));
      course.file().observer = nullptr;
      course.file().turns = nullptr;
      if (!HasFailure()) run(verify(course.file(), course.model(), true));
      taken += course.taken;
      deleted += course.deleted;
    }
  }
  EXPECT_GT(taken, 0u);
  EXPECT_GT(deleted, 0u);
}

std::uint64_t power_cut_seeds() {
  return std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 1000 : aio::testing::seeds_here(8);
}

TEST_F(Qcow2SnapshotsTest, APowerCutLeavesTheSnapshotsBeforeOrAfter) {
  std::uint64_t power_cuts = 0;
  for (const Geometry& geometry : kGeometries) {
    for (std::uint64_t seed = 1000; seed < 1000 + power_cut_seeds() && !HasFailure(); ++seed) {
      SCOPED_TRACE(testing::Message() << geometry.cluster_bits << " " << geometry.refcount_order << " " << seed);
      Course course(geometry, seed);
      course.sample_every = 7;
      run(course.run(16));
      power_cuts += course.power_cuts_checked;
    }
  }
  RecordProperty("count", std::to_string(power_cuts));
  EXPECT_GT(power_cuts, 50 * power_cut_seeds());
}

TEST_F(Qcow2SnapshotsTest, AnErrorOfAnyCallLeavesASoundImage) {
  std::uint64_t courses = 0;
  const std::uint64_t every = std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 1000 : 40 * aio::testing::seeds_here(4);
  for (std::uint64_t call = 0; call < 3000 && !HasFailure(); call += 1 + call / every) {
    SCOPED_TRACE(call);
    Course course({.cluster_bits = 9}, call % 7);
    course.may_fail = true;
    course.file().fails_at = call;
    run(course.run(20));
    course.file().fails_at.reset();
    course.file().observer = nullptr;
    course.file().turns = nullptr;
    Model model = course.model();
    // The course has closed an image that it may not have flushed: whatever was begun may be there.
    if (!HasFailure()) run(verify(course.file(), model, false));
    ++courses;
  }
  EXPECT_GT(courses, 50u);
  RecordProperty("count", std::to_string(courses));
}

// An operation that meets a snapshot.
enum class Meeting : std::uint8_t { kWrite, kCompressedWrite, kZeroes, kDiscard, kRead, kFlush };
constexpr Meeting kMeetings[] = {
    Meeting::kWrite, Meeting::kCompressedWrite, Meeting::kZeroes, Meeting::kDiscard, Meeting::kRead, Meeting::kFlush};

// A snapshot and an operation on the same clusters, one of them held at one of its calls while the other goes on.
class Pause {
 public:
  Pause(const Bytes& file, bool deletes, Meeting meeting) : deletes_(deletes), meeting_(meeting), model_(0) {
    file_.begin(file);
  }

  bool was_held = false;

  aio::Task<void> run(std::uint64_t call, bool holds_operation) {
    OpenedImage image(file_);
    EXPECT_TRUE(co_await image.open());
    model_ = Model((co_await image.sectors()).size());
    model_.now = co_await image.sectors();
    model_.flushed();
    const std::string first = co_await take(image);
    model_.snapshots[first] = model_.now;
    co_await write(image, 4, std::byte{0x33});
    EXPECT_TRUE(co_await image.disk().flush());
    model_.flushed();
    std::string id = first;
    if (!deletes_) {
      const auto begun = co_await image.snapshots().begin({.name = "second"});
      EXPECT_TRUE(begun);
      id = *begun;
    }
    model_.changing = id;
    model_.changing_content = {{id, deletes_ ? model_.snapshots[id] : model_.now}};
    file_.gate = &gate_;
    aio::Scope scope(co_await aio::current_reactor());
    gate_.hold_after(call);
    scope.spawn("one", holds_operation ? operate(image) : change(image, id));
    co_await pass_turns();
    was_held = gate_.held() == 1;
    gate_.hold_none();
    scope.spawn("other", holds_operation ? change(image, id) : operate(image));
    co_await pass_turns();
    cuts_.push_back(file_.bytes);
    cuts_.push_back(file_.durable);
    if (was_held) gate_.release(0);
    co_await scope.join();
    file_.gate = nullptr;
    for (const Bytes& cut : cuts_) {
      RecordingState left;
      left.begin(cut);
      co_await verify(left, model_, false);
    }
    EXPECT_TRUE(co_await image.disk().flush());
    EXPECT_TRUE(co_await image.disk().flush());
    model_.changing.reset();
    if (deletes_) model_.snapshots.erase(id);
    if (!deletes_) model_.snapshots[id] = model_.changing_content[id];
    co_await verify(file_, model_, true);
  }

 private:
  static aio::Task<std::string> take(OpenedImage& image) {
    const auto begun = co_await image.snapshots().begin({.name = "first"});
    EXPECT_TRUE(begun);
    EXPECT_TRUE(co_await image.snapshots().finish(*begun));
    co_return *begun;
  }
  // Over two clusters, not the whole of them.
  aio::Task<void> write(OpenedImage& image, std::uint64_t sector, std::byte fill) {
    model_.begin(sector, 10, fill);
    EXPECT_TRUE(co_await image.write(sector, 10, fill));
    model_.end(sector, 10, fill);
  }
  // Sectors 8 to 24 are two whole clusters.
  aio::Task<void> operate(OpenedImage& image) {
    switch (meeting_) {
      case Meeting::kWrite:
        co_return co_await write(image, 2, std::byte{0x44});
      case Meeting::kCompressedWrite:
        model_.begin(8, 16, std::byte{0x55});
        EXPECT_TRUE(co_await image.write(8, 16, std::byte{0x55}, true));
        model_.end(8, 16, std::byte{0x55});
        co_return;
      case Meeting::kZeroes:
      case Meeting::kDiscard:
        model_.begin(8, 16, std::byte{0});
        if (meeting_ == Meeting::kDiscard) {
          EXPECT_TRUE(co_await image.disk().discard({8 * kSector, 16 * kSector}));
        } else {
          EXPECT_TRUE(co_await image.disk().write_zeroes({8 * kSector, 16 * kSector}, {.may_unmap = true}));
        }
        model_.end(8, 16, std::byte{0});
        co_return;
      case Meeting::kRead:
        EXPECT_EQ(co_await image.sectors(), model_.now);
        co_return;
      case Meeting::kFlush:
        EXPECT_TRUE(co_await image.disk().flush());
        co_return;
    }
  }
  aio::Task<void> change(OpenedImage& image, std::string id) {
    const Result<> done = deletes_ ? co_await image.snapshots().remove(id) : co_await image.snapshots().finish(id);
    EXPECT_TRUE(done) << done.error().message();
  }
  static aio::Task<void> pass_turns() {
    for (int turns = 0; turns < 400; ++turns) co_await aio::next_turn();
  }

  bool deletes_;
  Meeting meeting_;
  RecordingState file_;
  RecordingGate gate_;
  Model model_;
  std::vector<Bytes> cuts_;
};

TEST_F(Qcow2SnapshotsTest, AnOperationAndASnapshotMeetAtEachPause) {
  RecordingState filled;
  filled.begin(make_image({.cluster_bits = 12}, 1u << 20));
  const auto fill = [](RecordingState& state) -> aio::Task<void> {
    OpenedImage image(state);
    EXPECT_TRUE(co_await image.open());
    EXPECT_TRUE(co_await image.write(0, 40, std::byte{0x11}));
    EXPECT_TRUE(co_await image.write(16, 8, std::byte{0x22}, true));
    EXPECT_TRUE(co_await image.disk().flush());
    EXPECT_TRUE(co_await image.disk().flush());
  };
  run(fill(filled));
  std::uint64_t pauses = 0;
  const auto meet = [&](bool deletes, Meeting meeting, bool holds_operation) {
    for (std::uint64_t call = 0; call < 200 && !HasFailure(); ++call) {
      SCOPED_TRACE(testing::Message() << deletes << " " << int(meeting) << " " << holds_operation << " " << call);
      Pause pause(filled.bytes, deletes, meeting);
      run(pause.run(call, holds_operation));
      if (!pause.was_held) return;
      ++pauses;
    }
  };
  for (const bool deletes : {false, true}) {
    for (const Meeting meeting : kMeetings) {
      meet(deletes, meeting, false);
      meet(deletes, meeting, true);
    }
  }
  EXPECT_GT(pauses, 200u);
  RecordProperty("count", std::to_string(pauses));
}

// Two snapshots in an image whose tables say what they like.
aio::Task<void> make_two(RecordingState& state) {
  OpenedImage image(state);
  EXPECT_TRUE(co_await image.open());
  for (const std::byte fill : {std::byte{1}, std::byte{2}}) {
    EXPECT_TRUE(co_await image.write(0, 60, fill));
    EXPECT_TRUE(co_await image.write(8 * static_cast<std::uint64_t>(fill), 8, fill, true));
    EXPECT_TRUE(co_await image.disk().flush());
    const auto begun = co_await image.snapshots().begin({.name = "s"});
    EXPECT_TRUE(begun && co_await image.snapshots().finish(*begun));
  }
  EXPECT_TRUE(co_await image.write(3, 30, std::byte{3}));
  EXPECT_TRUE(co_await image.disk().flush());
}

// Whatever succeeds or fails.
aio::Task<void> change_all(RecordingState& state, std::uint64_t order) {
  OpenedImage image(state);
  if (!co_await image.open()) co_return;
  for (unsigned i = 0; i < 6; ++i, order >>= 2) {
    const std::set<std::string> ids = image.ids();
    const std::string id = ids.empty() ? "1" : *ids.begin();
    const unsigned kind = order & 3;
    if (kind == 0) (void)co_await image.snapshots().remove(id);
    if (kind == 1) (void)co_await image.snapshots().apply(id);
    if (kind == 2) (void)co_await image.write(order % 50, 12, std::byte{9});
    if (kind == 3) {
      (void)co_await image.disk().flush();
      const auto begun = co_await image.snapshots().begin({.name = "s"});
      if (begun && !co_await image.snapshots().finish(*begun)) (void)co_await image.snapshots().cancel(*begun);
    }
  }
  (void)co_await image.disk().flush();
}

TEST_F(Qcow2SnapshotsTest, DamagedTablesOfSnapshotsLeaveTheHeaderAlone) {
  RecordingState sound;
  sound.begin(make_image({.cluster_bits = 12}, 1u << 20));
  run(make_two(sound));
  const std::uint64_t clusters = sound.bytes.size() >> 12;
  std::mt19937_64 random(1);
  const std::uint64_t images =
      std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 10'000 : 50 * aio::testing::seeds_here(20);
  for (std::uint64_t i = 0; i < images && !HasFailure(); ++i) {
    SCOPED_TRACE(i);
    RecordingState state;
    state.begin(sound.bytes);
    for (std::uint64_t faults = 1 + random() % 3; faults > 0; --faults) {
      // Any word of any table; often one that refers to a cluster of the image.
      const std::uint64_t word = 4096 + random() % (state.bytes.size() - 4096) / 8 * 8;
      std::uint64_t value = random() % 3 == 0 ? random() : random() % (clusters + 2) << 12;
      if (random() % 2 == 0) value |= kEntryCopied;
      ByteWriter(std::span(state.bytes).subspan(word, 8)).u64(value);
    }
    state.begin(std::move(state.bytes));
    run(change_all(state, random()));
    EXPECT_EQ(std::memcmp(state.bytes.data(), "QFI\xfb", 4), 0);
  }
}

aio::Task<std::string> refusals(RecordingState& state, int snapshots) {
  OpenedImage image(state);
  EXPECT_TRUE(co_await image.open());
  for (std::uint64_t sector = 0; sector < 64; ++sector) {
    EXPECT_TRUE(co_await image.write(sector, 1, static_cast<std::byte>(sector + 1)));
  }
  std::string refused;
  for (int i = 0; i < snapshots; ++i) {
    EXPECT_TRUE(co_await image.disk().flush());
    const auto begun = co_await image.snapshots().begin({.name = "s"});
    Result<> done = begun ? co_await image.snapshots().finish(*begun) : fail(begun.error().clone());
    if (begun && !done) EXPECT_TRUE(co_await image.snapshots().cancel(*begun));
    refused += done ? "." : done.error().message() + ";";
  }
  EXPECT_TRUE(co_await image.write(3, 1, std::byte{99}));
  EXPECT_TRUE(co_await image.disk().flush());
  const Bytes shown = co_await image.sectors();
  EXPECT_EQ(shown[3], std::byte{99});
  EXPECT_EQ(shown[4], std::byte{5});
  const CheckReport report = co_await check(image);
  EXPECT_EQ(report.leaks, 0u);
  co_return refused;
}

TEST_F(Qcow2SnapshotsTest, ARefcountThatWouldOverflowRefusesTheSnapshot) {
  RecordingState one;
  one.begin(make_image({.cluster_bits = 9, .refcount_order = 0}, 64u << 10));
  EXPECT_EQ(run(refusals(one, 1)), "Invalid argument;");
  RecordingState two;
  two.begin(make_image({.cluster_bits = 9, .refcount_order = 1}, 64u << 10));
  EXPECT_EQ(run(refusals(two, 4)), "..Invalid argument;Invalid argument;");
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

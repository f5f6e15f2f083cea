// Two operations on the same guest clusters, of which the first is held at each of its calls to the files while the
// second runs to its end, or until it is held itself or waits for the first: no reader and no file gets bytes of
// another place, and the image stays consistent.
#include <cstdlib>

#include "aio/sync/scope.h"
#include "aio/testing/seeds.h"
#include "base/clock.h"
#include "block/testing/reactor_test.h"
#include "block/testing/reactors.h"
#include "drivers/qcow2/check/check.h"
#include "drivers/qcow2/testing/workload.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = std::vector<std::byte>;
using block::Range;

// Longer than an operation takes between two calls that are held; after them an operation waits for another one.
constexpr int kTurnsMax = 100;
constexpr std::uint64_t kDecompressionNs = 200'000;
constexpr std::uint64_t kHangNs = 60'000'000'000;
// Calls of a pair are far fewer.
constexpr std::uint64_t kCallsMax = 200;

bool is_thorough() {
  return std::getenv("BLOCKEXPORT_THOROUGH") != nullptr;
}

struct Operation {
  std::string name;
  std::vector<WorkloadStep> steps;
};

// Operations on one cluster. The last ones give its host cluster to another guest cluster.
std::vector<Operation> operations(const WorkloadKind& kind, std::uint64_t target, std::byte value) {
  const Geometry geometry = WorkloadFilesBuilder(kind).geometry();
  const WorkloadStep flush{.verb = WorkloadVerb::kFlush};
  const auto on_target = [&](WorkloadVerb verb) { return on_cluster(verb, target, geometry); };
  WorkloadStep elsewhere = on_cluster(WorkloadVerb::kWrite, kUnallocatedCluster, geometry);
  if (target == kUnallocatedCluster) elsewhere = on_cluster(WorkloadVerb::kWrite, kPlainZeroes, geometry);
  std::vector<Operation> list = {
      {"read", {on_cluster(WorkloadVerb::kRead, target, geometry, 2)}},
      {"write of a part", {part_of(target, geometry)}},
      {"write", {on_target(WorkloadVerb::kWrite)}},
      {"write over two", {over_two(target, geometry)}},
      {"zeroes", {on_target(WorkloadVerb::kZeroes)}},
      {"zeroes with unmap", {on_target(WorkloadVerb::kZeroesUnmap)}},
      {"discard", {on_target(WorkloadVerb::kDiscard)}},
      {"flush", {flush}},
      {"discard and reuse", {on_target(WorkloadVerb::kDiscard), flush, flush, elsewhere}},
      {"discard, write and flush", {on_target(WorkloadVerb::kDiscard), on_target(WorkloadVerb::kWrite), flush}},
  };
  if (!kind.shape.data_file) {
    list.push_back({"compressed write", {on_cluster(WorkloadVerb::kCompress, target, geometry, 2)}});
  }
  for (Operation& operation : list) {
    for (WorkloadStep& step : operation.steps) step.value = value;
  }
  return list;
}

// Values of each unit of the disk.
class Values {
 public:
  explicit Values(std::span<const std::byte> disk) {
    for (std::size_t i = 0; i < disk.size(); i += kUnitBytes) units_.push_back({disk[i]});
  }
  void apply(const Operation& operation, std::uint64_t disk_bytes) {
    for (const WorkloadStep& step : operation.steps) {
      const Range range = changed_by(step, disk_bytes);
      const std::byte value = writes_value(step) ? step.value : std::byte{0};
      for (std::uint64_t i = range.offset / kUnitBytes; i < range.end() / kUnitBytes; ++i) units_[i].push_back(value);
    }
  }
  std::size_t size() const { return units_.size(); }
  bool has(std::size_t unit, std::byte value) const {
    return std::ranges::find(units_[unit], value) != units_[unit].end();
  }
  std::byte last(std::size_t unit) const { return units_[unit].back(); }
  bool is_changed(std::size_t unit) const { return units_[unit].size() > 1; }

 private:
  std::vector<std::vector<std::byte>> units_;
};

// One pair of operations with chosen pauses.
class Pair {
 public:
  Pair(const WorkloadKind& kind, const WorkloadFiles& files, const Operation& first, const Operation& second)
      : kind_(kind), files_(files), first_(first), second_(second), before_(files.disk), values_(files.disk) {
    file_.begin(files.file);
    data_.begin(files.data);
    backing_.begin(files.backing);
  }

  struct Pauses {
    std::uint64_t first = 0;              // number of the call of the first operation that is held
    std::optional<std::uint64_t> second;  // the same of the second one; nullopt: none
    bool releases_second_first = false;
  };
  bool first_was_held = false;
  bool second_was_held = false;

  aio::Task<void> run(Pauses pauses) {
    image_ = std::make_unique<WorkloadImage>(kind_, file_, data_, backing_);
    EXPECT_EQ(co_await image_->open(), "");
    co_await prepare();
    file_.gate = data_.gate = backing_.gate = &gate_;
    aio::Scope scope(co_await aio::current_reactor());
    gate_.hold_after(pauses.first);
    scope.spawn("first", run_operation(first_, first_ended_));
    co_await wait([&] { return first_ended_ || gate_.held() == 1; });
    first_was_held = gate_.held() == 1;
    if (pauses.second) gate_.hold_after(*pauses.second);
    if (!pauses.second) gate_.hold_none();
    scope.spawn("second", run_operation(second_, second_ended_));
    co_await wait([&] { return second_ended_ || gate_.held() > (first_was_held ? 1 : 0); });
    second_was_held = gate_.held() > (first_was_held ? 1 : 0);
    gate_.hold_none();
    check_power_cut();
    const std::size_t held = gate_.held();
    for (std::size_t i = 0; i < held; ++i) {
      gate_.release(pauses.releases_second_first ? held - 1 - i : i);
      co_await wait([&] { return first_ended_ && second_ended_; });
    }
    // Nothing is held any more, so that this ends unless they wait for each other.
    co_await wait([&] { return first_ended_ && second_ended_; }, kHangNs);
    EXPECT_TRUE(first_ended_ && second_ended_) << "an operation hangs";
    if (!first_ended_ || !second_ended_) std::abort();
    co_await scope.join();
    co_await check_power_cuts();
    co_await check_end();
  }

 private:
  // Changes that are not durable yet: a flush of the pair has every step to do.
  aio::Task<void> prepare() {
    const Geometry geometry = WorkloadFilesBuilder(kind_).geometry();
    WorkloadStep write = on_cluster(WorkloadVerb::kWrite, kLastCluster, geometry);
    write.value = std::byte{0x11};
    const Operation preparation{"preparation", {write, on_cluster(WorkloadVerb::kDiscard, kMoreOwnData, geometry)}};
    bool ended = false;
    co_await run_operation(preparation, ended);
    before_.apply(preparation, files_.disk.size());
    values_.apply(preparation, files_.disk.size());
    before_now_ = Values(co_await content(*image_));
    values_ = *before_now_;
    values_.apply(first_, files_.disk.size());
    values_.apply(second_, files_.disk.size());
  }

  aio::Task<void> run_operation(const Operation& operation, bool& ended) {
    for (const WorkloadStep& step : operation.steps) {
      Bytes bytes;
      const bool done = co_await image_->run(step, bytes);
      EXPECT_TRUE(done) << describe(step);
      if (step.verb == WorkloadVerb::kRead) expect_known(bytes, step.range.offset, values_, "a read");
    }
    ended = true;
  }

  // Worker threads decompress clusters, which takes real time.
  template <class Condition>
  aio::Task<void> wait(Condition condition, std::uint64_t real_ns = kDecompressionNs) {
    SystemClock real;
    const std::uint64_t begin_ns = real.now_ns();
    for (int turns = 0; !condition(); ++turns) {
      if (turns >= kTurnsMax && real.now_ns() - begin_ns >= real_ns) co_return;
      co_await aio::next_turn();
    }
  }

  static void expect_known(std::span<const std::byte> bytes, std::uint64_t offset, const Values& values,
                           const char* whose) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (values.has((offset + i) / kUnitBytes, bytes[i])) continue;
      ADD_FAILURE() << whose << " has " << static_cast<int>(bytes[i]) << " at " << offset + i;
      return;
    }
  }

  static aio::Task<Bytes> content(WorkloadImage& image) {
    Bytes bytes(image.disk().size_bytes());
    const iovec vector{bytes.data(), bytes.size()};
    EXPECT_TRUE(co_await image.disk().read({0, bytes.size()}, {&vector, 1}));
    co_return bytes;
  }

  // The power goes while both are held: with all writes until then, or with those that were durable.
  void check_power_cut() {
    if (!is_thorough()) return;
    cuts_.push_back({file_.bytes, data_.bytes});
    cuts_.push_back({file_.durable, data_.durable});
  }
  aio::Task<void> check_power_cuts() {
    Values known = before_;
    known.apply(first_, files_.disk.size());
    known.apply(second_, files_.disk.size());
    for (const auto& [file_bytes, data_bytes] : cuts_) {
      RecordingState file;
      RecordingState data;
      file.begin(file_bytes);
      data.begin(data_bytes);
      WorkloadImage left(kind_, file, data, backing_);
      const Result<CheckReport> report = co_await check_image(left.file(), {});
      EXPECT_TRUE(report && report->corruptions == 0 && report->check_errors == 0) << "after a power cut";
      EXPECT_EQ(co_await left.open(), "");
      expect_known(co_await content(left), 0, known, "a power cut");
    }
  }

  // Each unit has the last value of the operation that changed it, of either if both did.
  aio::Task<void> check_end() {
    Values after_first = *before_now_;
    Values after_second = *before_now_;
    after_first.apply(first_, files_.disk.size());
    after_second.apply(second_, files_.disk.size());
    const Bytes now = co_await content(*image_);
    for (std::size_t i = 0; i < now.size(); ++i) {
      const std::size_t unit = i / kUnitBytes;
      const bool by_first = after_first.is_changed(unit) && now[i] == after_first.last(unit);
      const bool by_second = after_second.is_changed(unit) && now[i] == after_second.last(unit);
      const bool unchanged = !after_first.is_changed(unit) && !after_second.is_changed(unit);
      if (by_first || by_second || (unchanged && now[i] == after_first.last(unit))) continue;
      ADD_FAILURE() << "byte " << i << " is " << static_cast<int>(now[i]);
      break;
    }
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(co_await image_->disk().flush());
    const Result<CheckReport> report = co_await check_image(image_->file(), {});
    EXPECT_TRUE(report && report->is_clean()) << (report && !report->findings.empty() ? report->findings[0] : "");
    for (const std::uint64_t kept : files_.kept_clusters) {
      const std::uint64_t length = std::uint64_t{1} << kind_.shape.cluster_bits;
      EXPECT_EQ(std::memcmp(file_.bytes.data() + kept, files_.file.data() + kept, length), 0)
          << "the snapshot's cluster at " << kept << " has changed";
    }
    WorkloadImage again(kind_, file_, data_, backing_);
    EXPECT_EQ(co_await again.open(), "");
    EXPECT_TRUE(co_await content(again) == now) << "after opening it again";
  }

  const WorkloadKind& kind_;
  const WorkloadFiles& files_;
  const Operation& first_;
  const Operation& second_;
  RecordingState file_;
  RecordingState data_;
  RecordingState backing_;
  RecordingGate gate_;
  std::unique_ptr<WorkloadImage> image_;
  Values before_;  // with the values that a power cut may bring back
  std::optional<Values> before_now_;
  Values values_;
  bool first_ended_ = false;
  bool second_ended_ = false;
  std::vector<std::pair<Bytes, Bytes>> cuts_;
};

class Qcow2PausesTest : public block::ReactorTest, public testing::WithParamInterface<WorkloadKind> {
 protected:
  void SetUp() override {
    if (!block::Reactors::are_simulated()) GTEST_SKIP() << "it runs in the simulation";
  }

  // Returns whether the first operation was held, and the second one.
  std::pair<bool, bool> try_pauses(const Operation& first, const Operation& second, Pair::Pauses pauses) {
    Pair pair(GetParam(), files, first, second);
    run(pair.run(pauses));
    ++runs;
    return {pair.first_was_held, pair.second_was_held};
  }

  // Every call of the first operation; and with each of them, in a thorough run, every call of the second one, and both
  // orders in which they go on.
  void try_pair(const Operation& first, const Operation& second) {
    for (std::uint64_t call = 0; call < kCallsMax && !HasFailure(); ++call) {
      SCOPED_TRACE(call);
      const bool was_held = try_pauses(first, second, {.first = call, .second = {}}).first;
      for (std::uint64_t other = 0; is_thorough() && was_held && other < kCallsMax && !HasFailure(); ++other) {
        SCOPED_TRACE(other);
        const bool both = try_pauses(first, second, {.first = call, .second = other}).second;
        if (!both) break;
        try_pauses(first, second, {.first = call, .second = other, .releases_second_first = true});
      }
      if (!was_held) break;
    }
  }

  WorkloadFiles files = WorkloadFilesBuilder(GetParam()).build();
  std::uint64_t runs = 0;
};

TEST_P(Qcow2PausesTest, NoBytesOfAnotherPlaceAppearAtAnyPause) {
  std::vector<std::uint64_t> targets = {kOwnData, kSharedData};
  targets.resize(aio::testing::seeds_here(targets.size()));
  if (is_thorough())
    targets = {kOwnData, kUnallocatedCluster, kReservedZeroes, kCompressedCluster, kSharedData, kPartlyWritten};
  for (const std::uint64_t target : targets) {
    SCOPED_TRACE(target);
    for (const Operation& first : operations(GetParam(), target, std::byte{1})) {
      for (const Operation& second : operations(GetParam(), target, std::byte{2})) {
        SCOPED_TRACE(first.name + " held, " + second.name);
        try_pair(first, second);
        if (HasFailure()) return;
      }
    }
  }
  EXPECT_GT(runs, 100u * targets.size());
  RecordProperty("count", std::to_string(runs));
}

INSTANTIATE_TEST_SUITE_P(Kinds, Qcow2PausesTest, testing::ValuesIn(workload_kinds()), workload_name);

}  // namespace
}  // namespace blockexport::drivers::qcow2

// All workloads of up to three operations on images that have a cluster of each state, and the power cut at every
// write and flush of their files: no corruption, nothing lost that was flushed, and no bytes of another place.
#include <cstdlib>
#include <functional>
#include <string_view>
#include <unordered_set>

#include "aio/testing/seeds.h"
#include "block/testing/reactor_test.h"
#include "block/testing/reactors.h"
#include "drivers/qcow2/check/check.h"
#include "drivers/qcow2/testing/workload.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = std::vector<std::byte>;
using block::Range;

constexpr std::size_t kSteps = 3;

bool is_thorough() {
  return std::getenv("BLOCKEXPORT_THOROUGH") != nullptr;
}

// For each unit of the disk, and for its size, the values that a power cut may leave: the last durable one, and those
// that were begun since then.
class Promises {
 public:
  Promises(std::span<const std::byte> disk, std::uint64_t units) : sizes_({disk.size()}), units_(units) {
    for (std::size_t i = 0; i * kUnitBytes < disk.size(); ++i) units_[i] = {disk[i * kUnitBytes]};
  }

  void begin(Range range, std::byte value) {
    for (std::uint64_t i = range.offset / kUnitBytes; i < range.end() / kUnitBytes; ++i) units_[i].push_back(value);
  }
  // The bytes behind a new end are given up one after the other, and the bytes below may show meanwhile.
  void begin_resize(std::uint64_t size_bytes, std::span<const std::byte> backing) {
    const std::uint64_t before = sizes_.back();
    for (std::uint64_t at = size_bytes; at < before; at += kUnitBytes) {
      if (at < backing.size()) units_[at / kUnitBytes].push_back(backing[at]);
      units_[at / kUnitBytes].push_back(std::byte{0});
    }
    if (before < size_bytes) begin({before, size_bytes - before}, std::byte{0});
    sizes_.push_back(size_bytes);
  }
  void all_is_durable() {
    sizes_ = {sizes_.back()};
    for (auto& values : units_) {
      if (!values.empty()) values = {values.back()};
    }
  }

  std::uint64_t size_bytes() const { return sizes_.back(); }
  // Text for the first difference; empty when everything is as it may be. `is_now`: without a power cut.
  std::string compare(std::span<const std::byte> disk, bool is_now) const {
    const bool size_fits =
        is_now ? disk.size() == sizes_.back() : std::ranges::find(sizes_, disk.size()) != sizes_.end();
    if (!size_fits) return "a size of " + std::to_string(disk.size());
    for (std::size_t i = 0; i < disk.size(); ++i) {
      const auto& values = units_[i / kUnitBytes];
      const std::byte value = disk[i];
      if (is_now ? value == values.back() : std::ranges::find(values, value) != values.end()) continue;
      return "byte " + std::to_string(i) + " is " + std::to_string(static_cast<int>(value));
    }
    return "";
  }
  std::size_t hash() const {
    std::string text;
    for (const std::uint64_t size : sizes_) text += std::to_string(size) + " ";
    for (const auto& values : units_) {
      for (const std::byte value : values) text += static_cast<char>(value);
      text += '\n';
    }
    return std::hash<std::string>()(text);
  }

 private:
  std::vector<std::uint64_t> sizes_;
  std::vector<std::vector<std::byte>> units_;
};

// The contents that power cuts may leave in two files: what was durable, and any of the writes since then. The last
// write may be torn.
class PowerCuts {
 public:
  struct Left {
    Bytes file;
    Bytes data;
    Promises promises;
  };

  PowerCuts(const RecordingState& file, const RecordingState& data) : file_(file), data_(data) {}

  // Collects the states that the writes since the last call make possible; after a flush, all of them.
  void collect(const Promises& promises, bool all) {
    std::vector<Part> parts;
    add_parts(parts, file_, 0, writes_seen_[0]);
    add_parts(parts, data_, 1, writes_seen_[1]);
    writes_seen_ = {file_.writes, data_.writes};
    const std::size_t promised = promises.hash();
    for (const std::uint64_t chosen : choices(parts.size())) {
      bool has_new = all;
      for (std::size_t i = 0; i < parts.size(); ++i) has_new = has_new || (parts[i].is_new && (chosen >> i & 1) != 0);
      if (!has_new) continue;
      keep(parts, chosen, Tear::kNone, promises, promised);
      if (chosen == 0 || !parts.back().is_new || (chosen >> (parts.size() - 1) & 1) == 0) continue;
      for (const Tear tear : {Tear::kFirstHalf, Tear::kSecondHalf, Tear::kWithinLastSector}) {
        keep(parts, chosen, tear, promises, promised);
      }
    }
  }
  // Without collecting what came until now.
  void skip() { writes_seen_ = {file_.writes, data_.writes}; }
  std::vector<Left> take() { return std::exchange(left_, {}); }

 private:
  static constexpr std::size_t kPartsOfAllChoicesMax = 4;
  enum class Tear : std::uint8_t { kNone, kFirstHalf, kSecondHalf, kWithinLastSector };

  struct Part {
    const RecordedWrite* write;
    int file;
    bool is_new;
  };

  static void add_parts(std::vector<Part>& parts, const RecordingState& state, int file, std::uint64_t seen) {
    const std::uint64_t first = state.writes - state.unflushed.size();
    for (std::size_t i = 0; i < state.unflushed.size(); ++i) {
      parts.push_back({&state.unflushed[i], file, first + i >= seen});
    }
  }

  // Sets of writes that are not lost, as bits.
  static std::vector<std::uint64_t> choices(std::size_t parts) {
    std::vector<std::uint64_t> result;
    const std::uint64_t every = (std::uint64_t{1} << parts) - 1;
    if (parts <= kPartsOfAllChoicesMax) {
      for (std::uint64_t chosen = 0; chosen <= every; ++chosen) result.push_back(chosen);
      return result;
    }
    for (std::size_t i = 0; i <= parts; ++i) result.push_back((std::uint64_t{1} << i) - 1);
    for (std::size_t i = 0; i < parts; ++i) {
      result.push_back(every & ~(std::uint64_t{1} << i));
      result.push_back(std::uint64_t{1} << i);
    }
    return result;
  }

  static Range kept_part(std::uint64_t length, Tear tear) {
    const std::uint64_t half = length / 2 / RecordingState::kSectorBytes * RecordingState::kSectorBytes;
    switch (tear) {
      case Tear::kFirstHalf:
        return {0, half};
      case Tear::kSecondHalf:
        return {half, length - half};
      case Tear::kWithinLastSector:
        return {0, length > kUnitBytes ? length - kUnitBytes : length};
      default:
        return {0, length};
    }
  }
  static void apply(Bytes& to, const RecordedWrite& write, Range kept) {
    if (kept.empty()) return;
    if (to.size() < write.offset + kept.end()) to.resize(write.offset + kept.end());
    std::memcpy(to.data() + write.offset + kept.offset, write.bytes.data() + kept.offset, kept.length);
  }

  void keep(std::span<const Part> parts, std::uint64_t chosen, Tear tear, const Promises& promises,
            std::size_t promised) {
    Bytes file = file_.durable;
    Bytes data = data_.durable;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if ((chosen >> i & 1) == 0) continue;
      const bool is_last = i + 1 == parts.size();
      apply(parts[i].file == 0 ? file : data, *parts[i].write,
            kept_part(parts[i].write->bytes.size(), is_last ? tear : Tear::kNone));
    }
    const std::size_t hash = (hash_of(file) * 31 + hash_of(data)) * 31 + promised;
    if (seen_.insert(hash).second) left_.push_back({std::move(file), std::move(data), promises});
  }
  static std::size_t hash_of(const Bytes& bytes) {
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  const RecordingState& file_;
  const RecordingState& data_;
  std::array<std::uint64_t, 2> writes_seen_ = {};
  std::unordered_set<std::size_t> seen_;
  std::vector<Left> left_;
};

// Runs workloads on one kind of image, and checks the states that power cuts leave.
class Workloads final : RecordingObserver {
 public:
  explicit Workloads(const WorkloadKind& kind)
      : kind_(kind), files_(WorkloadFilesBuilder(kind).build()), cuts_(file_, data_), promises_(files_.disk, units()) {
    backing_.begin(files_.backing);
    file_.observer = data_.observer = this;
  }

  const Bytes& first_file() const { return files_.file; }
  std::uint64_t states = 0;

  // Only the power cuts from step `first` on are of interest: the others are those of another workload.
  aio::Task<void> run(std::span<const WorkloadStep> steps, std::size_t first) {
    file_.begin(files_.file);
    data_.begin(files_.data);
    promises_ = Promises(files_.disk, units());
    collects_ = false;
    cuts_.skip();
    WorkloadImage image(kind_, file_, data_, backing_);
    const std::string error = co_await image.open();
    EXPECT_EQ(error, "");
    if (!error.empty()) co_return;
    for (std::size_t i = 0; i < steps.size() && !testing::Test::HasFailure(); ++i) {
      collects_ = i >= first;
      if (!collects_) cuts_.skip();
      WorkloadStep step = steps[i];
      if (step.value == std::byte{}) step.value = static_cast<std::byte>(i + 1);
      co_await run_step(image, step);
    }
    collects_ = true;
    for (int i = 0; i < 2; ++i) co_await run_step(image, {.verb = WorkloadVerb::kFlush});
    const Result<CheckReport> report = co_await check_image(image.file(), {});
    EXPECT_TRUE(report && report->is_clean()) << (report && !report->findings.empty() ? report->findings[0] : "");
  }

 private:
  std::uint64_t units() const { return ((kWorkloadClusters + 64) << kind_.shape.cluster_bits) / kUnitBytes; }

  void before_change() override {
    if (collects_) cuts_.collect(promises_, false);
  }

  aio::Task<void> run_step(WorkloadImage& image, WorkloadStep step) {
    const Range range = changed_by(step, promises_.size_bytes());
    if (step.verb == WorkloadVerb::kResize) {
      promises_.begin_resize(step.range.end(), files_.backing);
    } else {
      promises_.begin(range, writes_value(step) ? step.value : std::byte{0});
    }
    Bytes bytes;
    const bool done = co_await image.run(step, bytes);
    EXPECT_TRUE(done) << describe(step);
    if (step.verb == WorkloadVerb::kFlush) promises_.all_is_durable();
    if (collects_) cuts_.collect(promises_, step.verb == WorkloadVerb::kFlush);
    EXPECT_EQ(promises_.compare(co_await content(image), true), "") << "after " << describe(step);
    for (PowerCuts::Left& left : cuts_.take()) {
      if (testing::Test::HasFailure()) co_return;
      ++states;
      co_await check(left);
    }
  }

  static aio::Task<Bytes> content(WorkloadImage& image) {
    Bytes bytes(image.disk().size_bytes());
    const iovec vector{bytes.data(), bytes.size()};
    EXPECT_TRUE(co_await image.disk().read({0, bytes.size()}, {&vector, 1}));
    co_return bytes;
  }

  aio::Task<void> check(PowerCuts::Left& left) {
    for (const std::uint64_t kept : files_.kept_clusters) {
      const std::uint64_t length = std::uint64_t{1} << kind_.shape.cluster_bits;
      EXPECT_EQ(std::memcmp(left.file.data() + kept, files_.file.data() + kept, length), 0)
          << "the snapshot's cluster at " << kept << " has changed";
    }
    RecordingState file;
    RecordingState data;
    file.begin(std::move(left.file));
    data.begin(std::move(left.data));
    WorkloadImage image(kind_, file, data, backing_);
    const Result<CheckReport> report = co_await check_image(image.file(), {});
    EXPECT_TRUE(report) << report.error().message();
    if (!report) co_return;
    EXPECT_EQ(report->corruptions + report->check_errors, 0u) << report->findings[0];
    const std::string error = co_await image.open();
    EXPECT_EQ(error, "");
    if (error.empty()) EXPECT_EQ(left.promises.compare(co_await content(image), false), "") << "after a power cut";
  }

  const WorkloadKind& kind_;
  WorkloadFiles files_;
  RecordingState file_;
  RecordingState data_;
  RecordingState backing_;
  PowerCuts cuts_;
  Promises promises_;
  bool collects_ = false;
};

// Operations on a cluster of each state; fewer of them in a quick run.
std::vector<WorkloadStep> alphabet(const WorkloadKind& kind) {
  const Geometry geometry = WorkloadFilesBuilder(kind).geometry();
  const std::uint64_t cluster = geometry.cluster_bytes();
  std::vector<std::uint64_t> targets = {kSharedData, kOwnData, kReservedZeroes};
  targets.resize(aio::testing::seeds_here(targets.size()));
  if (is_thorough()) {
    targets = {kOwnData, kUnallocatedCluster, kCompressedCluster, kSharedData};
    // With larger clusters each state takes ten times longer to check.
    if (geometry.cluster_bytes() < 4096) targets.insert(targets.end(), {kReservedZeroes, kMoreOwnData});
  }
  std::vector<WorkloadStep> steps = {{.verb = WorkloadVerb::kFlush}};
  for (const std::uint64_t target : targets) {
    steps.push_back(part_of(target, geometry));
    steps.push_back(on_cluster(WorkloadVerb::kWrite, target, geometry));
    steps.push_back(over_two(target, geometry));
    if (!kind.shape.data_file) steps.push_back(on_cluster(WorkloadVerb::kCompress, target, geometry, 2));
    steps.push_back(on_cluster(WorkloadVerb::kZeroes, target, geometry, 2));
    steps.push_back(on_cluster(WorkloadVerb::kZeroesUnmap, target, geometry));
    if (kind.shape.version >= 3 || !kind.has_backing) {
      steps.push_back(on_cluster(WorkloadVerb::kDiscard, target, geometry));
    }
  }
  // Smaller; larger than the backing file; and, with the smallest clusters, larger than the L1 table.
  const std::uint64_t smaller = kPartlyWritten * cluster + (cluster > 512 ? cluster / 2 : 0);
  const std::uint64_t larger = (cluster > 512 ? kWorkloadClusters + 4 : kWorkloadClusters + 60) * cluster;
  for (const std::uint64_t size : {smaller, larger})
    steps.push_back({.verb = WorkloadVerb::kResize, .range = {0, size}});
  return steps;
}

// For the table of the evidence (tools/qcow2_evidence.py).
void tell(std::uint64_t states) {
  testing::Test::RecordProperty("count", std::to_string(states));
}

class Qcow2WorkloadsTest : public block::ReactorTest, public testing::WithParamInterface<WorkloadKind> {
 protected:
  void SetUp() override {
    if (!block::Reactors::are_simulated()) GTEST_SKIP() << "it runs in the simulation";
  }
};

// In a quick run those of two operations. A workload's power cuts are checked from the first operation on that no
// workload before it had in this place.
TEST_P(Qcow2WorkloadsTest, NoShortWorkloadDamagesTheImageInAPowerCut) {
  Workloads workloads(GetParam());
  const std::vector<WorkloadStep> steps = alphabet(GetParam());
  const std::size_t length = is_thorough() ? kSteps : kSteps - 1;
  std::vector<std::size_t> chosen(length);
  std::uint64_t count = 0;
  for (bool is_last = false; !is_last && !HasFailure();) {
    std::vector<WorkloadStep> workload;
    std::string text;
    for (const std::size_t index : chosen) {
      workload.push_back(steps[index]);
      text += describe(steps[index]) + "; ";
    }
    SCOPED_TRACE(text);
    std::size_t first = length;
    while (first > 0 && (first == length || chosen[first] == 0)) --first;
    run(workloads.run(workload, first));
    ++count;
    std::size_t digit = length;
    while (digit > 0 && ++chosen[digit - 1] == steps.size()) chosen[--digit] = 0;
    is_last = digit == 0;
  }
  std::uint64_t all = 1;
  for (std::size_t i = 0; i < length; ++i) all *= steps.size();
  EXPECT_EQ(count, all);
  EXPECT_GT(workloads.states, all);
  tell(workloads.states);
}

// Longer ones, at random, with a new size in every third step. They flush often, so that the writes that a power cut
// may lose are few.
TEST_P(Qcow2WorkloadsTest, NoLongerWorkloadWithResizesDamagesTheImageInAPowerCut) {
  Workloads workloads(GetParam());
  const std::vector<WorkloadStep> steps = alphabet(GetParam());
  const std::uint64_t cluster = std::uint64_t{1} << GetParam().shape.cluster_bits;
  const std::size_t length = is_thorough() ? 40 : 12;
  for (std::uint64_t seed = 0; seed < (is_thorough() ? 300 : aio::testing::seeds_here(8)) && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    std::vector<WorkloadStep> workload;
    for (std::size_t i = 0; i < length; ++i) {
      workload.push_back(i % 5 == 4 ? WorkloadStep{} : steps[random() % steps.size()]);
      if (random() % 3 != 0) continue;
      const std::uint64_t clusters = kWorkloadClusters - 6 + random() % (cluster > 512 ? 10 : 66);
      const std::uint64_t rest = random() % 2 == 0 ? 0 : random() % (cluster / 512) * 512;
      workload.back() = {.verb = WorkloadVerb::kResize, .range = {0, clusters * cluster + rest}};
    }
    run(workloads.run(workload, 0));
  }
  EXPECT_GT(workloads.states, length);
  tell(workloads.states);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Qcow2WorkloadsTest, testing::ValuesIn(workload_kinds()), workload_name);

}  // namespace
}  // namespace blockexport::drivers::qcow2

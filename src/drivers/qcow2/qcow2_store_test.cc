// Bitmap stores beside qcow2 images: random changes of the graph, with kills and power cuts at random moments. After
// each of them the node has every bitmap again, with at least the bits of before the change or of after it, and with
// each byte that differs from those at its last clear; without its store the image has right bitmaps or inconsistent
// ones; and the image is sound. A store of an earlier session, and one of which the image was changed, restore nothing.
//
// With BLOCKEXPORT_THOROUGH in the environment it runs many more seeds. A failure names its seed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>

#include "aio/testing/interleaving.h"
#include "aio/testing/seeds.h"
#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "block/bitmap_store/bitmap_store.h"
#include "block/graph.h"
#include "block/image_bitmaps.h"
#include "block/testing/reactors.h"
#include "drivers/qcow2/check/check.h"
#include "drivers/qcow2/qcow2_open.h"
#include "drivers/qcow2/testing/memory_image.h"
#include "drivers/qcow2/testing/recording_file.h"
#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::BitmapName;
using block::DirtyBits;
using block::Node;
using block::Range;
using Bytes = std::vector<std::byte>;

constexpr const char* kStore = "/store";
constexpr std::uint64_t kDiskBytes = 5u << 20;
constexpr std::uint32_t kGranularity = 64u << 10;
constexpr std::size_t kAutoclearOffset = 88;
// The most power cuts that are judged after each start of a daemon, and again after its end. Each takes milliseconds.
constexpr std::size_t kCutsJudgedMax = 25;

std::uint64_t seeds() {
  return std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 1'000 : aio::testing::seeds_here(12);
}

// The files of a host.
struct Files {
  Bytes image;
  std::optional<Bytes> store;  // nullopt: there is none
};

struct Drivers final : block::DriverTable {
  explicit Drivers(RecordingState& recorded) : file(recorded) {}
  aio::Task<Result<std::unique_ptr<block::Driver>>> open(const schema::BlockdevOptions& options,
                                                         const block::NodeOptions& node_options,
                                                         block::ChildOpener& children) override {
    if (options.driver() != schema::BlockdevDriver::kQcow2) co_return std::make_unique<RecordingDriver>(file);
    CO_TRY_ASSIGN(auto driver, co_await open_qcow2(options.as<schema::BlockdevDriver::kQcow2>(), node_options, children,
                                                   {nullptr, nullptr}, nullptr));
    co_return driver;
  }
  RecordingState& file;
};

struct Wanted {
  bool store = true;
  bool read_only = false;
};

schema::BlockdevOptions options_of(Wanted wanted) {
  json::Object members{{"driver", "qcow2"},
                       {"node-name", "disk"},
                       {"discard", "unmap"},
                       {"read-only", wanted.read_only},
                       {"file", json::Object{{"driver", "null-co"}, {"node-name", "file"}}}};
  if (wanted.store) {
    members.set("bitmap-store", json::Object{{"filename", kStore}, {"checkpoint-interval-seconds", 1}});
  }
  auto decoded = schema::decode<schema::BlockdevOptions>(json::Value(std::move(members)));
  if (!decoded) std::abort();
  return *decoded;
}

// A bitmap as its user knows it.
struct Known {
  std::shared_ptr<DirtyBits> bits;
  bool is_enabled = false;
  std::shared_ptr<const Bytes> base;  // the disk at the last clear; null: it was disabled since
};
using Model = std::map<std::string, Known>;

std::shared_ptr<DirtyBits> copy_of(const DirtyBits& bits) {
  auto copy = bits.copy();
  if (!copy) std::abort();
  return std::move(*copy);
}

bool covers(const DirtyBits& all, const DirtyBits& some) {
  const std::uint64_t bytes = std::min(all.size_bytes(), some.size_bytes());
  std::uint64_t offset = 0;
  while (std::optional<Range> run = some.next_dirty({offset, some.size_bytes() - offset})) {
    if (run->offset >= bytes) break;
    const Range in_both{run->offset, std::min(run->length, bytes - run->offset)};
    if (all.find_clean(in_both) != in_both.end()) return false;
    offset = run->end();
  }
  return true;
}

// True if each granule in which the disks differ is dirty.
bool covers_differences(const DirtyBits& bits, const Bytes& base, const Bytes& disk) {
  const std::uint64_t bytes = std::min(base.size(), disk.size());
  for (std::uint64_t offset = 0; offset < bytes; offset += kGranularity) {
    const std::uint64_t length = std::min<std::uint64_t>(kGranularity, bytes - offset);
    if (std::memcmp(base.data() + offset, disk.data() + offset, length) == 0) continue;
    if (bits.find_clean({offset, length}) == offset) return false;
  }
  return true;
}

// Why a bitmap that was found lacks something of one that is known, or an empty text.
std::string lack_of(const DirtyBits& found, const Known& known, const Bytes& disk) {
  if (!covers(found, *known.bits)) return "lacks bits";
  if (known.base != nullptr && !covers_differences(found, *known.base, disk)) return "lacks bytes that differ";
  return {};
}

// One start of a daemon, with the files of before.
class World {
 public:
  World(const Files& files, std::uint64_t seed)
      : interleaving_(2, {.seed = seed, .latency_max_ns = 20'000'000}),
        drivers_(file_),
        graph_(interleaving_.control(), drivers_, trace_) {
    // A copy of a store has another inode, and inodes are counted in this order.
    simulation().make_file("/", 0);
    if (files.store) simulation().write_file(kStore, *files.store);
    file_.begin(files.image);
  }
  ~World() { run(graph_.close()); }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  aio::Simulation& simulation() { return interleaving_.simulation(); }
  aio::Reactor& control() { return interleaving_.control(); }
  RecordingState& file() { return file_; }
  block::Graph& graph() { return graph_; }
  Node& disk() { return *graph_.find("disk"); }
  void run(aio::Task<void> task) { interleaving_.run(std::move(task)); }

  aio::Task<std::string> apply(std::vector<block::GraphStep> steps) {
    const Result<> result = co_await graph_.apply(std::move(steps));
    co_return result ? "" : result.error().message();
  }
  template <class Step>
  aio::Task<std::string> apply_one(Step step) {
    std::vector<block::GraphStep> steps;
    steps.emplace_back(std::move(step));
    return apply(std::move(steps));
  }
  template <class Step>
  std::string apply_now(Step step) {
    std::string error;
    run(keep(apply_one(std::move(step)), error));
    return error;
  }
  aio::Task<Bytes> disk_bytes() {
    Bytes bytes(disk().size_bytes());
    const iovec vector{bytes.data(), bytes.size()};
    EXPECT_TRUE(co_await disk().read({0, bytes.size()}, {&vector, 1}));
    co_return bytes;
  }
  Bytes disk_bytes_now() {
    Bytes bytes;
    run(keep(disk_bytes(), bytes));
    return bytes;
  }
  aio::Task<void> write(Range range, std::byte value) {
    Bytes bytes(range.length, value);
    const iovec vector{bytes.data(), bytes.size()};
    EXPECT_TRUE((co_await disk().write(range, {&vector, 1}, {})).has_value());
  }
  aio::Task<void> try_write(Range range, std::byte value) {
    Bytes bytes(range.length, value);
    const iovec vector{bytes.data(), bytes.size()};
    (void)co_await disk().write(range, {&vector, 1}, {});
  }
  // After a kill of the daemon now; after a power cut.
  Files killed() { return {file_.bytes, simulation().read_file(kStore)}; }
  Files cut(std::mt19937_64& random) {
    const bool keeps_all = random() % 3 == 0;
    return {file_.after_power_cut(random),
            keeps_all ? simulation().read_file(kStore) : simulation().stable_content(kStore)};
  }
  // By name: "dirty bytes", or "inconsistent".
  std::map<std::string, std::string> bitmaps() {
    std::map<std::string, std::string> all;
    for (const auto& one : disk().bitmaps().list().all()) {
      all[one->name()] =
          one->is_inconsistent() ? "inconsistent" : std::to_string(std::as_const(*one).bits().dirty_bytes());
    }
    return all;
  }

 private:
  template <class T>
  static aio::Task<void> keep(aio::Task<T> task, T& result) {
    result = co_await std::move(task);
  }

  RecordingState file_;
  aio::testing::Interleaving interleaving_;
  Drivers drivers_;
  Trace trace_;
  block::Graph graph_;
};

using Bitmaps = std::map<std::string, std::string>;

// The bitmaps that a start of the daemon with these files finds.
Bitmaps found_in(const Files& files) {
  World world(files, 1);
  EXPECT_EQ(world.apply_now(block::AddNode{options_of({})}), "");
  return testing::Test::HasFailure() ? Bitmaps() : world.bitmaps();
}

std::uint64_t autoclear_features(const Bytes& image) {
  return ByteReader(std::span(image).subspan(kAutoclearOffset).first<8>()).u64();
}

void clear_session(Bytes& image) {
  const std::uint64_t features = autoclear_features(image);
  ByteWriter(std::span(image).subspan(kAutoclearOffset).first<8>()).u64(features & kAutoclearKnown);
}

void check_soundness(const Bytes& image) {
  World world({image, std::nullopt}, 1);
  world.run([](World& in) -> aio::Task<void> {
    Node file("file", std::make_unique<RecordingDriver>(in.file()), {});
    const Result<CheckReport> report = co_await check_image(file, {});
    EXPECT_TRUE(report && report->corruptions == 0) << (report ? report->findings.front() : report.error().message());
  }(world));
}

class Course final : RecordingObserver {
 public:
  explicit Course(std::uint64_t seed) : random_(seed * 7919) {
    files_.image = make_image({.cluster_bits = seed % 2 == 0 ? 16u : 12u}, kDiskBytes);
  }

  void run() {
    for (int start = 0; start < 3 && !testing::Test::HasFailure(); ++start) {
      World world(files_, random_());
      world_ = &world;
      world.file().observer = this;
      world.run(use());
      judge_cuts();
      // The next start is after a clean end, or after one of the last cuts.
      const bool crashes = random_() % 2 == 0;
      Files left = random_() % 2 == 0 ? world.killed() : world.cut(random_);
      const Model model = model_;
      world.run(end());
      world.file().observer = nullptr;
      judge_cuts();
      // After a crash its session goes on.
      if (!crashes) earlier_store_ = left.store;
      files_ = crashes ? std::move(left) : world.killed();
      if (crashes) model_ = model;
    }
  }

  std::uint64_t cuts_judged = 0;
  std::uint64_t failures = 0;
  std::uint64_t successes = 0;

 private:
  struct Cut {
    Files files = {};
    std::size_t phase = 0;
    // By the change under way. A crash before its end may leave these without what its other steps do to them.
    std::set<std::string> added = {};
    // Likewise: the steps are stored one after the other, and a crash may come in between.
    std::set<std::string> cleared_and_removed = {};
  };

  aio::Task<void> use() {
    EXPECT_EQ(co_await world_->apply_one(block::AddNode{options_of({})}), "");
    if (testing::Test::HasFailure()) co_return;
    co_await next_phase();
    for (int change = 0; change < 10 && !testing::Test::HasFailure(); ++change) {
      co_await write_a_little();
      co_await next_phase();
      if (random_() % 3 == 0) {
        aio::Reactor& here = co_await aio::current_reactor();
        (void)co_await here.sleep_until(here.now_ns() + random_() % 3'000'000'000);
      }
      co_await make_change();
    }
    co_await write_a_little();
    co_await next_phase();
  }

  aio::Task<void> end() {
    EXPECT_EQ(co_await world_->apply_one(block::RemoveNode{"disk"}), "");
    phases_.push_back(model_);
  }

  aio::Task<void> write_a_little() {
    for (std::uint64_t writes = random_() % 5; writes > 0; --writes) {
      const std::uint64_t length = 512 * (1 + random_() % 200);
      const std::uint64_t offset = random_() % ((world_->disk().size_bytes() - length) / 512) * 512;
      co_await world_->write({offset, length}, static_cast<std::byte>(random_()));
    }
    if (random_() % 4 == 0) EXPECT_TRUE((co_await world_->disk().flush()).has_value());
  }

  // Bytes that a resize has cut off, and those that it may add later, are no changes.
  void cut_bases() {
    for (auto& [name, base] : bases_) {
      if (base == nullptr || base->size() <= world_->disk().size_bytes()) continue;
      base = std::make_shared<const Bytes>(base->begin(),
                                           base->begin() + static_cast<std::ptrdiff_t>(world_->disk().size_bytes()));
    }
  }

  BitmapName some_bitmap() { return {"disk", std::string(1, static_cast<char>('a' + random_() % 4))}; }

  // The effect of the steps on the bases, if they succeed.
  void note(const block::GraphStep& step, const std::shared_ptr<const Bytes>& disk) {
    if (const auto* add = std::get_if<block::AddBitmap>(&step)) {
      bases_[add->bitmap.name] = add->enabled ? disk : nullptr;
      is_enabled_[add->bitmap.name] = add->enabled;
    }
    if (const auto* clear = std::get_if<block::ClearBitmap>(&step)) {
      bases_[clear->bitmap.name] = is_enabled_[clear->bitmap.name] ? disk : nullptr;
    }
    if (const auto* disable = std::get_if<block::DisableBitmap>(&step)) {
      bases_[disable->bitmap.name] = nullptr;
      is_enabled_[disable->bitmap.name] = false;
    }
    if (const auto* enable = std::get_if<block::EnableBitmap>(&step)) is_enabled_[enable->bitmap.name] = true;
  }

  // The bitmaps that a crash in the change may leave in a state in between.
  void note_intermediate(const std::vector<block::GraphStep>& steps) {
    added_.clear();
    cleared_and_removed_.clear();
    std::set<std::string> cleared;
    for (const block::GraphStep& step : steps) {
      if (const auto* add = std::get_if<block::AddBitmap>(&step)) added_.insert(add->bitmap.name);
      if (const auto* clear = std::get_if<block::ClearBitmap>(&step)) cleared.insert(clear->bitmap.name);
      const auto* remove = std::get_if<block::RemoveBitmap>(&step);
      if (remove != nullptr && cleared.contains(remove->bitmap.name)) cleared_and_removed_.insert(remove->bitmap.name);
    }
  }

  block::GraphStep some_step() {
    switch (random_() % 10) {
      case 0:
      case 1:
      case 2:
        return block::AddBitmap{.bitmap = some_bitmap(),
                                .granularity_bytes = kGranularity,
                                .persistent = true,
                                .enabled = random_() % 4 != 0};
      case 3:
        return block::RemoveBitmap{some_bitmap()};
      case 4:
      case 5:
        return block::ClearBitmap{some_bitmap()};
      case 6:
        return block::EnableBitmap{some_bitmap()};
      case 7:
        return block::DisableBitmap{some_bitmap()};
      case 8:
        return block::MergeBitmaps{.target = some_bitmap(), .sources = {some_bitmap()}};
      default:
        return block::FailChange{"on purpose"};
    }
  }

  aio::Task<void> make_change() {
    std::vector<block::GraphStep> steps;
    const std::uint64_t kind = random_() % 12;
    if (kind == 0) {
      steps.emplace_back(block::ResizeNode{"disk", static_cast<std::int64_t>((4u << 20) + random_() % 4096 * 512)});
    } else if (kind == 1) {
      co_await reopen();
      co_return;
    } else {
      for (std::uint64_t left = 1 + random_() % 3; left > 0; --left) steps.push_back(some_step());
    }
    const auto disk = std::make_shared<const Bytes>(co_await world_->disk_bytes());
    const std::vector<block::GraphStep> copies = steps;
    const auto bases = bases_;
    const auto is_enabled = is_enabled_;
    for (const block::GraphStep& step : copies) note(step, disk);
    note_intermediate(copies);
    is_over_ = false;
    aio::Scope scope(world_->control());
    scope.spawn("cuts", cut_meanwhile());
    const std::string error = co_await world_->apply(std::move(steps));
    is_over_ = true;
    co_await scope.join();
    note_intermediate({});
    if (!error.empty()) {
      bases_ = bases;
      is_enabled_ = is_enabled;
    }
    if (kind == 0) {
      EXPECT_EQ(error, "");
      cut_bases();
    }
    ++(error.empty() ? successes : failures);
    co_await next_phase();
  }

  // Read-only and back, without the store and with it again, or both at once.
  aio::Task<void> reopen() {
    const Wanted wanted{.store = random_() % 2 == 0, .read_only = random_() % 2 == 0};
    if (random_() % 3 == 0) {
      std::vector<block::GraphStep> steps;
      steps.emplace_back(block::ReopenNodes{{options_of(wanted)}});
      steps.emplace_back(block::FailChange{"on purpose"});
      is_protected_ = wanted.store;
      EXPECT_EQ(co_await world_->apply(std::move(steps)), "on purpose");
      is_protected_ = true;
      co_await write_a_little();
      co_await next_phase();
      co_return;
    }
    is_protected_ = wanted.store || wanted.read_only;
    EXPECT_EQ(co_await world_->apply_one(block::ReopenNodes{{options_of(wanted)}}), "");
    co_await next_phase();
    if (!wanted.read_only && wanted.store) co_await write_a_little();
    EXPECT_EQ(co_await world_->apply_one(block::ReopenNodes{{options_of({})}}), "");
    co_await next_phase();
    is_protected_ = true;
  }

  void before_change() override {
    if (is_protected_ && random_() % 10 == 0) take_cut();
  }
  aio::Task<void> cut_meanwhile() {
    aio::Reactor& here = co_await aio::current_reactor();
    for (int count = 0; count < 6 && !is_over_; ++count) {
      (void)co_await here.sleep_until(here.now_ns() + random_() % 60'000'000);
      if (!is_over_) take_cut();
    }
  }
  void take_cut() {
    cuts_.push_back({.files = random_() % 2 == 0 ? world_->killed() : world_->cut(random_),
                     .phase = phases_.size(),
                     .added = added_,
                     .cleared_and_removed = cleared_and_removed_});
  }

  aio::Task<void> next_phase() {
    model_.clear();
    for (const auto& one : world_->disk().bitmaps().list().all()) {
      EXPECT_FALSE(one->is_inconsistent()) << one->name();
      model_[one->name()] = {copy_of(std::as_const(*one).bits()), one->is_enabled(), bases_[one->name()]};
    }
    if (is_protected_) take_cut();
    phases_.push_back(model_);
    co_return;
  }

  void judge_cuts() {
    std::vector<Cut> cuts = std::exchange(cuts_, {});
    std::ranges::shuffle(cuts, random_);
    if (cuts.size() > kCutsJudgedMax) cuts.resize(kCutsJudgedMax);
    for (const Cut& cut : cuts) {
      if (testing::Test::HasFailure()) return;
      const Model& before = cut.phase == 0 ? first_ : phases_[cut.phase - 1];
      const Model& after = cut.phase < phases_.size() ? phases_[cut.phase] : before;
      judge(cut, before, after);
      ++cuts_judged;
    }
    first_ = phases_.empty() ? first_ : phases_.back();
    phases_.clear();
  }

  void judge(const Cut& cut, const Model& before, const Model& after) {
    const Files& files = cut.files;
    check_soundness(files.image);
    {
      World world(files, 1);
      ASSERT_EQ(world.apply_now(block::AddNode{options_of({.read_only = random_() % 2 == 0})}), "");
      const auto found = world.bitmaps();
      for (const auto& [name, known] : before) {
        if (!after.contains(name)) continue;
        ASSERT_TRUE(found.contains(name)) << name;
        EXPECT_NE(found.at(name), "inconsistent") << name;
      }
      judge_bits(world, cut, before, after, "with its store");
    }
    World without({files.image, std::nullopt}, 1);
    ASSERT_EQ(without.apply_now(block::AddNode{options_of({.store = false})}), "");
    judge_bits(without, cut, before, after, "without a store");
    // A store of another time, and one of which another program had the image, restore nothing.
    if (earlier_store_) EXPECT_EQ(found_in({files.image, earlier_store_}), without.bitmaps());
    Files changed = files;
    clear_session(changed.image);
    EXPECT_EQ(found_in(changed), without.bitmaps());
  }

  void judge_bits(World& world, const Cut& cut, const Model& before, const Model& after, const char* how) {
    const Bytes disk = world.disk_bytes_now();
    for (const auto& one : world.disk().bitmaps().list().all()) {
      if (one->is_inconsistent()) continue;
      if (cut.added.contains(one->name()) && !before.contains(one->name())) continue;
      if (cut.cleared_and_removed.contains(one->name())) continue;
      std::string lacks = "is not known";
      for (const Model* model : {&before, &after}) {
        const auto known = model->find(one->name());
        if (known == model->end() || lacks.empty()) continue;
        lacks = lack_of(std::as_const(*one).bits(), known->second, disk);
        // A change may disable a bitmap before it removes it.
        const bool may_be_disabled = !known->second.is_enabled || !after.contains(one->name());
        if (lacks.empty() && !may_be_disabled && !one->is_enabled()) lacks = "is disabled";
      }
      EXPECT_EQ(lacks, "") << one->name() << " " << how;
    }
  }

  std::mt19937_64 random_;
  Files files_;
  std::optional<Bytes> earlier_store_;
  World* world_ = nullptr;
  std::map<std::string, std::shared_ptr<const Bytes>> bases_;
  std::map<std::string, bool> is_enabled_;
  bool is_protected_ = true;  // a cut at this moment must leave every bitmap
  bool is_over_ = true;
  Model model_;
  Model first_;                // before phases_
  std::vector<Model> phases_;  // after each change of the present start
  std::vector<Cut> cuts_;
  // By the change under way.
  std::set<std::string> added_;
  std::set<std::string> cleared_and_removed_;
};

TEST(Qcow2StoreTest, EveryBitmapSurvivesEveryKillAndPowerCut) {
  if (!block::Reactors::are_simulated()) GTEST_SKIP() << "the test is entirely simulated";
  std::uint64_t cuts = 0;
  std::uint64_t failures = 0;
  std::uint64_t successes = 0;
  for (std::uint64_t seed = 1; seed <= seeds() && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Course course(seed);
    course.run();
    cuts += course.cuts_judged;
    failures += course.failures;
    successes += course.successes;
  }
  RecordProperty("count", std::to_string(cuts));
  EXPECT_GT(cuts, 30 * seeds());
  EXPECT_GT(failures, 2 * seeds());
  EXPECT_GT(successes, 2 * seeds());
}

// With the bitmap "b", and a store.
Files first_files() {
  World world({make_image({.cluster_bits = 12}, kDiskBytes), std::nullopt}, 1);
  EXPECT_EQ(world.apply_now(block::AddNode{options_of({})}), "");
  EXPECT_EQ(
      world.apply_now(block::AddBitmap{.bitmap = {"disk", "b"}, .granularity_bytes = kGranularity, .persistent = true}),
      "");
  EXPECT_EQ(world.apply_now(block::RemoveNode{"disk"}), "");
  return world.killed();
}

TEST(Qcow2StoreTest, ACleanEndLeavesNothingOfTheStoreInTheImage) {
  if (!block::Reactors::are_simulated()) GTEST_SKIP() << "the test is entirely simulated";
  World world(first_files(), 1);
  EXPECT_EQ(autoclear_features(world.file().bytes), kAutoclearBitmaps);
  ASSERT_EQ(world.apply_now(block::AddNode{options_of({})}), "");
  EXPECT_NE(autoclear_features(world.file().bytes) & kAutoclearSession, 0u);
  EXPECT_EQ(world.apply_now(block::RemoveNode{"disk"}), "");
  EXPECT_EQ(autoclear_features(world.file().bytes), kAutoclearBitmaps);
}

TEST(Qcow2StoreTest, AStoreWithoutSpaceLeavesBitmapsForACleanEndAlone) {
  if (!block::Reactors::are_simulated()) GTEST_SKIP() << "the test is entirely simulated";
  const Files files = first_files();
  for (const std::uint64_t faults : {1u, 1'000'000u}) {
    World world(files, 1);
    ASSERT_EQ(world.apply_now(block::AddNode{options_of({})}), "");
    world.simulation().inject({.kind = aio::OperationKind::kWrite, .error = ENOSPC, .count = faults, .path = kStore});
    world.run(world.write({0, 512}, std::byte{1}));
    world.simulation().clear_faults();
    EXPECT_EQ(found_in(world.killed()), (Bitmaps{{"b", "inconsistent"}}));
    EXPECT_EQ(world.apply_now(block::RemoveNode{"disk"}), "");
    EXPECT_EQ(found_in(world.killed()), (Bitmaps{{"b", "65536"}}));
  }
}

TEST(Qcow2StoreTest, AnImageThatCannotHaveItsBitmapsLeavesThemInTheStore) {
  if (!block::Reactors::are_simulated()) GTEST_SKIP() << "the test is entirely simulated";
  World world(first_files(), 1);
  ASSERT_EQ(world.apply_now(block::AddNode{options_of({})}), "");
  world.run(world.write({0, 512}, std::byte{1}));
  EXPECT_EQ(world.apply_now(
                block::AddBitmap{.bitmap = {"disk", "new"}, .granularity_bytes = kGranularity, .persistent = true}),
            "");
  // The image cannot grow.
  world.file().bytes_max = world.file().bytes.size();
  EXPECT_EQ(world.apply_now(block::RemoveNode{"disk"}), "");
  EXPECT_EQ(found_in(world.killed()), (Bitmaps{{"b", "65536"}, {"new", "0"}}));
}

TEST(Qcow2StoreTest, AStoreThatCannotBeginASessionIsAnErrorOfTheNode) {
  if (!block::Reactors::are_simulated()) GTEST_SKIP() << "the test is entirely simulated";
  World world(first_files(), 1);
  world.simulation().inject({.kind = aio::OperationKind::kWrite, .error = ENOSPC, .count = 1'000'000, .path = kStore});
  EXPECT_EQ(world.apply_now(block::AddNode{options_of({})}),
            "Could not change bitmap store '/store': No space left on device");
  EXPECT_TRUE(world.graph().nodes().empty());
  world.simulation().clear_faults();
  EXPECT_EQ(found_in(world.killed()), (Bitmaps{{"b", "0"}}));
}

// Each write of the image, and power cuts before it.
class Cuts final : public RecordingObserver {
 public:
  explicit Cuts(World& world) : world_(world) {}
  void before_change() override {
    for (int count = 0; count < 8; ++count) all.push_back(world_.cut(random_));
  }
  std::vector<Files> all;

 private:
  World& world_;
  std::mt19937_64 random_{1};
};

// The removal stores the bits of the other bitmap.
TEST(Qcow2StoreTest, AClearAndARemovalInOneChangeMakeBytesDurableFirst) {
  if (!block::Reactors::are_simulated()) GTEST_SKIP() << "the test is entirely simulated";
  World world(first_files(), 1);
  ASSERT_EQ(world.apply_now(block::AddNode{options_of({})}), "");
  EXPECT_EQ(
      world.apply_now(block::AddBitmap{.bitmap = {"disk", "c"}, .granularity_bytes = kGranularity, .persistent = true}),
      "");
  world.run(world.write({0, 512}, std::byte{1}));
  // Checkpoints retire the intent, which would hide a bit that is missing.
  world.run([](aio::Reactor& here) -> aio::Task<void> {
    (void)co_await here.sleep_until(here.now_ns() + 5'000'000'000);
  }(world.control()));
  Cuts cuts(world);
  world.file().observer = &cuts;
  std::vector<block::GraphStep> steps;
  steps.emplace_back(block::ClearBitmap{{"disk", "b"}});
  steps.emplace_back(block::RemoveBitmap{{"disk", "c"}});
  std::string error;
  world.run([](World& in, std::vector<block::GraphStep> changes, std::string& result) -> aio::Task<void> {
    result = co_await in.apply(std::move(changes));
  }(world, std::move(steps), error));
  world.file().observer = nullptr;
  EXPECT_EQ(error, "");
  EXPECT_FALSE(cuts.all.empty());
  for (const Files& files : cuts.all) {
    World later(files, 1);
    ASSERT_EQ(later.apply_now(block::AddNode{options_of({})}), "");
    if (later.bitmaps().at("b") == "0") EXPECT_EQ(later.disk_bytes_now()[0], std::byte{1});
  }
}

TEST(Qcow2StoreTest, AReopenDoesNotRestoreBitmapsOfACrash) {
  if (!block::Reactors::are_simulated()) GTEST_SKIP() << "the test is entirely simulated";
  Files files = first_files();
  {
    World world(files, 1);
    ASSERT_EQ(world.apply_now(block::AddNode{options_of({})}), "");
    world.run(world.write({0, 512}, std::byte{1}));
    files = world.killed();
  }
  World world(files, 1);
  ASSERT_EQ(world.apply_now(block::AddNode{options_of({.store = false, .read_only = true})}), "");
  EXPECT_EQ(world.bitmaps(), (Bitmaps{{"b", "inconsistent"}}));
  EXPECT_EQ(world.apply_now(block::ReopenNodes{{options_of({})}}),
            "Bitmap store '/store' has the bitmaps of an image that was not closed");
  EXPECT_EQ(world.apply_now(block::RemoveNode{"disk"}), "");
  ASSERT_EQ(world.apply_now(block::AddNode{options_of({})}), "");
  EXPECT_EQ(world.bitmaps(), (Bitmaps{{"b", "1048576"}}));
}

TEST(Qcow2StoreTest, AnErrorOfAnyCallOfTheImageMakesNoBitmapMissAChange) {
  if (!block::Reactors::are_simulated()) GTEST_SKIP() << "the test is entirely simulated";
  const Files files = first_files();
  std::uint64_t errors = 0;
  for (std::uint64_t call = 0; !HasFailure(); ++call) {
    SCOPED_TRACE(call);
    World world(files, 1);
    world.file().fails_at = call;
    if (world.apply_now(block::AddNode{options_of({})}).empty()) {
      world.run(world.try_write({0, 512}, std::byte{1}));
      (void)world.apply_now(block::RemoveNode{"disk"});
    }
    if (world.file().calls <= call) break;
    ++errors;
    world.file().fails_at.reset();
    const Files left = world.killed();
    World later(left, 1);
    const std::string error = later.apply_now(block::AddNode{options_of({})});
    ASSERT_EQ(error, "");
    const Bytes disk = later.disk_bytes_now();
    const std::string bitmap = later.bitmaps().at("b");
    if (disk[0] != std::byte{0}) EXPECT_NE(bitmap, "0");
  }
  EXPECT_GT(errors, 20u);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

// Requests on several reactors while an administrator changes the graph, on a simulated disk whose operations take
// times chosen by the seed, with reactors that run in any order. The test compares the promises to clients with the
// durable content at that moment, and with the content after a power cut.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <deque>
#include <string>

#include "aio/task/current.h"
#include "aio/testing/interleaving.h"
#include "block/graph.h"
#include "block/testing/promise_model.h"
#include "drivers/driver_table.h"
#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::drivers {
namespace {

using aio::Task;
using block::Edge;
using block::Permission;
using block::PromiseModel;
using block::Range;

constexpr std::uint64_t kSectorLength = PromiseModel::kSectorBytes;
constexpr std::uint64_t kLaneSectors = 12;  // lanes do not begin at block boundaries
constexpr std::size_t kLanesMax = 6;
constexpr std::uint64_t kTailStart = 64u << 10;  // start of the part that is resized
constexpr std::uint64_t kTailSectors = 64;
constexpr std::uint64_t kBlockBytesMax = 4096;  // largest block of direct access
constexpr std::uint64_t kPauseNsMax = 200'000;
constexpr std::byte kInitial{0xee};
constexpr const char* kDisk = "/disk";

// Fewer seeds in the default run, because every commit runs it.
std::uint64_t seeds() {
  return std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 20'000 : 400;
}

std::uint64_t rounded_up(std::uint64_t bytes) {
  return (bytes + kBlockBytesMax - 1) / kBlockBytesMax * kBlockBytesMax;
}

std::string text_of(const Result<>& result) {
  return result ? "" : result.error().message();
}

schema::BlockdevOptions options(std::initializer_list<json::Object::Member> members) {
  auto decoded = schema::decode<schema::BlockdevOptions>(json::Object(members));
  if (!decoded) std::abort();
  return std::move(*decoded);
}

// The successive sizes of the disk; the last one is current or being set.
class Sizes {
 public:
  using Moment = std::size_t;

  explicit Sizes(std::uint64_t first) : sizes_{first} {}

  void resize_begins(std::uint64_t size) { sizes_.push_back(size); }
  void resize_ends(bool succeeded) {
    if (!succeeded) sizes_.push_back(sizes_[settled_]);
    settled_ = sizes_.size() - 1;
  }
  bool is_settled() const { return settled_ == sizes_.size() - 1; }
  // The first moment from which a new request may see more than one size.
  Moment now() const { return settled_; }
  std::span<const std::uint64_t> since(Moment moment) const { return std::span(sizes_).subspan(moment); }
  bool fitted_always(Moment since_when, std::uint64_t end) const {
    return std::ranges::all_of(since(since_when), [end](std::uint64_t size) { return end <= size; });
  }
  bool fitted_once(Moment since_when, std::uint64_t end) const {
    return std::ranges::any_of(since(since_when), [end](std::uint64_t size) { return end <= size; });
  }

 private:
  std::vector<std::uint64_t> sizes_;
  std::size_t settled_ = 0;
};

// Reads, writes and more through an edge, as an export does for its clients.
Task<IoResult> read(Edge& edge, Range range, std::span<std::byte> data) {
  if (!edge.try_enter()) CO_TRY(co_await edge.enter());
  iovec vector{.iov_base = data.data(), .iov_len = data.size()};
  IoResult result = edge.node().try_read(co_await aio::current_reactor(), range, {&vector, 1});
  if (!result) result = co_await edge.node().read(range, {&vector, 1});
  edge.leave();
  co_return result;
}

Task<IoResult> write(Edge& edge, Range range, std::byte value, bool force_unit_access) {
  if (!edge.try_enter()) CO_TRY(co_await edge.enter());
  std::vector<std::byte> data(range.length, value);
  iovec vector{.iov_base = data.data(), .iov_len = data.size()};
  IoResult result = fail(EAGAIN);
  if (!force_unit_access) result = edge.node().try_write(co_await aio::current_reactor(), range, {&vector, 1});
  if (!result) result = co_await edge.node().write(range, {&vector, 1}, {.force_unit_access = force_unit_access});
  edge.leave();
  co_return result;
}

Task<IoResult> write_zeroes(Edge& edge, Range range, block::ZeroOptions how) {
  if (!edge.try_enter()) CO_TRY(co_await edge.enter());
  IoResult result = co_await edge.node().write_zeroes(range, how);
  edge.leave();
  co_return result;
}

Task<IoResult> flush(Edge& edge) {
  if (!edge.try_enter()) CO_TRY(co_await edge.enter());
  IoResult result = co_await edge.node().flush();
  edge.leave();
  co_return result;
}

Task<IoResult> extents(Edge& edge, Range range, block::Extents& found) {
  if (!edge.try_enter()) CO_TRY(co_await edge.enter());
  IoResult result = edge.node().try_extents(co_await aio::current_reactor(), range, found);
  if (!result) result = co_await edge.node().extents(range, found);
  edge.leave();
  co_return result;
}

// The tested graph: a file node "f", and the clients' node "r" above it, directly or through "h".
class BusyGraph {
 public:
  explicit BusyGraph(std::uint64_t seed)
      : reactors_(1 + seed % 3, {.seed = seed, .latency_max_ns = 300'000, .short_transfers = seed % 4 == 0}) {
    std::vector<std::byte> content(kTailStart, kInitial);
    content.resize(kTailStart + kTailSectors / 2 * kSectorLength);
    reactors_.simulation().write_file(kDisk, content);
  }

  Task<void> run();
  aio::testing::Interleaving& reactors() { return reactors_; }
  const std::string& fault() const { return fault_; }

 private:
  aio::Random& random() { return reactors_.random(); }
  aio::Simulation& simulation() { return reactors_.simulation(); }
  aio::DataReactor& some_reactor() { return reactors_.data_reactor(random().below(reactors_.size())); }
  bool is_over() const { return power_is_off_ || !fault_.empty(); }
  // A false `holds` is a failure, unless the power is off.
  bool expect(bool holds, std::string_view what) {
    if (!holds && !is_over()) fault_ = what;
    return !is_over();
  }
  Task<void> pause(std::uint64_t ns_max = kPauseNsMax) {
    aio::Reactor& reactor = co_await aio::current_reactor();
    if (!random().one_in(3)) (void)co_await reactor.sleep_until(reactor.now_ns() + random().below(ns_max));
  }
  Task<bool> open();
  Task<void> close();

  // Clients: each has the sectors of its lane for itself.
  Task<void> use_lane(Edge& edge, std::uint64_t first_sector);
  Task<void> write_in(Edge& edge, Range range);
  Task<void> zero_in(Edge& edge, Range range);
  Task<void> read_in(Edge& edge, Range range);
  Task<void> map_in(Edge& edge, Range range);
  Task<void> flush_all(Edge& edge);
  bool durability_is_promised() const { return no_flush_changes_ % 2 == 0; }
  void check_durable(Range range, std::string_view who);
  void check_durable_size(Sizes::Moment since);

  // A client of the part that is resized.
  Task<void> use_tail(Edge& edge);
  Task<void> use_tail_sector(Edge& edge, std::size_t sector);
  void tail_was_cut(std::size_t sector) { tail_[sector].push_back(std::byte{0}); }

  // The administrator.
  Task<void> administrate(Edge& edge);
  Task<void> reopen_some();
  Task<void> resize_some(Edge& edge);
  Task<void> replace_middle();
  Task<void> come_and_go();
  Task<void> cut_power();

  aio::testing::Interleaving reactors_;
  BuiltInDrivers drivers_;
  Trace trace_;
  block::Graph graph_{reactors_.control(), drivers_, trace_};
  PromiseModel model_{kTailStart / kSectorLength, kInitial};
  Sizes sizes_{kTailStart + kTailSectors / 2 * kSectorLength};
  // The values that a sector behind kTailStart may hold.
  std::array<std::vector<std::byte>, kTailSectors> tail_ = {};
  std::size_t tail_in_use_ = kTailSectors;  // the sector with a request under way
  bool no_flush_ = false;
  std::uint64_t no_flush_changes_ = 0;  // odd while durability may be switched off
  bool power_is_off_ = false;
  std::size_t at_work_ = 0;  // clients that are still running
  std::string fault_;
};

Task<bool> BusyGraph::open() {
  for (std::vector<std::byte>& sector : tail_) sector = {std::byte{0}};
  Result<> added = co_await graph_.add(options({{"driver", "file"}, {"node-name", "f"}, {"filename", kDisk}}));
  if (added) added = co_await graph_.add(options({{"driver", "raw"}, {"node-name", "h"}, {"file", "f"}}));
  if (added) added = co_await graph_.add(options({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}}));
  co_return expect(added.has_value(), "the graph could not be made");
}

Task<void> BusyGraph::close() {
  co_await graph_.close();
  if (simulation().open_descriptors() != 0 && fault_.empty()) fault_ = "a descriptor was left open";
}

Task<void> BusyGraph::run() {
  if (!co_await open()) co_return;
  std::deque<std::unique_ptr<Edge>> edges;
  const std::size_t lanes = random().between(1, kLanesMax);
  for (std::size_t i = 0; i < lanes + 1; ++i) {
    auto edge =
        co_await graph_.attach("r", {.name = "root"}, {.used = Permission::kConsistentRead | Permission::kWrite});
    if (!expect(edge.has_value(), "no edge")) break;
    edges.push_back(std::move(*edge));
  }
  {
    aio::Scope scope(reactors_.control());
    at_work_ = edges.size();
    for (std::size_t i = 0; i + 1 < edges.size(); ++i) {
      scope.spawn("lane", aio::run_on(some_reactor(), "lane", use_lane(*edges[i], i * kLaneSectors)));
    }
    if (!edges.empty()) {
      scope.spawn("tail", aio::run_on(some_reactor(), "tail", use_tail(*edges.back())));
      scope.spawn("administrator", administrate(*edges.back()));
    }
    scope.spawn("guest", come_and_go());
    if (random().one_in(2)) scope.spawn("power", cut_power());
    co_await scope.join();
  }
  if (!power_is_off_) {
    simulation().power_cut();
    power_is_off_ = true;
  }
  const std::vector<std::byte> left = simulation().read_file(kDisk).value_or(std::vector<std::byte>());
  if (left.size() < kTailStart || !model_.may_be_left(model_.whole(), std::span(left).first(kTailStart))) {
    if (fault_.empty()) fault_ = "the content after the power cut is wrong";
  }
  for (auto& edge : edges) co_await graph_.detach(std::move(edge));
  co_await close();
}

Task<void> BusyGraph::use_lane(Edge& edge, std::uint64_t first_sector) {
  for (std::uint64_t steps = random().between(4, 24); steps > 0 && !is_over(); --steps) {
    const std::uint64_t first = random().below(kLaneSectors);
    const Range range{(first_sector + first) * kSectorLength,
                      random().between(1, std::min<std::uint64_t>(3, kLaneSectors - first)) * kSectorLength};
    switch (random().below(8)) {
      case 0:
      case 1:
        co_await flush_all(edge);
        break;
      case 2:
      case 3:
        co_await zero_in(edge, range);
        break;
      case 4:
        co_await read_in(edge, range);
        break;
      case 5:
        co_await map_in(edge, range);
        break;
      default:
        co_await write_in(edge, range);
    }
    co_await pause();
  }
  --at_work_;
}

Task<void> BusyGraph::write_in(Edge& edge, Range range) {
  const auto value = static_cast<std::byte>(random().between(1, 200));
  const bool force_unit_access = random().one_in(3);
  const std::uint64_t changes = no_flush_changes_;
  model_.write_begins(range, value);
  const IoResult result = co_await write(edge, range, value, force_unit_access);
  if (!expect(result.has_value(), "a write failed")) co_return;
  const bool is_durable = force_unit_access && changes == no_flush_changes_ && durability_is_promised();
  model_.write_is_acknowledged(range, is_durable);
  check_durable(range, "a write");
}

Task<void> BusyGraph::zero_in(Edge& edge, Range range) {
  const block::ZeroOptions how{.force_unit_access = random().one_in(2), .may_unmap = random().one_in(2)};
  const std::uint64_t changes = no_flush_changes_;
  model_.write_begins(range, std::byte{0});
  const IoResult result = co_await write_zeroes(edge, range, how);
  if (!expect(result.has_value(), "zeroes failed")) co_return;
  const bool is_durable = how.force_unit_access && changes == no_flush_changes_ && durability_is_promised();
  model_.write_is_acknowledged(range, is_durable);
  check_durable(range, "zeroes");
}

Task<void> BusyGraph::read_in(Edge& edge, Range range) {
  std::vector<std::byte> data(range.length, std::byte{0x55});
  const IoResult result = co_await read(edge, range, data);
  if (!expect(result.has_value(), "a read failed")) co_return;
  expect(model_.is_current(range, data), "a reader did not see the last write");
}

Task<void> BusyGraph::map_in(Edge& edge, Range range) {
  block::Extents found;
  const IoResult result = co_await extents(edge, range, found);
  if (!expect(result.has_value() && !found.empty(), "no extents")) co_return;
  // The part of the first run within the range: whole sectors, because all writes are whole sectors.
  const Range first{range.offset, std::min(found.front().length, range.length) / kSectorLength * kSectorLength};
  if (found.front().zero) expect(model_.is_zero(first), "data were reported as zeros");
}

Task<void> BusyGraph::flush_all(Edge& edge) {
  const std::uint64_t changes = no_flush_changes_;
  const PromiseModel::Moment begun = model_.flush_begins();
  const Sizes::Moment size = sizes_.now();
  const IoResult result = co_await flush(edge);
  if (!expect(result.has_value(), "a flush failed")) co_return;
  if (changes != no_flush_changes_ || !durability_is_promised()) co_return;
  model_.flush_is_acknowledged(begun);
  check_durable(model_.whole(), "a flush");
  check_durable_size(size);
}

void BusyGraph::check_durable(Range range, std::string_view who) {
  const std::vector<std::byte> stable = simulation().stable_content(kDisk).value_or(std::vector<std::byte>());
  const bool kept =
      stable.size() >= kTailStart && model_.may_be_left(range, std::span(stable).subspan(range.offset, range.length));
  expect(kept, "after " + std::string(who) + " the disk may lose promised data");
}

// Checks a flush that began at `since` and was acknowledged.
void BusyGraph::check_durable_size(Sizes::Moment since) {
  const std::uint64_t stable = simulation().stable_content(kDisk).value_or(std::vector<std::byte>()).size();
  const auto [smallest, largest] = std::ranges::minmax(sizes_.since(since));
  // A direct write extends the file to the end of a block.
  expect(stable >= smallest && stable <= rounded_up(largest), "after a flush the disk may lose its new size");
}

Task<void> BusyGraph::use_tail(Edge& edge) {
  for (std::uint64_t steps = random().between(4, 24); steps > 0 && !is_over(); --steps) {
    co_await use_tail_sector(edge, random().below(kTailSectors));
    co_await pause();
  }
  --at_work_;
}

// While a resize is under way a request may see either of the two sizes, and no other.
Task<void> BusyGraph::use_tail_sector(Edge& edge, std::size_t sector) {
  const Range range{kTailStart + sector * kSectorLength, kSectorLength};
  const Sizes::Moment begun = sizes_.now();
  const bool writes = random().one_in(2);
  const auto value = static_cast<std::byte>(random().between(1, 200));
  std::vector<std::byte> data(kSectorLength, std::byte{0x55});
  tail_in_use_ = sector;
  const IoResult result = co_await (writes ? write(edge, range, value, false) : read(edge, range, data));
  tail_in_use_ = kTailSectors;
  std::vector<std::byte>& possible = tail_[sector];
  if (!sizes_.fitted_always(begun, range.end())) tail_was_cut(sector);
  if (!result) {
    expect(!sizes_.fitted_always(begun, range.end()), "a request failed that lies within the disk");
    expect(result.error() == Errno(writes ? ENOSPC : EINVAL), "a request behind the end failed with another error");
    co_return;
  }
  if (!expect(sizes_.fitted_once(begun, range.end()), "a request behind the end was done")) co_return;
  if (writes) {
    const bool is_certain = sizes_.fitted_always(begun, range.end());
    possible = is_certain ? std::vector{value} : std::vector{value, std::byte{0}};
    co_return;
  }
  const bool is_whole = std::ranges::all_of(data, [&](std::byte byte) { return byte == data[0]; });
  expect(is_whole && std::ranges::find(possible, data[0]) != possible.end(), "the grown disk read as wrong data");
}

Task<void> BusyGraph::administrate(Edge& edge) {
  while (at_work_ > 0 && !is_over()) {
    switch (random().below(4)) {
      case 0:
        co_await resize_some(edge);
        break;
      case 1:
        co_await replace_middle();
        break;
      default:
        co_await reopen_some();
    }
    co_await pause(kPauseNsMax * 4);
  }
}

// Changes the access to the file, which needs another descriptor, and the nodes between "r" and the file.
Task<void> BusyGraph::reopen_some() {
  const bool no_flush = random().one_in(4);
  const json::Object cache{{"direct", random().one_in(2)}, {"no-flush", no_flush}};
  std::vector<schema::BlockdevOptions> list;
  list.push_back(options({{"driver", "file"}, {"node-name", "f"}, {"filename", kDisk}, {"cache", cache}}));
  if (random().one_in(2)) {
    const char* below = graph_.find("h") != nullptr && random().one_in(2) ? "h" : "f";
    list.push_back(options({{"driver", "raw"}, {"node-name", "r"}, {"file", below}}));
    if (random().one_in(2)) std::swap(list.front(), list.back());
  }
  // From the first moment at which flushes may be off to the last one.
  if (no_flush && !no_flush_) ++no_flush_changes_;
  const Result<> reopened = co_await graph_.reopen(std::move(list));
  if (!no_flush && no_flush_) ++no_flush_changes_;
  no_flush_ = no_flush;
  expect(reopened.has_value(), "a reopen failed: " + text_of(reopened));
}

Task<void> BusyGraph::resize_some(Edge& edge) {
  const std::uint64_t size = kTailStart + random().below(kTailSectors + 1) * kSectorLength;
  sizes_.resize_begins(size);
  const Result<> resized = co_await graph_.resize(random().one_in(2) ? "r" : "f", static_cast<std::int64_t>(size));
  sizes_.resize_ends(resized.has_value());
  if (!expect(resized.has_value(), "a resize failed: " + text_of(resized))) co_return;
  for (std::size_t sector = 0; sector < kTailSectors; ++sector) {
    if (kTailStart + (sector + 1) * kSectorLength <= size) continue;
    if (sector != tail_in_use_) tail_[sector].clear();
    tail_was_cut(sector);
  }
  const std::uint64_t found = simulation().read_file(kDisk).value_or(std::vector<std::byte>()).size();
  expect(graph_.find("r")->size_bytes() == size, "a node has another size");
  expect(found >= size && found <= rounded_up(size), "the file has another size");
  if (random().one_in(2)) co_await flush_all(edge);
}

// Removes "h" when it has no parent, and adds it again.
Task<void> BusyGraph::replace_middle() {
  const bool is_used = graph_.find("h") != nullptr && !graph_.find("h")->parents().empty();
  if (graph_.find("h") == nullptr) {
    Result<> added = co_await graph_.add(options({{"driver", "raw"}, {"node-name", "h"}, {"file", "f"}}));
    expect(added.has_value(), "a node could not be made");
  } else {
    Result<> removed = co_await graph_.remove("h");
    expect(removed.has_value() != is_used, "a node in use was removed, or an unused one was kept");
  }
}

// Short-lived users: each adds a node, reads through it, and removes it.
Task<void> BusyGraph::come_and_go() {
  while (at_work_ > 0 && !is_over()) {
    Result<> added = co_await graph_.add(options({{"driver", "raw"}, {"node-name", "g"}, {"file", "f"}}));
    if (!expect(added.has_value(), "a guest's node could not be made")) co_return;
    auto edge = co_await graph_.attach("g", {.name = "root"}, {.used = Permission::kConsistentRead});
    if (!expect(edge.has_value(), "a guest has no edge")) co_return;
    // No client uses the last sectors before the tail.
    const Range range{kTailStart - 2 * kSectorLength, 2 * kSectorLength};
    aio::Scope reads(reactors_.control());
    for (std::uint64_t i = random().between(1, 3); i > 0; --i) {
      reads.spawn("read", aio::run_on(some_reactor(), "read", read_in(**edge, range)));
    }
    if (random().one_in(2)) {
      Result<> removed = co_await graph_.remove("g");
      expect(!removed.has_value(), "a node was removed from under its user");
    }
    co_await reads.join();
    co_await graph_.detach(std::move(*edge));
    Result<> removed = co_await graph_.remove("g");
    expect(removed.has_value(), "a node could not be removed");
    co_await pause();
  }
}

Task<void> BusyGraph::cut_power() {
  (void)co_await reactors_.control().sleep_until(reactors_.control().now_ns() + random().below(6'000'000));
  simulation().power_cut();
  power_is_off_ = true;
}

TEST(GraphInterleavingTest, PromisesToClientsHoldWhileTheGraphChanges) {
  for (std::uint64_t seed = 1; seed <= seeds(); ++seed) {
    BusyGraph graph(seed);
    graph.reactors().run(graph.run());
    ASSERT_EQ(graph.fault(), "") << "seed " << seed;
  }
}

}  // namespace
}  // namespace blockexport::drivers

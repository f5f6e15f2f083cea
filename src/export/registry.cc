#include "export/registry.h"

#include <fmt/format.h>

#include <cassert>
#include <ranges>
#include <utility>

#include "aio/reactor/reactor.h"
#include "aio/sync/with_deadline.h"
#include "aio/task/current.h"
#include "base/identifier.h"
#include "block/held_requests.h"

namespace blockexport::exports {
namespace {

// Removals that begin before others on the reactor get a turn.
constexpr std::size_t kRemovalsPerTurn = 64;

}  // namespace

// The registry is null in tests of a protocol.
void Export::announce_arrival(const ServedClient& client) const {
  if (registry_ == nullptr || registry_->client_observer_ == nullptr) return;
  registry_->client_observer_->client_came(*this, client);
}

void Export::announce_departure(const ServedClient& client) const {
  if (registry_ == nullptr || registry_->client_observer_ == nullptr) return;
  registry_->client_observer_->client_went(*this, client);
}

void Export::client_left() {
  if (shutting_down_ && client_count() == 0) registry_->erase_if_unused(*this);
}

void Export::client_was_cut() {
  if (shutting_down_) registry_->cut_.set();
}

Registry::Registry(aio::Reactor& reactor, std::move_only_function<aio::Task<void>(std::unique_ptr<block::Edge>)> let_go,
                   std::move_only_function<void(const std::string& id)> on_deleted)
    : reactor_(reactor),
      let_go_(std::move(let_go)),
      on_deleted_(std::move(on_deleted)),
      gone_(reactor, aio::Event::Cancellation::kIgnored),
      cut_(reactor),
      erasing_(reactor) {}

Registry::~Registry() {
  assert(exports_.empty());
}

Result<> Registry::check_id(const std::string& id) const {
  if (!is_identifier(id)) return fail("Invalid block export id");
  if (find(id) != nullptr) return fail(fmt::format("Block export id '{}' is already in use", id));
  return {};
}

Export& Registry::add(std::unique_ptr<Export> added) {
  assert(find(added->id()) == nullptr);
  added->registry_ = this;
  added->number_ = ++last_number_;
  exports_by_id_.emplace(added->id(), added.get());
  return *exports_.emplace(last_number_, std::move(added)).first->second;
}

Export* Registry::find(std::string_view id) const {
  auto found = exports_by_id_.find(id);
  return found != exports_by_id_.end() ? found->second : nullptr;
}

Export* Registry::numbered(std::uint64_t number) const {
  auto found = exports_.find(number);
  return found != exports_.end() ? found->second.get() : nullptr;
}

aio::Task<Result<>> Registry::remove(std::string id, RemoveMode mode) {
  Export* found = find(id);
  if (found == nullptr) co_return fail(fmt::format("Export '{}' is not found", id));
  if (found->shutting_down_ && mode <= found->leaving_) {
    co_return fail(fmt::format("Export '{}' is already shutting down", id));
  }
  if (mode == RemoveMode::kSafe && found->client_count() > 0) {
    co_return fail(Error(fmt::format("export '{}' still in use", id))
                       .with_hint("Use mode='hide' or 'soft' to let its clients finish, or mode='hard' to force client "
                                  "disconnect"));
  }
  const bool has_clients = found->client_count() > 0;
  const std::uint64_t number = found->number_;
  begin(*found, mode);
  if (!has_clients) {
    co_await wait_until_gone(number);
  } else if (mode == RemoveMode::kHard) {
    aio::Task<void> waiting = wait_until_cut(number);
    const std::uint64_t deadline_ns = aio::deadline_after(reactor_, kHardRemovalWaitNs);
    (void)co_await aio::with_deadline("hard removal", deadline_ns, std::move(waiting));
  }
  co_return Result<>{};
}

void Registry::retire(Export& leaving, RemoveMode mode) {
  if (find(leaving.id()) == &leaving) exports_by_id_.erase(leaving.id());
  begin(leaving, mode);
}

aio::Task<void> Registry::remove_all(RemoveMode mode, std::move_only_function<bool(const Export&)> wanted) {
  std::vector<std::uint64_t> leaving;
  // Newest first.
  for (const auto& [number, one] : exports_ | std::views::reverse) {
    if (wanted(*one)) leaving.push_back(number);
  }
  std::size_t begun = 0;
  for (std::uint64_t number : leaving) {
    // Some may have ended meanwhile.
    if (Export* one = numbered(number)) begin(*one, mode);
    if (++begun % kRemovalsPerTurn == 0) co_await aio::next_turn();
  }
  for (std::uint64_t number : leaving) co_await wait_until_gone(number);
}

aio::Task<void> Registry::wait_until_gone(std::uint64_t number) {
  while (numbered(number) != nullptr) {
    gone_.reset();
    (void)co_await gone_.wait();
  }
}

aio::Task<void> Registry::wait_until_ended(std::uint64_t number) {
  while (numbered(number) != nullptr) {
    cut_.reset();
    if (!co_await cut_.wait()) co_return;
  }
}

aio::Task<void> Registry::wait_until_cut(std::uint64_t number) {
  for (;;) {
    const Export* one = numbered(number);
    if (one == nullptr || (one->waits_for_storage() && !one->being_erased_)) co_return;
    cut_.reset();
    if (!co_await cut_.wait()) co_return;
  }
}

void Registry::nodes_resized() {
  for (const auto& [number, one] : exports_) {
    if (one->being_erased_) continue;
    const std::uint64_t size_bytes = one->edge().node().size_bytes();
    if (std::exchange(one->known_size_bytes_, size_bytes) != size_bytes) one->resized();
  }
}

void Registry::node_overlaid(std::string_view node_name, const std::string& overlay) {
  for (const auto& [number, one] : exports_) {
    if (one->node_name_ == node_name) one->node_name_ = overlay;
  }
}

std::vector<Export*> Registry::list() const {
  std::vector<Export*> newest_first;
  for (const auto& [number, one] : exports_ | std::views::reverse) newest_first.push_back(one.get());
  return newest_first;
}

void Registry::begin(Export& leaving, RemoveMode mode) {
  if (leaving.shutting_down_ && mode <= leaving.leaving_) return;
  leaving.shutting_down_ = true;
  leaving.leaving_ = mode;
  leaving.leave(mode);
  // Its clients are not served any more, so that a throttle has no reason to hold their requests back.
  const bool ends_requests = mode == RemoveMode::kFinish || mode == RemoveMode::kHard;
  if (ends_requests && !leaving.being_erased_) block::let_held_requests_go(leaving.edge().node());
  erase_if_unused(leaving);
}

void Registry::erase_if_unused(Export& leaving) {
  if (leaving.client_count() > 0 || leaving.being_erased_) return;
  leaving.being_erased_ = true;
  erasing_.spawn("export removal", erase(leaving.number_));
}

aio::Task<void> Registry::erase(std::uint64_t number) {
  // The export is being erased, so nobody else erases it: it exists until this function removes it.
  std::vector<std::unique_ptr<block::Edge>> edges = numbered(number)->give_up_edges();
  for (std::unique_ptr<block::Edge>& edge : edges) co_await let_go_(std::move(edge));
  auto found = exports_.find(number);
  std::unique_ptr<Export> gone = std::move(found->second);
  if (find(gone->id()) == gone.get()) exports_by_id_.erase(gone->id());
  exports_.erase(found);
  const std::string id = gone->id();
  gone.reset();
  on_deleted_(id);
  gone_.set();
  cut_.set();
}

}  // namespace blockexport::exports

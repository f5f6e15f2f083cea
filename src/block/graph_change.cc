#include "block/graph_change.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <ranges>
#include <unordered_set>
#include <utility>

#include "aio/sync/shielded.h"
#include "block/attached_store.h"
#include "block/held_requests.h"
#include "block/loaded_bitmaps.h"

namespace blockexport::block {

Error Graph::closing_error() {
  return Error("The block graph is being closed");
}

aio::Task<Result<>> Graph::Work::open(Graph&) {
  co_return Result<>();
}

aio::Task<Result<>> Graph::Work::perform(Change&) {
  co_return Result<>();
}

aio::Task<Result<>> Graph::Work::confirm(Change&) {
  co_return Result<>();
}

aio::Task<void> Graph::Work::commit(Change&) {
  co_return;
}

aio::Task<void> Graph::Work::abort(Change&) {
  co_return;
}

aio::Task<Result<>> Graph::Change::run() {
  Result<> prepared = co_await prepare();
  // If the caller is cancelled, the change is still completed or undone.
  aio::Task<Result<>> finishing = finish(std::move(prepared));
  co_return co_await aio::shielded("block graph change", std::move(finishing));
}

aio::Task<Result<>> Graph::Change::prepare() {
  for (const auto& work : works_) {
    if (work->must_be_last() && work != works_.back()) co_return fail("A resize must be the last step of a change");
  }
  for (const auto& work : works_) {
    const std::size_t journal_size = journal_.size();
    if (Result<> result = co_await work->prepare(*this); !result) {
      failed_work_ = journal_sizes_.size();
      undo_to(journal_size);
      co_return result;
    }
    journal_sizes_.push_back(journal_size);
  }
  co_return Result<>();
}

aio::Task<Result<>> Graph::Change::finish(Result<> prepared) {
  Result<> result = std::move(prepared);
  if (result) result = co_await take_permissions();
  if (result) {
    result = co_await confirm_and_perform();
    if (!result) co_await permissions_->abort();
  }
  if (result) {
    co_await commit();
  } else {
    co_await abort();
  }
  resume_all();
  co_return result;
}

aio::Task<Result<>> Graph::Change::confirm_and_perform() {
  for (const auto& work : works_) CO_TRY(co_await work->confirm(*this));
  co_return co_await works_.back()->perform(*this);
}

aio::Task<Result<>> Graph::Change::take_permissions() {
  CO_TRY(check_depth(those_that_stay(deeper_)));
  CO_TRY_ASSIGN(permissions_,
                PermissionUpdate::plan(
                    {.nodes = those_that_stay(changed_), .planned = std::move(planned_), .growing = growing_}));
  co_return co_await permissions_->prepare();
}

aio::Task<void> Graph::Change::commit() {
  co_await permissions_->commit();
  for (const auto& work : works_) co_await work->commit(*this);
  for (Place place : withdrawn_) {
    if (NodeStore* store = place->node->bitmaps().store()) {
      forget_store(store);
      co_await close_store(*place->node);
    }
    forget_node(*place->node);
    graph_.take(place).reset();
  }
}

aio::Task<void> Graph::Change::abort() {
  while (!journal_sizes_.empty()) {
    co_await works_[journal_sizes_.size() - 1]->abort(*this);
    undo_to(journal_sizes_.back());
    journal_sizes_.pop_back();
  }
}

aio::Task<void> Graph::Change::quiesce_above(std::span<Node* const> nodes) {
  for (Edge* edge : root_edges_above(nodes)) {
    if (!quiesced_.insert(edge).second) continue;
    drain_below(edge->node());
    co_await edge->quiesce();
  }
  for (Node* node : parents_first_above(nodes)) co_await quiesce(*node);
}

void Graph::Change::drain_below(Node& node) {
  if (!draining_.insert(&node).second) return;
  if (HeldRequests* held = node.driver().held_requests()) held->begin_drain();
  for (Edge* child : node.driver().children()) drain_below(child->node());
}

aio::Task<void> Graph::Change::quiesce(Node& node) {
  if (quiesced_nodes_left_.contains(&node)) co_return;
  note_quiesced(node);
  co_await node.driver().quiesce();
}

void Graph::Change::note_quiesced(Node& node) {
  quiesced_nodes_left_.insert(&node);
  quiesced_nodes_.push_back(&node);
}

void Graph::Change::resume_all() {
  for (Node* node : std::exchange(quiesced_nodes_, {}) | std::views::reverse) {
    if (quiesced_nodes_left_.erase(node) > 0) node->driver().resume();
  }
  for (Node* node : std::exchange(draining_, {})) {
    if (HeldRequests* held = node->driver().held_requests()) held->end_drain();
  }
  for (Edge* edge : std::exchange(quiesced_, {})) edge->resume();
}

void Graph::Change::let_requests_go() {
  if (!std::ranges::all_of(works_, [](const auto& work) { return work->lets_requests_go(); })) return;
  resume_all();
}

aio::Task<Result<>> Graph::Change::pause_checkpoints(NodeStore& store) {
  if (paused_stores_.contains(&store)) co_return Result<>();
  auto guard = co_await store.pause_checkpoints();
  if (!guard) co_return fail(Error::system("The change of the block graph was cancelled", guard.error()));
  paused_stores_.emplace(&store, std::move(*guard));
  co_return Result<>();
}

void Graph::Change::forget_edge(Edge& edge) {
  if (quiesced_.erase(&edge) > 0) edge.resume();
}

void Graph::Change::note_deeper(Node& node) {
  note_changed(node);
  deeper_.push_back(&node);
}

void Graph::Change::plan_options(Node& node, const NodeOptions& options) {
  planned_.push_back({&node, options});
}

bool Graph::Change::has_planned(const Node& node) const {
  return std::ranges::find(planned_, &node, &PlannedOptions::node) != planned_.end();
}

void Graph::Change::add_nodes(NewNodes& added) {
  journal_.emplace_back(NodesAdded{graph_.nodes_.size()});
  std::list<GraphNode>& nodes = added.nodes();
  for (GraphNode& one : nodes | std::views::reverse) note_quiesced(*one.node);
  const Place first = nodes.begin();
  graph_.nodes_.splice(graph_.nodes_.end(), nodes);
  for (Place place = first; place != graph_.nodes_.end(); ++place) {
    graph_.nodes_by_name_.emplace(place->node->name(), place);
  }
}

void Graph::Change::set_owned_by_user(Node& node, bool owned) {
  journal_.emplace_back(OwnerSet{&node, std::exchange(graph_.entry(node).owned_by_user, owned)});
}

void Graph::Change::set_options(Node& node, schema::BlockdevOptions options) {
  journal_.emplace_back(OptionsSet{&node, std::exchange(graph_.entry(node).options, std::move(options))});
}

Edge* Graph::Change::next_parent_that_stays(Edge& edge) const {
  Edge* next = edge.next_parent();
  while (next != nullptr && added_edges_.contains(next)) next = next->next_parent();
  return next;
}

void Graph::Change::move_edge(Edge& edge, Node& to) {
  journal_.emplace_back(EdgeMoved{&edge, &edge.node(), next_parent_that_stays(edge)});
  edge.attach(to);
}

IoResult Graph::Change::resize_bitmaps(Node& node) {
  BitmapsResized edit;
  for (const auto& bitmap : node.bitmaps().list().all()) {
    if (bitmap->bits().size_bytes() == node.size_bytes()) continue;
    auto bits = bitmap->bits().copy();
    if (!bits) return fail(bits.error());
    edit.before.emplace_back(bitmap.get(), std::move(*bits));
  }
  if (edit.before.empty()) return {};
  journal_.emplace_back(std::move(edit));
  node.bitmaps().catch_up(node.size_bytes());
  return {};
}

void Graph::Change::withdraw_edge(Edge& edge) {
  journal_.emplace_back(EdgeMoved{&edge, &edge.node(), next_parent_that_stays(edge)});
  edge.withdraw();
}

void Graph::Change::release_name(Node& node) {
  const Place place = graph_.place_of(node);
  journal_.emplace_back(NameReleased{place});
  graph_.nodes_by_name_.erase(node.name());
  place->retired_name = graph_.generate_name();
}

aio::Task<void> Graph::Change::withdraw_if_unused(Node& node) {
  if (withdrawn_nodes_.contains(&node)) co_return;  // already removed with another node
  if (graph_.entry(node).owned_by_user || !node.parents().empty()) {
    note_changed(node);
    co_return;
  }
  co_await quiesce(node);
  // The command that removes a node has reported every failed flush of it.
  (void)co_await node.flush();
  // As long as its children still have its permissions. If the change is undone, the bitmaps come into use again with
  // the next change of the node.
  (void)co_await store_image_bitmaps(node, graph_.log_);
  const Place place = graph_.place_of(node);
  const bool has_name = place->retired_name.empty();
  journal_.emplace_back(NodeWithdrawn{place, has_name});
  withdrawn_.push_back(place);
  withdrawn_nodes_.insert(&node);
  if (has_name) graph_.nodes_by_name_.erase(node.name());
  for (Edge* child : node.driver().children()) {
    withdraw_edge(*child);
    co_await withdraw_if_unused(child->node());
  }
}

aio::Task<Result<>> Graph::Change::let_others_look(aio::Task<Result<>> work) {
  // The other steps of a change have altered the graph already, and might be undone.
  const bool alters_nothing = std::ranges::all_of(works_, [](const auto& one) { return one->lets_requests_go(); });
  if (works_.size() > 1 && !alters_nothing) co_return co_await std::move(work);
  graph_.has_long_work_ = true;
  graph_.long_work_ended_.reset();
  lock_.reset();
  Result<> result = co_await std::move(work);
  // This wait cannot be cancelled, because the change is completed or undone now.
  lock_.emplace(*co_await aio::shielded("block graph lock", graph_.changes_.lock()));
  graph_.has_long_work_ = false;
  graph_.long_work_ended_.set();
  co_return result;
}

std::vector<Node*> Graph::Change::those_that_stay(const std::vector<Node*>& nodes) const {
  std::unordered_set<const Node*> going;
  for (Place place : withdrawn_) going.insert(place->node.get());
  std::vector<Node*> staying;
  for (Node* node : nodes) {
    if (!going.contains(node)) staying.push_back(node);
  }
  return staying;
}

void Graph::Change::undo_to(std::size_t journal_size) {
  while (journal_.size() > journal_size) {
    std::visit([this](auto& edit) { undo(edit); }, journal_.back());
    journal_.pop_back();
  }
}

void Graph::Change::undo(NodesAdded& edit) {
  while (graph_.nodes_.size() > edit.count_before) {
    const Place youngest = std::prev(graph_.nodes_.end());
    forget_node(*youngest->node);
    forget_store(youngest->node->bitmaps().store());
    graph_.nodes_by_name_.erase(youngest->node->name());
    graph_.take(youngest).reset();
  }
}

void Graph::Change::undo(OwnerSet& edit) {
  graph_.entry(*edit.node).owned_by_user = edit.before;
}

void Graph::Change::undo(OptionsSet& edit) {
  graph_.entry(*edit.node).options = std::move(edit.before);
}

void Graph::Change::undo(EdgeMoved& edit) {
  edit.edge->attach_before(*edit.before, edit.next);
}

void Graph::Change::undo(NodeWithdrawn& edit) {
  assert(withdrawn_.back() == edit.place);
  withdrawn_.pop_back();
  withdrawn_nodes_.erase(edit.place->node.get());
  if (edit.had_name) graph_.nodes_by_name_.emplace(edit.place->node->name(), edit.place);
}

void Graph::Change::undo(NameReleased& edit) {
  edit.place->retired_name.clear();
  graph_.nodes_by_name_.emplace(edit.place->node->name(), edit.place);
}

void Graph::Change::undo(BitmapsResized& edit) {
  for (auto& [bitmap, bits] : edit.before) bitmap->bits().swap(*bits);
}

aio::Task<Result<>> Graph::apply(std::vector<GraphStep> steps, std::optional<std::size_t>* failed_step) {
  std::vector<std::unique_ptr<Work>> works;
  for (GraphStep& step : steps) {
    works.push_back(std::visit([](auto& one) { return work_of(std::move(one)); }, step));
  }
  co_return co_await run_change(std::move(works), failed_step);
}

aio::Task<std::expected<aio::Mutex::Guard, Errno>> Graph::lock_for_change() {
  while (true) {
    {
      auto guard = co_await changes_.lock();
      if (!guard || !has_long_work_) co_return guard;
    }
    CO_TRY(co_await long_work_ended_.wait());
  }
}

aio::Task<Result<>> Graph::run_change(std::vector<std::unique_ptr<Work>> works,
                                      std::optional<std::size_t>* failed_step) {
  for (std::size_t i = 0; i < works.size() && works[i]->opens_before(*this); ++i) {
    Result<> opened = co_await works[i]->open(*this);
    if (opened) continue;
    if (failed_step != nullptr) *failed_step = i;
    co_return opened;
  }
  auto guard = co_await lock_for_change();
  if (!guard) co_return fail(Error::system("The change of the block graph was cancelled", guard.error()));
  if (works.empty()) co_return Result<>();
  Change change(*this, std::move(works), std::move(*guard));
  Result<> done = co_await change.run();
  if (failed_step != nullptr) *failed_step = change.failed_work();
  co_return done;
}

aio::Task<void> Graph::remove_all() {
  while (true) {
    std::vector<std::unique_ptr<Work>> works;
    works.push_back(work_of_closing());
    (void)co_await run_change(std::move(works));
    if (nodes_.empty()) co_return;
    root_edge_gone_.reset();
    (void)co_await root_edge_gone_.wait();
  }
}

}  // namespace blockexport::block

// The steps of a change that add, remove, alter and merge dirty bitmaps. Errors have the texts and the order of QMP.
#include <fmt/format.h>

#include <algorithm>

#include "block/graph_change.h"
#include "block/node_store.h"

namespace blockexport::block {
namespace {

Error no_memory(const DirtyBitmap& bitmap, Errno error) {
  return Error::system(fmt::format("Cannot keep the contents of bitmap '{}'", bitmap.name()), error);
}

bool is_behind(const Node& node) {
  return node.bitmaps().is_behind(node.size_bytes());
}

}  // namespace

// Base of the bitmap steps. The graph's lock keeps nodes and bitmaps there while a step waits.
class Graph::BitmapWork : public Graph::Work {
 protected:
  struct Found {
    Node* node;
    DirtyBitmap* bitmap;
  };

  static Result<Node*> find_node(Change& change, const std::string& name) {
    if (Node* node = change.graph().find(name)) return node;
    return fail(fmt::format("Node '{}' not found", name));
  }
  static Result<Found> find(Change& change, const BitmapName& name) {
    TRY_ASSIGN(Node * node, find_node(change, name.node));
    TRY_ASSIGN(DirtyBitmap * bitmap, node->bitmaps().list().require(name.name));
    return Found{node, bitmap};
  }
  // Until the change ends no request marks the node's bitmaps; they have its size from now on.
  static aio::Task<Result<>> quiesce(Change& change, Node& node) {
    Node* const nodes[] = {&node};
    co_await change.quiesce_above(nodes);
    if (NodeStore* store = node.bitmaps().store()) co_return co_await prepare_store(change, node, *store);
    if (IoResult resized = change.resize_bitmaps(node); !resized) {
      co_return fail(
          Error::system(fmt::format("Cannot resize the bitmaps of node '{}'", node.name()), resized.error()));
    }
    co_return Result<>();
  }
  static NodeStore* store_of(const Node& node, const DirtyBitmap& bitmap) {
    return bitmap.is_persistent() ? node.bitmaps().store() : nullptr;
  }

 private:
  // The sizes stay new if the change fails, because the store has them: it is as right as before.
  static aio::Task<Result<>> prepare_store(Change& change, Node& node, NodeStore& store) {
    CO_TRY(co_await change.pause_checkpoints(store));
    node.bitmaps().catch_up(node.size_bytes());
    if (!store.has_size(node.size_bytes())) CO_TRY(co_await store.adopt_size(node.size_bytes()));
    co_return Result<>();
  }
};

class Graph::BitmapAddition final : public Graph::BitmapWork {
 public:
  explicit BitmapAddition(AddBitmap step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    const BitmapName& name = step_.bitmap;
    CO_TRY(DirtyBitmap::check_is_named(name.name));
    node_ = change.graph().find(name.node);
    if (node_ == nullptr) co_return fail(fmt::format("Cannot find device='{0}' nor node-name='{0}'", name.node));
    // No driver has clusters.
    const std::uint32_t granularity_bytes =
        step_.granularity_bytes.value_or(DirtyBitmap::default_granularity_bytes(std::nullopt));
    CO_TRY(DirtyBitmap::check_granularity(granularity_bytes));
    if (step_.persistent) {
      if (node_->read_only()) {
        co_return fail(fmt::format("Cannot add a persistent bitmap to read-only or inactive node '{}'", name.node));
      }
      if (node_->bitmaps().store() == nullptr) {
        co_return fail(Error::system(fmt::format("Can't store persistent bitmaps to {}", name.node), Errno(ENOTSUP))
                           .with_hint("Open the node with the option bitmap-store."));
      }
    }
    CO_TRY(co_await quiesce(change, *node_));
    CO_TRY_ASSIGN(bitmap_, node_->bitmaps().add(name.name, node_->size_bytes(), granularity_bytes));
    bitmap_->set_enabled(step_.enabled);
    if (!step_.persistent) co_return Result<>();
    Result<> stored = co_await node_->bitmaps().store()->add(*bitmap_);
    if (!stored) node_->bitmaps().take(*bitmap_);
    co_return stored;
  }

  aio::Task<void> abort(Change&) override {
    if (NodeStore* store = store_of(*node_, *bitmap_)) co_await store->undo_add(*bitmap_);
    node_->bitmaps().take(*bitmap_);
  }

 private:
  AddBitmap step_;
  Node* node_ = nullptr;
  DirtyBitmap* bitmap_ = nullptr;
};

class Graph::BitmapRemoval final : public Graph::BitmapWork {
 public:
  explicit BitmapRemoval(RemoveBitmap step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    CO_TRY_ASSIGN(found_, find(change, step_.bitmap));
    CO_TRY(found_.bitmap->check(DirtyBitmap::Use::kRemove));
    // Before the wait, so that no operation begins to use the bitmap meanwhile.
    found_.bitmap->set_busy(true);
    Result<> quiesced = co_await quiesce(change, *found_.node);
    if (!quiesced) found_.bitmap->set_busy(false);
    co_return quiesced;
  }

  // The store removes it only now, since that cannot be undone.
  aio::Task<void> commit(Change&) override {
    if (NodeStore* store = store_of(*found_.node, *found_.bitmap)) co_await store->remove(*found_.bitmap);
    found_.node->bitmaps().take(*found_.bitmap);
  }

  aio::Task<void> abort(Change&) override {
    found_.bitmap->set_busy(false);
    co_return;
  }

 private:
  RemoveBitmap step_;
  Found found_ = {};
};

class Graph::BitmapClearing final : public Graph::BitmapWork {
 public:
  explicit BitmapClearing(ClearBitmap step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    CO_TRY_ASSIGN(Found found, find(change, step_.bitmap));
    bitmap_ = found.bitmap;
    CO_TRY(bitmap_->check(DirtyBitmap::Use::kChange));
    CO_TRY(co_await quiesce(change, *found.node));
    // An operation may have begun to use it during the wait, and without memory for its new size it is inconsistent.
    CO_TRY(bitmap_->check(DirtyBitmap::Use::kChange));
    store_ = store_of(*found.node, *bitmap_);
    auto taken = bitmap_->bits().take();
    if (!taken) co_return fail(no_memory(*bitmap_, taken.error()));
    taken_ = std::move(*taken);
    co_return Result<>();
  }

  // So that the bits do not come back after a crash.
  aio::Task<void> commit(Change&) override {
    if (store_ != nullptr) co_await store_->store_bits();
  }

  aio::Task<void> abort(Change&) override {
    bitmap_->bits().merge(*taken_);
    co_return;
  }

 private:
  ClearBitmap step_;
  NodeStore* store_ = nullptr;
  DirtyBitmap* bitmap_ = nullptr;
  std::unique_ptr<DirtyBits> taken_;
};

// Enables or disables.
class Graph::BitmapSwitching final : public Graph::BitmapWork {
 public:
  BitmapSwitching(BitmapName name, bool enable) : name_(std::move(name)), enable_(enable) {}

  aio::Task<Result<>> prepare(Change& change) override {
    CO_TRY_ASSIGN(Found found, find(change, name_));
    bitmap_ = found.bitmap;
    CO_TRY(bitmap_->check(DirtyBitmap::Use::kRead));
    CO_TRY(co_await quiesce(change, *found.node));
    // An operation may have begun to use it during the wait, and without memory for its new size it is inconsistent.
    CO_TRY(bitmap_->check(DirtyBitmap::Use::kRead));
    was_enabled_ = bitmap_->is_enabled();
    store_ = store_of(*found.node, *bitmap_);
    // A bitmap that is enabled in the store only has too many bits after a crash, one that is disabled too few.
    if (store_ != nullptr && enable_) {
      // An earlier step of the change may have disabled it, which is not stored yet.
      was_stored_disabled_ = !store_->is_stored_enabled(*bitmap_);
      CO_TRY(co_await store_->set_enabled(*bitmap_, true));
    }
    bitmap_->set_enabled(enable_);
    co_return Result<>();
  }

  aio::Task<void> commit(Change&) override {
    // A later step may have enabled it again.
    const bool is_disabled = !enable_ && !bitmap_->is_enabled();
    if (store_ != nullptr && is_disabled) (void)co_await store_->set_enabled(*bitmap_, false);
  }

  aio::Task<void> abort(Change&) override {
    bitmap_->set_enabled(was_enabled_);
    if (was_stored_disabled_) (void)co_await store_->set_enabled(*bitmap_, false);
  }

 private:
  BitmapName name_;
  bool enable_;
  NodeStore* store_ = nullptr;
  DirtyBitmap* bitmap_ = nullptr;
  bool was_enabled_ = false;
  bool was_stored_disabled_ = false;
};

class Graph::BitmapMerging final : public Graph::BitmapWork {
 public:
  explicit BitmapMerging(MergeBitmaps step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    for (Node* node : known_nodes(change)) CO_TRY(co_await quiesce(change, *node));
    CO_TRY_ASSIGN(const Found target, find(change, step_.target));
    CO_TRY_ASSIGN(const std::vector<DirtyBitmap*> sources, find_sources(change, *target.bitmap));
    CO_TRY(target.bitmap->check(DirtyBitmap::Use::kChange));
    bitmap_ = target.bitmap;
    store_ = store_of(*target.node, *bitmap_);
    auto before = bitmap_->bits().copy();
    if (!before) co_return fail(no_memory(*bitmap_, before.error()));
    before_ = std::move(*before);
    for (const DirtyBitmap* source : sources) bitmap_->bits().merge(source->bits());
    co_return Result<>();
  }

  aio::Task<void> commit(Change&) override {
    if (store_ != nullptr) co_await store_->store_bits();
  }

  aio::Task<void> abort(Change&) override {
    bitmap_->bits().swap(*before_);
    co_return;
  }

 private:
  // They are quiesced before anything is checked, since bitmaps of nodes that have grown get their sizes by that.
  std::vector<Node*> known_nodes(Change& change) const {
    std::vector<Node*> nodes;
    auto add = [&](const std::string& name) {
      Node* node = change.graph().find(name);
      if (node != nullptr && std::ranges::find(nodes, node) == nodes.end()) nodes.push_back(node);
    };
    add(step_.target.node);
    for (const BitmapName& source : step_.sources) add(source.node);
    return nodes;
  }

  Result<std::vector<DirtyBitmap*>> find_sources(Change& change, const DirtyBitmap& target) const {
    std::vector<DirtyBitmap*> sources;
    for (const BitmapName& name : step_.sources) {
      TRY_ASSIGN(const Found source, find(change, name));
      TRY(source.bitmap->check_source(target.bits().size_bytes()));
      sources.push_back(source.bitmap);
    }
    if (sources.empty()) return fail("Parameter 'bitmaps' expects at least one bitmap");
    return sources;
  }

  MergeBitmaps step_;
  NodeStore* store_ = nullptr;
  DirtyBitmap* bitmap_ = nullptr;
  std::unique_ptr<DirtyBits> before_;
};

// The journal undoes the new sizes, so there is no abort().
class Graph::BitmapResizing final : public Graph::BitmapWork {
 public:
  aio::Task<Result<>> prepare(Change& change) override {
    for (const GraphNode& entry : change.graph().nodes()) {
      if (is_behind(*entry.node)) CO_TRY(co_await quiesce(change, *entry.node));
    }
    co_return Result<>();
  }
};

class Graph::Failure final : public Graph::Work {
 public:
  explicit Failure(FailChange step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change&) override { co_return fail(step_.message); }

 private:
  FailChange step_;
};

aio::Task<Result<>> Graph::resize_bitmaps() {
  if (std::ranges::none_of(nodes_, [](const GraphNode& entry) { return is_behind(*entry.node); })) {
    co_return Result<>();
  }
  std::vector<GraphStep> steps;
  steps.emplace_back(ResizeBitmaps{});
  co_return co_await apply(std::move(steps));
}

std::unique_ptr<Graph::Work> Graph::work_of(AddBitmap step) {
  return std::make_unique<BitmapAddition>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(RemoveBitmap step) {
  return std::make_unique<BitmapRemoval>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(ClearBitmap step) {
  return std::make_unique<BitmapClearing>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(EnableBitmap step) {
  return std::make_unique<BitmapSwitching>(std::move(step.bitmap), true);
}

std::unique_ptr<Graph::Work> Graph::work_of(DisableBitmap step) {
  return std::make_unique<BitmapSwitching>(std::move(step.bitmap), false);
}

std::unique_ptr<Graph::Work> Graph::work_of(MergeBitmaps step) {
  return std::make_unique<BitmapMerging>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(ResizeBitmaps) {
  return std::make_unique<BitmapResizing>();
}

std::unique_ptr<Graph::Work> Graph::work_of(FailChange step) {
  return std::make_unique<Failure>(std::move(step));
}

}  // namespace blockexport::block

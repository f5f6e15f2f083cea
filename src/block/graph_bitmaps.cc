// The steps of a change that add, remove, alter and merge dirty bitmaps. Errors have the texts and the order of QMP.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "block/chain.h"
#include "block/graph_change.h"
#include "block/image_bitmaps.h"
#include "block/node_keeper.h"
#include "block/node_store.h"
#include "schema/block_node_info.h"

namespace blockexport::block {
namespace {

Error no_memory(const DirtyBitmap& bitmap, Errno error) {
  return Error::system(fmt::format("Cannot keep the contents of bitmap '{}'", bitmap.name()), error);
}

// The cluster size of the image that the node shows; nullopt: the node shows no image with clusters.
std::optional<std::uint64_t> cluster_bytes_of(Node& node) {
  for (Node* one = &node; one != nullptr; one = filtered_node(*one)) {
    schema::ImageInfo info;
    one->driver().describe_image(info);
    if (info.cluster_size) return static_cast<std::uint64_t>(*info.cluster_size);
  }
  return std::nullopt;
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
    if (!node.read_only()) {
      if (ImageBitmaps* image = node.driver().image_bitmaps()) CO_TRY(co_await image->begin_use());
    }
    if (NodeStore* store = node.bitmaps().store()) co_return co_await prepare_store(change, node, *store);
    if (IoResult resized = change.resize_bitmaps(node); !resized) {
      co_return fail(
          Error::system(fmt::format("Cannot resize the bitmaps of node '{}'", node.name()), resized.error()));
    }
    co_return Result<>();
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
    const std::uint32_t granularity_bytes =
        step_.granularity_bytes.value_or(DirtyBitmap::default_granularity_bytes(cluster_bytes_of(*node_)));
    CO_TRY(DirtyBitmap::check_granularity(granularity_bytes));
    if (step_.persistent) {
      if (node_->read_only()) {
        co_return fail(fmt::format("Cannot add a persistent bitmap to read-only or inactive node '{}'", name.node));
      }
      CO_TRY(choose_keeper(granularity_bytes));
    }
    CO_TRY(co_await quiesce(change, *node_));
    CO_TRY_ASSIGN(bitmap_, node_->bitmaps().add(name.name, node_->size_bytes(), granularity_bytes));
    bitmap_->set_enabled(step_.enabled);
    if (!step_.persistent) co_return Result<>();
    Result<> stored = co_await keeper_.add(*bitmap_);
    if (!stored) node_->bitmaps().take(*bitmap_);
    co_return stored;
  }

  aio::Task<void> abort(Change&) override {
    if (bitmap_->is_persistent()) co_await keeper_.undo_add(*bitmap_);
    node_->bitmaps().take(*bitmap_);
  }

 private:
  // An image that has bitmaps keeps those of a store beside it too.
  Result<> choose_keeper(std::uint32_t granularity_bytes) {
    const BitmapName& name = step_.bitmap;
    BitmapKeeper* keeper = node_->driver().image_bitmaps();
    if (keeper == nullptr) keeper = node_->bitmaps().store();
    keeper_ = NodeKeeper(*node_, keeper);
    if (!keeper_.keeps()) {
      return fail(Error::system(fmt::format("Can't store persistent bitmaps to {}", name.node), Errno(ENOTSUP))
                      .with_hint("Open the node with the option bitmap-store."));
    }
    if (node_->bitmaps().list().find(name.name) != nullptr) {
      return fail(fmt::format("Bitmap already exists: {}", name.name));
    }
    Result<> checked = keeper_.check_addition(
        {.name = name.name, .size_bytes = node_->size_bytes(), .granularity_bytes = granularity_bytes});
    if (checked) return {};
    return fail(std::move(checked).error().with_prefix(
        fmt::format("Can't make bitmap '{}' persistent in '{}': ", name.name, name.node)));
  }

  AddBitmap step_;
  Node* node_ = nullptr;
  NodeKeeper keeper_;
  DirtyBitmap* bitmap_ = nullptr;
};

class Graph::BitmapRemoval final : public Graph::BitmapWork {
 public:
  explicit BitmapRemoval(RemoveBitmap step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    CO_TRY_ASSIGN(found_, find(change, step_.bitmap));
    CO_TRY(check());
    // Before the wait, so that no operation begins to use the bitmap meanwhile.
    found_.bitmap->set_busy(true);
    Result<> quiesced = co_await quiesce(change, *found_.node);
    if (!quiesced) found_.bitmap->set_busy(false);
    co_return quiesced;
  }

  // Its keeper removes it only now, since that cannot be undone.
  aio::Task<Result<>> perform(Change&) override {
    is_removed_ = true;
    NodeKeeper keeper(*found_.node, found_.bitmap->keeper());
    if (!keeper.keeps()) co_return Result<>();
    co_return co_await keeper.remove(*found_.bitmap);
  }

  aio::Task<void> commit(Change& change) override {
    // As a step before others, which must not fail any more.
    if (!is_removed_) {
      Result<> removed = co_await perform(change);
      if (!removed && change.graph().log_ != nullptr) change.graph().log_->warning(removed.error().message());
    }
    found_.node->bitmaps().take(*found_.bitmap);
  }

  aio::Task<void> abort(Change&) override {
    found_.bitmap->set_busy(false);
    co_return;
  }

 private:
  Result<> check() const {
    const DirtyBitmap& bitmap = *found_.bitmap;
    TRY(bitmap.check_free());
    if (bitmap.is_persistent() && found_.node->read_only()) {
      return fail(fmt::format("Cannot remove persistent bitmap '{}': no write access to node '{}'", bitmap.name(),
                              found_.node->name()));
    }
    return bitmap.check(DirtyBitmap::Use::kRemove);
  }

  RemoveBitmap step_;
  Found found_ = {};
  bool is_removed_ = false;
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
    keeper_ = NodeKeeper(*found.node, bitmap_->keeper());
    auto taken = bitmap_->bits().take();
    if (!taken) co_return fail(no_memory(*bitmap_, taken.error()));
    taken_ = std::move(*taken);
    co_return Result<>();
  }

  // So that the bits do not come back after a crash.
  aio::Task<void> commit(Change&) override { co_await keeper_.store_bits(); }

  aio::Task<void> abort(Change&) override {
    bitmap_->bits().merge(*taken_);
    co_return;
  }

 private:
  ClearBitmap step_;
  NodeKeeper keeper_;
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
    keeper_ = NodeKeeper(*found.node, bitmap_->keeper());
    // A bitmap that is enabled in the store only has too many bits after a crash, one that is disabled too few.
    if (keeper_.keeps() && enable_) {
      // An earlier step of the change may have disabled it, which is not stored yet.
      was_stored_disabled_ = !keeper_.is_stored_enabled(*bitmap_);
      CO_TRY(co_await keeper_.set_enabled(*bitmap_, true));
    }
    bitmap_->set_enabled(enable_);
    co_return Result<>();
  }

  aio::Task<void> commit(Change&) override {
    // A later step may have enabled it again.
    const bool is_disabled = !enable_ && !bitmap_->is_enabled();
    if (keeper_.keeps() && is_disabled) (void)co_await keeper_.set_enabled(*bitmap_, false);
  }

  aio::Task<void> abort(Change&) override {
    bitmap_->set_enabled(was_enabled_);
    if (was_stored_disabled_) (void)co_await keeper_.set_enabled(*bitmap_, false);
  }

 private:
  BitmapName name_;
  bool enable_;
  NodeKeeper keeper_;
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
    bitmap_ = target.bitmap;
    keeper_ = NodeKeeper(*target.node, bitmap_->keeper());
    auto before = bitmap_->bits().copy();
    if (!before) co_return fail(no_memory(*bitmap_, before.error()));
    before_ = std::move(*before);
    for (const DirtyBitmap* source : sources) bitmap_->bits().merge(source->bits());
    co_return Result<>();
  }

  aio::Task<void> commit(Change&) override { co_await keeper_.store_bits(); }

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
      TRY(target.check(DirtyBitmap::Use::kChange));
      TRY(source.bitmap->check_source(target.bits().size_bytes()));
      sources.push_back(source.bitmap);
    }
    if (sources.empty()) return fail("Parameter 'bitmaps' expects at least one bitmap");
    return sources;
  }

  MergeBitmaps step_;
  NodeKeeper keeper_;
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

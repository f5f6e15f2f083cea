// The step of a change that gives dirty bitmaps out to an operation that reads them.
#include <fmt/format.h>

#include "block/chain.h"
#include "block/graph_change.h"

namespace blockexport::block {

class Graph::BitmapHolding final : public Graph::Work {
 public:
  explicit BitmapHolding(HoldBitmaps step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    if (change.graph().closing_) co_return fail(closing_error());
    CO_TRY_ASSIGN(Node * top, change.graph().lookup(step_.top));
    // All are found before any becomes busy, since one may be named twice.
    std::vector<Found> found;
    for (const BitmapReference& reference : step_.bitmaps) {
      CO_TRY_ASSIGN(const Found one, find(change, *top, reference));
      CO_TRY(one.bitmap->check(DirtyBitmap::Use::kRead));
      found.push_back(one);
    }
    for (const Found& one : found) {
      EdgeParent parent{
          .name = "root", .description = std::string(kUnnamedUser), .tolerates_growth = true, .keeps_bitmap = true};
      held_.emplace_back(std::make_unique<Edge>(*one.node, std::move(parent), Permissions{}), *one.bitmap);
      change.note_changed(*one.node);
    }
    co_return Result<>();
  }

  aio::Task<void> commit(Change&) override {
    *step_.held = std::move(held_);
    co_return;
  }

  aio::Task<void> abort(Change& change) override {
    for (HeldBitmap& one : held_) {
      const std::unique_ptr<Edge> edge = one.end();
      change.forget_edge(*edge);
    }
    held_.clear();
    co_return;
  }

 private:
  struct Found {
    Node* node;
    DirtyBitmap* bitmap;
  };

  Result<Found> find(Change& change, Node& top, const BitmapReference& reference) const {
    if (!reference.node) return find_below(top, reference.name);
    Node* node = change.graph().find(*reference.node);
    if (node == nullptr) return fail(fmt::format("Node '{}' not found", *reference.node));
    TRY_ASSIGN(DirtyBitmap * bitmap, node->bitmaps().list().require(reference.name));
    return Found{node, bitmap};
  }

  // The first bitmap of that name on the way down from `top`.
  Result<Found> find_below(Node& top, const std::string& name) const {
    for (Node* node = &top; node != nullptr; node = next_in_chain(*node)) {
      DirtyBitmap* bitmap = node->bitmaps().list().find(name);
      if (bitmap == nullptr) continue;
      if (step_.is_read_only && !node->read_only() && bitmap->is_enabled()) {
        return fail(Error(fmt::format("Enabled bitmap '{}' incompatible with readonly export", name))
                        .with_hint("Disable it first, with block-dirty-bitmap-disable."));
      }
      return Found{node, bitmap};
    }
    return fail(fmt::format("Bitmap '{}' is not found", name));
  }

  HoldBitmaps step_;
  std::vector<HeldBitmap> held_;
};

aio::Task<Result<std::vector<HeldBitmap>>> Graph::hold(std::string top, bool is_read_only,
                                                       std::vector<BitmapReference> bitmaps) {
  std::vector<HeldBitmap> held;
  std::vector<GraphStep> steps;
  steps.emplace_back(
      HoldBitmaps{.top = std::move(top), .is_read_only = is_read_only, .bitmaps = std::move(bitmaps), .held = &held});
  CO_TRY(co_await apply(std::move(steps)));
  co_return held;
}

aio::Task<void> Graph::release(std::vector<HeldBitmap> held) {
  // All of them end first: one that is there twice is not busy any more after its first end, and a command may then
  // remove it.
  std::vector<std::unique_ptr<Edge>> edges;
  for (HeldBitmap& one : held) edges.push_back(one.end());
  for (std::unique_ptr<Edge>& edge : edges) co_await detach(std::move(edge));
}

std::unique_ptr<Graph::Work> Graph::work_of(HoldBitmaps step) {
  return std::make_unique<BitmapHolding>(std::move(step));
}

}  // namespace blockexport::block

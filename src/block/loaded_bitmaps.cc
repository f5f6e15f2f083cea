#include "block/loaded_bitmaps.h"

#include <fmt/format.h>

#include "base/log.h"
#include "block/image_bitmaps.h"
#include "block/node_store.h"

namespace blockexport::block {
namespace {

aio::Task<Result<>> load_one(ImageBitmaps& image, Node& node, const ImageBitmaps::Kept& kept) {
  CO_TRY_ASSIGN(DirtyBitmap * bitmap, node.bitmaps().add(kept.name, node.size_bytes(), kept.granularity_bytes));
  bitmap->set_keeper(&image);
  bitmap->set_enabled(kept.is_enabled && !kept.is_inconsistent);
  bitmap->set_read_only(node.read_only());
  if (kept.is_inconsistent) {
    bitmap->make_inconsistent();
    co_return Result<>();
  }
  co_return co_await image.load(kept.name, bitmap->bits());
}

}  // namespace

aio::Task<Result<>> load_image_bitmaps(Node& node) {
  ImageBitmaps* image = node.driver().image_bitmaps();
  if (image == nullptr) co_return Result<>();
  CO_TRY_ASSIGN(const std::vector<ImageBitmaps::Kept> all, image->kept());
  for (const ImageBitmaps::Kept& kept : all) {
    // A store beside the image had it.
    if (node.bitmaps().list().find(kept.name) != nullptr) continue;
    Result<> loaded = co_await load_one(*image, node, kept);
    if (loaded) continue;
    node.bitmaps().drop_kept_by(*image);
    co_return loaded;
  }
  co_return Result<>();
}

aio::Task<void> begin_using_image_bitmaps(Node& node, const Log* log) {
  ImageBitmaps* image = node.driver().image_bitmaps();
  if (image == nullptr || node.read_only()) co_return;
  const NodeStore* const store = node.bitmaps().store();
  image->set_session(store != nullptr ? store->session() : 0);
  const Result<> begun = co_await image->begin_use();
  if (begun || log == nullptr) co_return;
  log->warning(
      fmt::format("Cannot mark the bitmaps in the image of node '{}' as in use: {}. It is tried again before "
                  "the image changes.",
                  node.name(), begun.error().message()));
}

aio::Task<Result<>> store_image_bitmaps(Node& node, const Log* log) {
  ImageBitmaps* image = node.driver().image_bitmaps();
  if (image == nullptr || node.read_only()) co_return Result<>();
  node.bitmaps().catch_up(node.size_bytes());
  Result<> stored = co_await image->store(node.bitmaps().list());
  if (stored || log == nullptr) co_return stored;
  const NodeStore* const store = node.bitmaps().store();
  if (store != nullptr && store->survives_crash()) {
    log->warning(
        fmt::format("Cannot store the bitmaps of node '{}' in its image: {}. Bitmap store '{}' keeps them for the next "
                    "opening.",
                    node.name(), stored.error().message(), store->path()));
  } else {
    log->warning(
        fmt::format("Lost persistent bitmaps during inactivation of node '{}': {}. Those in its image are "
                    "inconsistent: remove them, and make a full backup.",
                    node.name(), stored.error().message()));
  }
  co_return stored;
}

void follow_read_only(Node& node) {
  const ImageBitmaps* image = node.driver().image_bitmaps();
  if (image == nullptr) return;
  for (const auto& bitmap : node.bitmaps().list().all()) {
    if (bitmap->keeper() == image) bitmap->set_read_only(node.read_only());
  }
}

}  // namespace blockexport::block

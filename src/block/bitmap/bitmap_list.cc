#include "block/bitmap/bitmap_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

namespace blockexport::block {

Result<DirtyBitmap*> BitmapList::add(std::string name, std::uint64_t size_bytes, std::uint64_t granularity_bytes) {
  TRY(DirtyBitmap::check_is_named(name));
  TRY(DirtyBitmap::check_granularity(granularity_bytes));
  if (find(name) != nullptr) return fail(fmt::format("Bitmap already exists: {}", name));
  if (name.size() > DirtyBitmap::kNameBytesMax) return fail(fmt::format("Bitmap name too long: {}", name));
  TRY_ASSIGN(auto bitmap,
             DirtyBitmap::create(std::move(name), size_bytes, static_cast<std::uint32_t>(granularity_bytes)));
  return bitmaps_.emplace_back(std::move(bitmap)).get();
}

DirtyBitmap* BitmapList::find(std::string_view name) const {
  auto found = std::ranges::find(bitmaps_, name, [](const auto& bitmap) -> std::string_view { return bitmap->name(); });
  return found == bitmaps_.end() ? nullptr : found->get();
}

Result<DirtyBitmap*> BitmapList::require(std::string_view name) const {
  if (DirtyBitmap* bitmap = find(name)) return bitmap;
  return fail(fmt::format("Dirty bitmap '{}' not found", name));
}

std::unique_ptr<DirtyBitmap> BitmapList::take(const DirtyBitmap& bitmap) {
  auto found =
      std::ranges::find(bitmaps_, &bitmap, [](const auto& owned) -> const DirtyBitmap* { return owned.get(); });
  assert(found != bitmaps_.end());
  std::unique_ptr<DirtyBitmap> taken = std::move(*found);
  bitmaps_.erase(found);
  return taken;
}

}  // namespace blockexport::block

#include "client/image/place_search.h"

#include <algorithm>

#include "block/chain.h"
#include "block/edge.h"

namespace blockexport::image {
namespace {

using block::DataPlace;
using block::DataPlaceKind;

constexpr unsigned kPassedOnMax = 16;  // raw nodes on one another

// Adds the name of the file that holds the bytes, and their offset there. Returns their place in it.
aio::Task<DataPlace> find_file(PlacedExtent& extent, DataPlace place) {
  for (unsigned i = 0; i < kPassedOnMax; ++i) {
    const auto below = co_await place.node->driver().locate({place.offset, extent.length});
    if (!below || below->kind != DataPlaceKind::kPassed) break;
    extent.length = std::min(extent.length, below->length);
    place = *below;
  }
  extent.offset = place.offset;
  extent.file = place.node->driver().filename();
  co_return place;
}

// The same, and adds the holes that the file has.
aio::Task<Result<>> look_into_file(PlacedExtent& extent, DataPlace place, bool file_decides) {
  place = co_await find_file(extent, place);
  // A cluster may reach past the end of the file, where it reads as zeros.
  const std::uint64_t file_bytes = place.node->size_bytes();
  if (place.offset >= file_bytes) {
    extent.is_zero = true;
    co_return Result<>();
  }
  extent.length = std::min(extent.length, file_bytes - place.offset);
  block::Extents found;
  const IoResult asked = co_await place.node->extents({place.offset, extent.length}, found);
  if (!asked) co_return fail(Error::system("Failed to read image metadata", asked.error()));
  extent.length = std::min(extent.length, found.front().length);
  extent.is_zero = found.front().zero;
  if (file_decides) extent.is_data = found.front().data;
  co_return Result<>();
}

}  // namespace

bool PlacedExtent::continues_in(const PlacedExtent& next) const {
  const bool is_next_offset = offset && next.offset ? *offset + length == *next.offset : offset == next.offset;
  return start + length == next.start && depth == next.depth && is_present == next.is_present &&
         is_zero == next.is_zero && is_data == next.is_data && is_compressed == next.is_compressed && is_next_offset &&
         file == next.file;
}

aio::Task<Result<PlacedExtent>> find_place(block::Node& image, block::Range range) {
  PlacedExtent extent{.start = range.offset, .length = range.length};
  for (block::Node* node = &image;; ++extent.depth) {
    const auto place = co_await node->driver().locate({range.offset, extent.length});
    if (!place && place.error() == Errno(ENOTSUP)) {
      // The file itself.
      CO_TRY(co_await look_into_file(extent, {.length = extent.length, .node = node, .offset = range.offset}, true));
      extent.is_present = true;
      co_return extent;
    }
    if (!place) co_return fail(Error::system("Failed to read image metadata", place.error()));
    extent.length = std::min(extent.length, place->length);
    if (place->kind != DataPlaceKind::kBacking) {
      extent.is_present = true;
      extent.is_compressed = place->kind == DataPlaceKind::kCompressed;
      extent.is_data = place->kind == DataPlaceKind::kData || extent.is_compressed;
      extent.is_zero = place->kind == DataPlaceKind::kZero;
      const bool is_passed = place->kind == DataPlaceKind::kPassed;
      if (place->node != nullptr && extent.is_zero) {
        (void)co_await find_file(extent, *place);
      } else if (place->node != nullptr) {
        CO_TRY(co_await look_into_file(extent, *place, is_passed));
      }
      co_return extent;
    }
    block::Edge* const backing = block::child_of_role(*node, block::ChildRole::kBacking);
    // Behind the end of the image below, too, nobody has the bytes.
    const std::uint64_t backed_end = backing == nullptr ? 0 : backing->node().size_bytes();
    if (range.offset >= backed_end) {
      extent.is_zero = true;
      if (place->node != nullptr) (void)co_await find_file(extent, *place);
      co_return extent;
    }
    node = &backing->node();
    extent.length = std::min(extent.length, backed_end - range.offset);
  }
}

}  // namespace blockexport::image

#include "block/bitmap/dirty_bitmap.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace blockexport::block {
namespace {

constexpr std::uint64_t kDefaultGranularityBytesMin = 4u << 10;

constexpr const char* kGranularityHint = "A bitmap needs one bit for each granule. Use a larger granularity.";

// The reason why bits cannot be allocated: too many granules, or no memory.
std::string reason(Errno cause) {
  if (cause != Errno(EFBIG)) return errno_text(cause);
  return fmt::format("a bitmap has at most {} granules", DirtyBits::kGranulesMax);
}

}  // namespace

std::uint32_t DirtyBitmap::default_granularity_bytes(std::optional<std::uint64_t> cluster_bytes) {
  if (!cluster_bytes) return kDefaultGranularityBytes;
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(*cluster_bytes, kDefaultGranularityBytesMin, kDefaultGranularityBytes));
}

Result<> DirtyBitmap::check_is_named(std::string_view name) {
  if (name.empty()) return fail("Bitmap name cannot be empty");
  return {};
}

Result<> DirtyBitmap::check_granularity(std::uint64_t granularity_bytes) {
  if (!DirtyBits::is_granularity(granularity_bytes)) return fail("Granularity must be power of 2 and at least 512");
  return {};
}

Result<std::unique_ptr<DirtyBitmap>> DirtyBitmap::create(std::string name, std::uint64_t size_bytes,
                                                         std::uint32_t granularity_bytes) {
  auto bits = DirtyBits::create(size_bytes, granularity_bytes);
  if (!bits) {
    return fail(
        Error(fmt::format("Cannot allocate bitmap '{}': {}", name, reason(bits.error()))).with_hint(kGranularityHint));
  }
  return std::unique_ptr<DirtyBitmap>(new DirtyBitmap(std::move(name), std::move(*bits)));
}

Result<> DirtyBitmap::resize(std::uint64_t size_bytes) {
  IoResult resized = bits_->resize(size_bytes);
  if (resized) return {};
  // An operation that uses the bitmap now keeps the existing bits, and reads the bytes past them as dirty.
  make_inconsistent();
  return fail(Error(fmt::format("Bitmap '{}' cannot grow with its node, and is inconsistent now: {}", name_,
                                reason(resized.error())))
                  .with_hint("Remove it with block-dirty-bitmap-remove, and make a full backup."));
}

Result<> DirtyBitmap::check_free() const {
  if (!is_busy_) return {};
  return fail(fmt::format("Bitmap '{}' is currently in use by another operation and cannot be used", name_));
}

Result<> DirtyBitmap::check(Use use) const {
  TRY(check_free());
  if (is_read_only_ && use != Use::kRead) {
    return fail(fmt::format("Bitmap '{}' is readonly and cannot be modified", name_));
  }
  if (is_inconsistent_ && use != Use::kRemove) {
    return fail(Error(fmt::format("Bitmap '{}' is inconsistent and cannot be used", name_))
                    .with_hint("It can only be removed, with block-dirty-bitmap-remove."));
  }
  return {};
}

Result<> DirtyBitmap::check_source(std::uint64_t target_size_bytes) const {
  TRY(check(Use::kRead));
  if (bits_->size_bytes() != target_size_bytes) {
    return fail(
        fmt::format("Bitmaps are of different sizes (destination size is {}, source size is {}) and can't be merged",
                    target_size_bytes, bits_->size_bytes()));
  }
  return {};
}

}  // namespace blockexport::block

#include "drivers/qcow2/qcow2_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <string_view>

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kRefcountCacheClustersMin = 4;
constexpr std::uint64_t kL2SlicesMin = 2;
constexpr std::uint64_t kSmallSliceBytes = 4096;

std::uint16_t checks_of(schema::Qcow2OverlapCheckMode mode) {
  switch (mode) {
    case schema::Qcow2OverlapCheckMode::kNone:
      return 0;
    case schema::Qcow2OverlapCheckMode::kConstant:
      return kOverlapConstant;
    case schema::Qcow2OverlapCheckMode::kCached:
      return kOverlapCached;
    case schema::Qcow2OverlapCheckMode::kAll:
      return kOverlapAll;
  }
  return kOverlapCached;
}

std::uint16_t checks_of(const schema::Qcow2OverlapCheckFlags& flags) {
  std::uint16_t checks = checks_of(flags.template_.value_or(schema::Qcow2OverlapCheckMode::kCached));
  const auto set = [&checks](const std::optional<bool>& flag, std::uint16_t bit) {
    if (!flag) return;
    checks = static_cast<std::uint16_t>(*flag ? checks | bit : checks & ~bit);
  };
  set(flags.main_header, kOverlapMainHeader);
  set(flags.active_l1, kOverlapActiveL1);
  set(flags.active_l2, kOverlapActiveL2);
  set(flags.refcount_table, kOverlapRefcountTable);
  set(flags.refcount_block, kOverlapRefcountBlock);
  set(flags.snapshot_table, kOverlapSnapshotTable);
  set(flags.inactive_l1, kOverlapInactiveL1);
  set(flags.inactive_l2, kOverlapInactiveL2);
  set(flags.bitmap_directory, kOverlapBitmapDirectory);
  return checks;
}

// The schema's sizes are signed.
Result<std::optional<std::uint64_t>> size_of(std::string_view name, const std::optional<std::int64_t>& value) {
  if (!value) return std::nullopt;
  if (*value >= 0) return static_cast<std::uint64_t>(*value);
  return fail(fmt::format("Parameter '{}' expects a non-negative number below 2^64", name));
}

// Memory for all L2 tables of the disk.
std::uint64_t whole_l2_bytes(const Header& header) {
  const Geometry geometry = header.geometry();
  const std::uint64_t clusters = geometry.cluster_of(geometry.round_up(header.disk_bytes()));
  return geometry.round_up(clusters * geometry.l2_entry_bytes());
}

Result<> check_combination(const Qcow2Options& options) {
  if (!options.cache_bytes) return {};
  if (options.l2_cache_bytes && options.refcount_cache_bytes) {
    return fail("cache-size, l2-cache-size and refcount-cache-size may not be set at the same time");
  }
  if (options.l2_cache_bytes.value_or(0) > *options.cache_bytes) return fail("l2-cache-size may not exceed cache-size");
  if (options.refcount_cache_bytes.value_or(0) > *options.cache_bytes) {
    return fail("refcount-cache-size may not exceed cache-size");
  }
  return {};
}

}  // namespace

Result<Qcow2Options> qcow2_options(const schema::BlockdevOptionsQcow2& options,
                                   const block::NodeOptions& node_options) {
  Qcow2Options result{.lazy_refcounts = options.lazy_refcounts};
  result.pass_discard_request =
      options.pass_discard_request.value_or(node_options.discard == block::DiscardMode::kUnmap);
  result.pass_discard_snapshot = options.pass_discard_snapshot.value_or(true);
  result.pass_discard_other = options.pass_discard_other.value_or(false);
  result.discard_no_unref = options.discard_no_unref.value_or(false);
  if (options.overlap_check) {
    const schema::Qcow2OverlapCheckFlags* flags = options.overlap_check->flags();
    result.overlap_checks = flags != nullptr ? checks_of(*flags) : checks_of(*options.overlap_check->mode());
  }
  TRY_ASSIGN(result.cache_bytes, size_of("cache-size", options.cache_size));
  TRY_ASSIGN(result.l2_cache_bytes, size_of("l2-cache-size", options.l2_cache_size));
  TRY_ASSIGN(result.l2_slice_bytes, size_of("l2-cache-entry-size", options.l2_cache_entry_size));
  TRY_ASSIGN(result.refcount_cache_bytes, size_of("refcount-cache-size", options.refcount_cache_size));
  TRY(check_combination(result));
  const std::int64_t interval = options.cache_clean_interval.value_or(kCacheCleanSecondsDefault);
  if (interval < 0 || interval > UINT32_MAX) return fail("Cache clean interval too big");
  result.cache_clean_seconds = static_cast<std::uint32_t>(interval);
  if (options.encrypt) {
    using Format = schema::BlockdevQcow2EncryptionFormat;
    const bool is_aes = options.encrypt->format() == Format::kAes;
    result.encryption_format = is_aes ? "aes" : "luks";
    result.key_secret =
        is_aes ? options.encrypt->as<Format::kAes>().key_secret : options.encrypt->as<Format::kLuks>().key_secret;
  }
  return result;
}

Result<Qcow2CacheSizes> cache_sizes(const Qcow2Options& options, const Header& header) {
  const std::uint64_t cluster_bytes = header.cluster_bytes();
  const std::uint64_t whole_bytes = whole_l2_bytes(header);
  const std::uint64_t refcount_min = kRefcountCacheClustersMin * cluster_bytes;
  Qcow2CacheSizes sizes{.l2_bytes = std::min(whole_bytes, options.l2_cache_bytes.value_or(kL2CacheBytesDefault)),
                        .l2_slice_bytes = options.l2_slice_bytes.value_or(cluster_bytes),
                        .refcount_bytes = options.refcount_cache_bytes.value_or(0)};
  if (options.cache_bytes) {
    const std::uint64_t both = *options.cache_bytes;
    if (options.l2_cache_bytes) {
      sizes.refcount_bytes = both - sizes.l2_bytes;
    } else {
      if (!options.refcount_cache_bytes) {
        sizes.refcount_bytes = both >= whole_bytes + refcount_min ? both - whole_bytes : std::min(both, refcount_min);
      }
      sizes.l2_bytes = both - sizes.refcount_bytes;
    }
  }
  // Smaller slices are read and evicted at less cost.
  if (sizes.l2_bytes < whole_bytes && !options.l2_slice_bytes) {
    sizes.l2_slice_bytes = std::min(cluster_bytes, kSmallSliceBytes);
  }
  constexpr std::uint64_t kSliceBytesMin = 1u << kClusterBitsMin;
  if (sizes.l2_slice_bytes < kSliceBytesMin || sizes.l2_slice_bytes > cluster_bytes ||
      !std::has_single_bit(sizes.l2_slice_bytes)) {
    return fail(fmt::format("L2 cache entry size must be a power of two between {} and the cluster size ({})",
                            kSliceBytesMin, cluster_bytes));
  }
  if (sizes.l2_bytes / sizes.l2_slice_bytes > INT_MAX) return fail("L2 cache size too big");
  if (sizes.refcount_bytes / cluster_bytes > INT_MAX) return fail("Refcount cache size too big");
  // Memory beyond the image's own tables would never be used.
  sizes.l2_bytes = std::clamp(sizes.l2_bytes, kL2SlicesMin * sizes.l2_slice_bytes,
                              std::max(whole_bytes, kL2SlicesMin * sizes.l2_slice_bytes));
  if (sizes.l2_bytes / sizes.l2_slice_bytes > kL2CacheSlicesMax) return fail("L2 cache size too big");
  sizes.refcount_bytes = std::clamp(sizes.refcount_bytes, refcount_min,
                                    std::max(refcount_min, kRefcountTableBytesMax / 8 * cluster_bytes));
  return sizes;
}

Result<> check_options(const Qcow2Options& options, const Header& header) {
  if (header.version >= 3) return {};
  if (options.lazy_refcounts.value_or(false)) {
    return fail("Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
  }
  if (options.discard_no_unref) return fail("discard-no-unref is only supported since qcow2 version 3");
  return {};
}

}  // namespace blockexport::drivers::qcow2

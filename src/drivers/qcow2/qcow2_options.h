// Qcow2Options: options of a qcow2 node as plain values, and the sizes of the caches that follow from them.
//
// Pure functions; any thread. The texts of errors are those of qemu-storage-daemon.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "block/node_options.h"
#include "drivers/qcow2/format/header.h"
#include "schema/block_core.h"

namespace blockexport::drivers::qcow2 {

inline constexpr std::uint64_t kL2CacheBytesDefault = 32u << 20;
inline constexpr std::uint32_t kCacheCleanSecondsDefault = 600;
// Slices of L2 tables that the cache may hold; each takes about 64 bytes even if it is empty.
inline constexpr std::uint64_t kL2CacheSlicesMax = 1u << 24;

// Parts of the metadata that are protected against writes to other parts; bits of Qcow2Options::overlap_checks.
enum OverlapCheck : std::uint16_t {
  kOverlapMainHeader = 1u << 0,
  kOverlapActiveL1 = 1u << 1,
  kOverlapActiveL2 = 1u << 2,
  kOverlapRefcountTable = 1u << 3,
  kOverlapRefcountBlock = 1u << 4,
  kOverlapSnapshotTable = 1u << 5,
  kOverlapInactiveL1 = 1u << 6,
  kOverlapInactiveL2 = 1u << 7,
  kOverlapBitmapDirectory = 1u << 8,
};
inline constexpr std::uint16_t kOverlapConstant =
    kOverlapMainHeader | kOverlapActiveL1 | kOverlapRefcountTable | kOverlapSnapshotTable | kOverlapBitmapDirectory;
inline constexpr std::uint16_t kOverlapCached =
    kOverlapConstant | kOverlapActiveL2 | kOverlapRefcountBlock | kOverlapInactiveL1;
inline constexpr std::uint16_t kOverlapAll = kOverlapCached | kOverlapInactiveL2;

struct Qcow2Options {
  std::optional<bool> lazy_refcounts = std::nullopt;  // nullopt: as the image says
  bool pass_discard_request = false;
  bool pass_discard_snapshot = true;
  bool pass_discard_other = false;
  bool discard_no_unref = false;
  std::uint16_t overlap_checks = kOverlapCached;
  std::optional<std::uint64_t> cache_bytes = std::nullopt;  // of both caches together
  std::optional<std::uint64_t> l2_cache_bytes = std::nullopt;
  std::optional<std::uint64_t> l2_slice_bytes = std::nullopt;
  std::optional<std::uint64_t> refcount_cache_bytes = std::nullopt;
  std::uint32_t cache_clean_seconds = kCacheCleanSecondsDefault;  // 0: never
  std::string encryption_format = {};                             // empty: not given
  std::optional<std::string> key_secret = {};                     // of the encryption

  friend bool operator==(const Qcow2Options&, const Qcow2Options&) = default;
};

struct Qcow2CacheSizes {
  std::uint64_t l2_bytes = 0;
  std::uint64_t l2_slice_bytes = 0;
  std::uint64_t refcount_bytes = 0;

  friend bool operator==(const Qcow2CacheSizes&, const Qcow2CacheSizes&) = default;
};

Result<Qcow2Options> qcow2_options(const schema::BlockdevOptionsQcow2& options, const block::NodeOptions& node_options);

// The sizes for an image with that header. No cache is larger than the tables that the image can have.
Result<Qcow2CacheSizes> cache_sizes(const Qcow2Options& options, const Header& header);

// Fails when the image does not allow the options: lazy refcounts and discard-no-unref need version 3.
Result<> check_options(const Qcow2Options& options, const Header& header);

}  // namespace blockexport::drivers::qcow2

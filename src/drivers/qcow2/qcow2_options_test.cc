#include "drivers/qcow2/qcow2_options.h"

#include <gtest/gtest.h>

namespace blockexport::drivers::qcow2 {
namespace {

using schema::BlockdevOptionsQcow2;

constexpr std::int64_t kMiB = 1 << 20;
const Header kHeader{.cluster_bits = 16, .size_bytes = std::uint64_t{1} << 30};       // 128 KiB of L2 tables
const Header kLargeHeader{.cluster_bits = 16, .size_bytes = std::uint64_t{1} << 40};  // 128 MiB
const Header kOldHeader{.version = 2, .cluster_bits = 16, .size_bytes = 1u << 30};

std::string refusal(const BlockdevOptionsQcow2& options, const Header& header = kHeader) {
  const auto plain = qcow2_options(options, {});
  if (!plain) return plain.error().message();
  const auto sizes = cache_sizes(*plain, header);
  if (!sizes) return sizes.error().message();
  const auto checked = check_options(*plain, header);
  return checked ? "" : checked.error().message();
}

Qcow2CacheSizes sizes_of(const BlockdevOptionsQcow2& options, const Header& header = kHeader) {
  return cache_sizes(qcow2_options(options, {}).value(), header).value();
}

TEST(Qcow2OptionsTest, DefaultsAreThoseOfTheReference) {
  const Qcow2Options plain = qcow2_options({}, {}).value();
  EXPECT_EQ(plain, Qcow2Options());
  EXPECT_EQ(plain.overlap_checks, kOverlapCached);
  EXPECT_EQ(plain.cache_clean_seconds, 600u);
  EXPECT_TRUE(qcow2_options({}, {.discard = block::DiscardMode::kUnmap}).value().pass_discard_request);
}

TEST(Qcow2OptionsTest, OverlapChecksAreAWordOrFlags) {
  BlockdevOptionsQcow2 options;
  options.overlap_check = schema::Qcow2OverlapChecks{schema::Qcow2OverlapCheckMode::kNone};
  EXPECT_EQ(qcow2_options(options, {}).value().overlap_checks, 0);
  options.overlap_check = schema::Qcow2OverlapChecks{
      schema::Qcow2OverlapCheckFlags{.template_ = schema::Qcow2OverlapCheckMode::kAll, .main_header = false}};
  EXPECT_EQ(qcow2_options(options, {}).value().overlap_checks, kOverlapAll & ~kOverlapMainHeader);
  options.overlap_check = schema::Qcow2OverlapChecks{schema::Qcow2OverlapCheckFlags{.inactive_l2 = true}};
  EXPECT_EQ(qcow2_options(options, {}).value().overlap_checks, kOverlapAll);
}

TEST(Qcow2OptionsTest, EveryRefusalHasTheTextOfTheReference) {
  EXPECT_EQ(refusal({.cache_size = kMiB, .l2_cache_size = kMiB, .refcount_cache_size = 1}),
            "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time");
  EXPECT_EQ(refusal({.cache_size = kMiB, .l2_cache_size = 2 * kMiB}), "l2-cache-size may not exceed cache-size");
  EXPECT_EQ(refusal({.cache_size = kMiB, .refcount_cache_size = 2 * kMiB}),
            "refcount-cache-size may not exceed cache-size");
  const std::string entry = "L2 cache entry size must be a power of two between 512 and the cluster size (65536)";
  EXPECT_EQ(refusal({.l2_cache_entry_size = 256}), entry);
  EXPECT_EQ(refusal({.l2_cache_entry_size = 131072}), entry);
  EXPECT_EQ(refusal({.l2_cache_entry_size = 3000}), entry);
  EXPECT_EQ(refusal({.cache_clean_interval = std::int64_t{1} << 32}), "Cache clean interval too big");
  EXPECT_EQ(refusal({.cache_clean_interval = -1}), "Cache clean interval too big");
  EXPECT_EQ(refusal({.l2_cache_size = -1}), "Parameter 'l2-cache-size' expects a non-negative number below 2^64");
  EXPECT_EQ(refusal({.cache_size = INT64_MAX, .l2_cache_entry_size = 512, .refcount_cache_size = 0}),
            "L2 cache size too big");
  EXPECT_EQ(refusal({.refcount_cache_size = INT64_MAX}), "Refcount cache size too big");
  EXPECT_EQ(refusal({.lazy_refcounts = true}, kOldHeader),
            "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
  EXPECT_EQ(refusal({.discard_no_unref = true}, kOldHeader),
            "discard-no-unref is only supported since qcow2 version 3");
}

TEST(Qcow2OptionsTest, CachesGetWhatTheyNeedAndNoMore) {
  EXPECT_EQ(sizes_of({}),
            (Qcow2CacheSizes{.l2_bytes = 128u << 10, .l2_slice_bytes = 65536, .refcount_bytes = 256u << 10}));
  EXPECT_EQ(sizes_of({.l2_cache_size = 64 * kMiB}).l2_bytes, 128u << 10);
  EXPECT_EQ(sizes_of({}, kLargeHeader).l2_bytes, 32u << 20);
  EXPECT_EQ(sizes_of({}, kLargeHeader).l2_slice_bytes, 4096u);
  EXPECT_EQ(sizes_of({.l2_cache_size = 128 * kMiB}, kLargeHeader).l2_slice_bytes, 65536u);
  EXPECT_EQ(sizes_of({.l2_cache_size = 0}, kLargeHeader).l2_bytes, 2 * 4096u);
}

TEST(Qcow2OptionsTest, ACombinedSizeIsDivided) {
  const Qcow2CacheSizes both = sizes_of({.cache_size = 8 * kMiB, .l2_cache_size = 6 * kMiB}, kLargeHeader);
  EXPECT_EQ(both.l2_bytes, 6u << 20);
  EXPECT_EQ(both.refcount_bytes, 2u << 20);
  const Qcow2CacheSizes other = sizes_of({.cache_size = 8 * kMiB, .refcount_cache_size = 3 * kMiB}, kLargeHeader);
  EXPECT_EQ(other.l2_bytes, 5u << 20);
  EXPECT_EQ(other.refcount_bytes, 3u << 20);
  const Qcow2CacheSizes small = sizes_of({.cache_size = 1 * kMiB}, kLargeHeader);
  EXPECT_EQ(small.refcount_bytes, 256u << 10);
  EXPECT_EQ(small.l2_bytes, (1u << 20) - (256u << 10));
  const Qcow2CacheSizes large = sizes_of({.cache_size = 256 * kMiB}, kLargeHeader);
  EXPECT_EQ(large.l2_bytes, 128u << 20);
  EXPECT_EQ(large.refcount_bytes, 128u << 20);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

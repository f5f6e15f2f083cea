#include "drivers/qcow2/bitmaps/extension_change.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "drivers/qcow2/format/extension_area.h"
#include "drivers/qcow2/format/feature_names.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = std::vector<std::byte>;
using Bitmaps = std::optional<BitmapsExtension>;

const BitmapsExtension kOld{.bitmaps = 1, .directory_bytes = 32, .directory_offset = 0x10000};
const BitmapsExtension kNew{.bitmaps = 0x0102, .directory_bytes = 0x02030408, .directory_offset = 0x1234'0000};

struct Layout {
  std::uint32_t cluster_bits = 16;
  std::uint64_t before_bytes = 0;  // of a section in front
  std::uint64_t after_bytes = 0;   // of a section behind the bitmaps extension; 0: none
  std::string backing_name = {};
};

Bytes make_cluster(const Layout& layout, const Bitmaps& bitmaps) {
  Header header{.cluster_bits = layout.cluster_bits, .size_bytes = 1u << 20};
  header.l1_entries = static_cast<std::uint32_t>(header.geometry().l1_entries_for(header.size_bytes));
  header.l1_offset = header.refcount_table_offset = 4ull << layout.cluster_bits;
  header.refcount_table_clusters = 1;
  HeaderExtensions extensions;
  if (layout.before_bytes > 0) extensions.set(0x1111, Bytes(layout.before_bytes, std::byte{0x11}));
  if (bitmaps) {
    extensions.set_bitmaps(*bitmaps);
    header.autoclear_features |= kAutoclearBitmaps;
  }
  if (layout.after_bytes > 0) extensions.set(0x2222, Bytes(layout.after_bytes, std::byte{0x22}));
  Bytes cluster = *encode_file_begin(header, extensions, layout.backing_name);
  cluster.resize(std::size_t{1} << layout.cluster_bits);
  return cluster;
}

struct Seen {
  Bitmaps bitmaps;
  std::string backing_name;
  std::vector<HeaderExtension> others;  // without bitmaps
  bool is_valid = false;
  bool has_stale_section = false;
};

Seen see(const Bytes& cluster) {
  Seen seen;
  const Result<Header> header = parse_header(cluster, HeaderUse::kReadWrite);
  if (!header) return seen;
  Result<HeaderExtensions> extensions = parse_header_extensions(*header, cluster);
  const auto name = parse_backing_name(*header, cluster);
  if (!extensions || !name) return seen;
  seen.bitmaps = extensions->bitmaps(*header);
  seen.backing_name = name->value_or("");
  seen.is_valid = true;
  seen.has_stale_section = !seen.bitmaps && extensions->find(kExtensionBitmaps) != nullptr;
  extensions->remove(kExtensionBitmaps);
  seen.others = extensions->list;
  return seen;
}

std::string describe(const Bitmaps& bitmaps) {
  if (!bitmaps) return "none";
  return std::to_string(bitmaps->bitmaps) + "/" + std::to_string(bitmaps->directory_bytes) + "/" +
         std::to_string(bitmaps->directory_offset);
}

// Makes the change. After each write, and after each part of the sectors of one, the header has one of `allowed`, and
// everything else as before.
void change(Bytes& cluster, const Bitmaps& to, const std::vector<Bitmaps>& allowed) {
  const Seen before = see(cluster);
  ASSERT_TRUE(before.is_valid);
  const Header header = *parse_header(cluster, HeaderUse::kReadWrite);
  const auto writes = plan_bitmaps_extension(cluster, header, to);
  ASSERT_TRUE(writes) << writes.error().value();
  for (const HeaderWrite& write : *writes) {
    const Bytes old = cluster;
    for (std::size_t cut = 0; cut <= write.bytes.size(); ++cut) {
      if ((write.offset + cut) % 512 != 0 && cut != write.bytes.size()) continue;
      for (const bool is_first : {true, false}) {
        cluster = old;
        const std::size_t from = is_first ? 0 : cut;
        const std::size_t end = is_first ? cut : write.bytes.size();
        std::copy(write.bytes.begin() + static_cast<std::ptrdiff_t>(from),
                  write.bytes.begin() + static_cast<std::ptrdiff_t>(end),
                  cluster.begin() + static_cast<std::ptrdiff_t>(write.offset + from));
        const Seen seen = see(cluster);
        ASSERT_TRUE(seen.is_valid);
        EXPECT_TRUE(std::ranges::find(allowed, seen.bitmaps) != allowed.end()) << describe(seen.bitmaps);
        EXPECT_EQ(seen.backing_name, before.backing_name);
        EXPECT_TRUE(seen.others == before.others);
      }
    }
    cluster = old;
    std::ranges::copy(write.bytes, cluster.begin() + static_cast<std::ptrdiff_t>(write.offset));
  }
  EXPECT_EQ(describe(see(cluster).bitmaps), describe(to));
}

std::vector<Layout> layouts() {
  std::vector<Layout> all;
  for (const std::uint32_t cluster_bits : {12u, 16u}) {
    // Around the boundary of the first sector in all positions.
    for (std::uint64_t before_bytes = 320; before_bytes <= 420; before_bytes += 4) {
      for (const std::uint64_t after_bytes : {0, 40}) {
        for (const char* name : {"", "base.img"}) all.push_back({cluster_bits, before_bytes, after_bytes, name});
      }
    }
    all.push_back({cluster_bits, 0, 0, std::string(1023, 'n')});
    all.push_back({cluster_bits, 900, 0, std::string(1023, 'n')});
  }
  return all;
}

TEST(Qcow2ExtensionChangeTest, AtEachMomentThereIsTheOldDirectoryOrTheNewOne) {
  int with_neither = 0;
  for (const Layout& layout : layouts()) {
    SCOPED_TRACE(testing::Message() << layout.cluster_bits << " " << layout.before_bytes << " " << layout.after_bytes);
    Bytes cluster = make_cluster(layout, kOld);
    const auto writes = plan_bitmaps_extension(cluster, *parse_header(cluster, HeaderUse::kReadWrite), kNew);
    ASSERT_TRUE(writes);
    // Without the bit meanwhile, if the section crosses a boundary.
    const bool has_neither = writes->size() > 1;
    with_neither += has_neither ? 1 : 0;
    change(cluster, kNew,
           has_neither ? std::vector<Bitmaps>{kOld, kNew, std::nullopt} : std::vector<Bitmaps>{kOld, kNew});
  }
  EXPECT_GT(with_neither, 0);
  EXPECT_LT(with_neither, static_cast<int>(layouts().size()) / 2);
}

TEST(Qcow2ExtensionChangeTest, TheFirstBitmapsGetASectionAndTheLastTakeItAway) {
  for (Layout layout : layouts()) {
    SCOPED_TRACE(testing::Message() << layout.cluster_bits << " " << layout.before_bytes << " " << layout.after_bytes);
    Bytes cluster = make_cluster(layout, std::nullopt);
    change(cluster, kNew, {std::nullopt, kNew});
    change(cluster, std::nullopt, {std::nullopt, kNew});
    EXPECT_FALSE(see(cluster).has_stale_section);
    change(cluster, kOld, {std::nullopt, kOld});
  }
}

TEST(Qcow2ExtensionChangeTest, ASectionThatIsNotValidIsUsedAgain) {
  Bytes cluster = make_cluster({.after_bytes = 8}, kOld);
  change(cluster, std::nullopt, {std::nullopt, kOld});
  EXPECT_TRUE(see(cluster).has_stale_section);
  const std::size_t others = see(cluster).others.size();
  change(cluster, kNew, {std::nullopt, kNew});
  EXPECT_EQ(see(cluster).others.size(), others);
}

TEST(Qcow2ExtensionChangeTest, TheSessionOfABitmapStoreStays) {
  for (const std::uint32_t cluster_bits : {9u, 16u}) {
    Bytes cluster = make_cluster({.cluster_bits = cluster_bits}, std::nullopt);
    Header with_session = *parse_header(cluster, HeaderUse::kReadWrite);
    // Beside a feature that nobody knows.
    with_session.autoclear_features |= std::uint64_t{7} << kAutoclearSessionShift | 0x80;
    std::ranges::copy(encode_header(with_session), cluster.begin());
    change(cluster, kNew, {std::nullopt, kNew});
    EXPECT_EQ(parse_header(cluster, HeaderUse::kReadWrite)->store_session(), 7u);
    change(cluster, std::nullopt, {std::nullopt, kNew});
    EXPECT_EQ(parse_header(cluster, HeaderUse::kReadWrite)->autoclear_features,
              std::uint64_t{7} << kAutoclearSessionShift);
  }
}

TEST(Qcow2ExtensionChangeTest, AClusterOfOneSectorIsWrittenAsAWhole) {
  Bytes cluster = make_cluster({.cluster_bits = 9, .before_bytes = 100, .backing_name = "base.img"}, std::nullopt);
  change(cluster, kNew, {std::nullopt, kNew});
  const auto full = make_cluster({.cluster_bits = 9, .before_bytes = 100, .backing_name = std::string(270, 'n')}, {});
  const auto writes = plan_bitmaps_extension(full, *parse_header(full, HeaderUse::kReadWrite), kNew);
  ASSERT_FALSE(writes);
  EXPECT_EQ(writes.error(), Errno(ENOSPC));
}

TEST(Qcow2ExtensionChangeTest, AnAreaWithoutAnEndMarkIsRefused) {
  Bytes cluster = make_cluster({.backing_name = "base.img"}, std::nullopt);
  Header header = *parse_header(cluster, HeaderUse::kReadWrite);
  // The name begins where the mark was.
  header.backing_name_offset -= kExtensionHeadBytes;
  const Bytes encoded = encode_header(header);
  std::ranges::copy(encoded, cluster.begin());
  const auto writes = plan_bitmaps_extension(cluster, header, kNew);
  ASSERT_FALSE(writes);
  EXPECT_EQ(writes.error(), Errno(ENOTSUP));
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

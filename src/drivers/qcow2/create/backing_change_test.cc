#include "drivers/qcow2/create/backing_change.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "drivers/qcow2/create/creation.h"
#include "drivers/qcow2/create/image_layout.h"
#include "drivers/qcow2/format/extension_area.h"
#include "drivers/qcow2/format/feature_names.h"
#include "drivers/qcow2/format/header.h"
#include "drivers/qcow2/format/header_extensions.h"

namespace blockexport::drivers::qcow2 {
namespace {

struct Backing {
  std::string name;
  std::string format;

  friend bool operator==(const Backing&, const Backing&) = default;
  friend auto operator<=>(const Backing&, const Backing&) = default;
};

std::vector<std::byte> first_cluster(std::uint64_t cluster_bytes, const Backing& backing) {
  const Creation creation{.size_bytes = 1u << 20, .cluster_bytes = cluster_bytes};
  Header header;
  ImageLayout::of(creation)->describe_in(header);
  HeaderExtensions extensions;
  if (!backing.format.empty()) extensions.set_text(kExtensionBackingFormat, backing.format);
  if (cluster_bytes > 4096) extensions.set(kExtensionFeatureNames, encode_feature_names());
  std::vector<std::byte> cluster = *encode_file_begin(header, extensions, backing.name);
  cluster.resize(cluster_bytes);
  return cluster;
}

Backing backing_of(const std::vector<std::byte>& cluster) {
  const Result<Header> header = parse_header(cluster, HeaderUse::kReadWrite);
  EXPECT_TRUE(header);
  if (!header) return {"?", "?"};
  const Result<HeaderExtensions> extensions = parse_header_extensions(*header, cluster);
  EXPECT_TRUE(extensions) << extensions.error().message();
  if (!extensions) return {"?", "?"};
  // Other sections stay as they are.
  if (cluster.size() > 4096) {
    const HeaderExtension* names = extensions->find(kExtensionFeatureNames);
    EXPECT_TRUE(names != nullptr && names->data == encode_feature_names());
  }
  return {parse_backing_name(*header, cluster)->value_or(""), extensions->backing_format().value_or("")};
}

void apply(std::vector<std::byte>& cluster, const HeaderWrite& write, std::size_t from, std::size_t to) {
  for (std::size_t i = from; i < to; ++i) cluster[write.offset + i] = write.bytes[i];
}

// Makes the change; after each write, and after each part of whole sectors of one, the image must have a backing file
// of `allowed`.
void change(std::vector<std::byte>& cluster, const Backing& to, const std::set<Backing>& allowed) {
  const auto writes = plan_backing_change(cluster, to.name, to.format);
  ASSERT_TRUE(writes);
  for (const HeaderWrite& write : *writes) {
    const std::vector<std::byte> before = cluster;
    // The sectors of the write are on the disk in any combination; here all first and all last ones.
    for (std::size_t cut = 0; cut <= write.bytes.size(); ++cut) {
      if ((write.offset + cut) % 512 != 0 && cut != 0 && cut != write.bytes.size()) continue;
      for (bool first : {true, false}) {
        cluster = before;
        apply(cluster, write, first ? 0 : cut, first ? cut : write.bytes.size());
        EXPECT_TRUE(allowed.contains(backing_of(cluster))) << backing_of(cluster).name << backing_of(cluster).format;
      }
    }
    cluster = before;
    apply(cluster, write, 0, write.bytes.size());
  }
  EXPECT_EQ(backing_of(cluster), to);
}

TEST(BackingChangeTest, AtEachMomentTheImageHasTheOldNameOrTheNewOne) {
  const std::string longest(1023, 'l');
  for (std::uint64_t cluster_bytes : {4096u, 65536u}) {
    for (const Backing& old : {Backing{"old.img", "raw"}, Backing{"old.img", ""}, Backing{longest, "qcow2"},
                               Backing{longest, ""}, Backing{"", ""}}) {
      for (const Backing& now : {Backing{"new.img", "qcow2"}, Backing{longest, "raw"}, Backing{"n", "qcow2"}}) {
        std::vector<std::byte> cluster = first_cluster(cluster_bytes, old);
        ASSERT_EQ(backing_of(cluster), old);
        change(cluster, now, {old, now, {now.name, old.format}, {now.name, ""}});
        // And back, which finds another place.
        change(cluster, {"again.img", now.format}, {now, {"again.img", now.format}});
        const Backing third{"third.img", now.format == "raw" ? "qcow2" : "raw"};
        change(cluster, third, {{"again.img", now.format}, {third.name, now.format}, {third.name, ""}, third});
      }
    }
  }
}

TEST(BackingChangeTest, AnEmptyNameTakesTheBackingFileAway) {
  for (std::uint64_t cluster_bytes : {512u, 4096u, 65536u}) {
    std::vector<std::byte> cluster = first_cluster(cluster_bytes, {"old.img", "raw"});
    change(cluster, {"", "raw"}, {{"old.img", "raw"}, {"", "raw"}});
  }
}

TEST(BackingChangeTest, AClusterOfOneSectorIsWrittenAtOnce) {
  std::vector<std::byte> cluster = first_cluster(512, {"old.img", ""});
  const auto writes = plan_backing_change(cluster, "new.img", "raw");
  ASSERT_TRUE(writes);
  EXPECT_EQ(writes->size(), 1);
  change(cluster, {"new.img", "raw"}, {{"old.img", ""}, {"new.img", "raw"}});
}

TEST(BackingChangeTest, ANameWithoutSpaceIsRefused) {
  const std::vector<std::byte> small = first_cluster(1024, {"old.img", "raw"});
  EXPECT_EQ(plan_backing_change(small, std::string(600, 'x'), "raw").error(), Errno(ENOSPC));
  EXPECT_EQ(plan_backing_change(small, std::string(1024, 'x'), "raw").error(), Errno(EINVAL));
  EXPECT_EQ(plan_backing_change(first_cluster(512, {}), std::string(500, 'x'), "raw").error(), Errno(ENOSPC));
}

TEST(BackingChangeTest, WithoutAFormatTheImageKeepsTheOneItHas) {
  std::vector<std::byte> cluster = first_cluster(65536, {"old.img", "raw"});
  const auto writes = plan_backing_change(cluster, "new.img", "");
  ASSERT_TRUE(writes);
  for (const HeaderWrite& write : *writes) apply(cluster, write, 0, write.bytes.size());
  EXPECT_EQ(backing_of(cluster), (Backing{"new.img", "raw"}));
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

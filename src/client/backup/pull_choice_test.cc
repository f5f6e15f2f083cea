#include "client/backup/pull_choice.h"

#include <gtest/gtest.h>

namespace blockexport::backup {
namespace {

const std::vector<std::string> kNone{"base:allocation"};
const std::vector<std::string> kOne{"base:allocation", "qemu:dirty-bitmap:c1"};
const std::vector<std::string> kTwo{"base:allocation", "qemu:dirty-bitmap:c1", "qemu:dirty-bitmap:c2"};

PullOptions into_directory() {
  PullOptions options;
  options.directory = "points";
  return options;
}

TEST(ChooseBitmapTest, TheOnlyBitmapIsChosen) {
  EXPECT_EQ(choose_bitmap(into_directory(), kOne).value(), "c1");
  EXPECT_EQ(choose_bitmap(into_directory(), kNone).value(), std::nullopt);
}

TEST(ChooseBitmapTest, SeveralNeedAChoice) {
  PullOptions options = into_directory();
  EXPECT_EQ(choose_bitmap(options, kTwo).error().message(), "the export offers several dirty bitmaps: 'c1', 'c2'");
  options.bitmap = "c2";
  EXPECT_EQ(choose_bitmap(options, kTwo).value(), "c2");
  EXPECT_EQ(choose_bitmap(options, kOne).error().message(), "the export offers no dirty bitmap 'c2'");
}

TEST(ChooseBitmapTest, AFullPointAndARawImageNeedNone) {
  PullOptions options = into_directory();
  options.is_full = true;
  EXPECT_EQ(choose_bitmap(options, kTwo).value(), std::nullopt);
  options.bitmap = "c1";
  EXPECT_FALSE(choose_bitmap(options, kTwo));
  options = {};
  options.target = "image";
  EXPECT_EQ(choose_bitmap(options, kTwo).value(), std::nullopt);
  options.is_incremental = true;
  EXPECT_FALSE(choose_bitmap(options, kTwo));
}

TEST(ChooseBitmapTest, AnIncrementalPointIsNotReplacedByAFullOne) {
  PullOptions options = into_directory();
  options.is_incremental = true;
  EXPECT_FALSE(choose_bitmap(options, kNone));
  EXPECT_EQ(choose_bitmap(options, kOne).value(), "c1");
}

TEST(CheckFollowsTest, NameAndSizeDecide) {
  Manifest newest;
  newest.number = 1;
  newest.export_name = "vda";
  newest.disk_bytes = 1000;
  PullOptions options = into_directory();
  EXPECT_TRUE(check_follows(options, newest, "vda", 1000, true));
  EXPECT_TRUE(check_follows(options, newest, "vda", 2000, true));
  EXPECT_FALSE(check_follows(options, newest, "vda", 999, true));
  EXPECT_TRUE(check_follows(options, newest, "vda", 999, false));
  EXPECT_FALSE(check_follows(options, newest, "vdb", 1000, false));
  options.accepts_other_export = true;
  EXPECT_TRUE(check_follows(options, newest, "vdb", 1000, true));
}

}  // namespace
}  // namespace blockexport::backup

#include "block/backing_names.h"

#include <gtest/gtest.h>

namespace blockexport::block {
namespace {

TEST(BackingNamesTest, NamesAreRelativeToTheImage) {
  EXPECT_EQ(full_backing_name("/images/top.qcow2", "base.raw"), "/images/base.raw");
  EXPECT_EQ(full_backing_name("top.qcow2", "base.raw"), "base.raw");
  EXPECT_EQ(full_backing_name("a/b/top.qcow2", "../base.raw"), "a/b/../base.raw");
}

TEST(BackingNamesTest, AbsoluteNamesAndProtocolsStay) {
  EXPECT_EQ(full_backing_name("/images/top.qcow2", "/base.raw"), "/base.raw");
  EXPECT_EQ(full_backing_name("/images/top.qcow2", "nbd:unix:/s"), "nbd:unix:/s");
  EXPECT_EQ(full_backing_name("/images/top.qcow2", "json:{}"), "json:{}");
  EXPECT_EQ(full_backing_name("/images/top.qcow2", "dir/a:b"), "/images/dir/a:b");
}

}  // namespace
}  // namespace blockexport::block

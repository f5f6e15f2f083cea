#include "drivers/qcow2/tables/metadata_clusters.h"

#include <gtest/gtest.h>

namespace blockexport::drivers::qcow2 {
namespace {

TEST(MetadataClustersTest, FindsAnyOverlap) {
  MetadataClusters clusters;
  clusters.add_fixed(10, 3);
  clusters.add_fixed(0, 1);
  clusters.add_fixed(12, 2);
  clusters.add_fixed(14, 1);
  clusters.add_fixed(30, 0);
  clusters.settle();
  EXPECT_TRUE(clusters.contains_fixed(0, 1));
  EXPECT_FALSE(clusters.contains_fixed(1, 9));
  EXPECT_TRUE(clusters.contains_fixed(1, 10));
  EXPECT_TRUE(clusters.contains_fixed(14, 1));
  EXPECT_FALSE(clusters.contains_fixed(15, 1000));
  EXPECT_FALSE(clusters.contains_fixed(30, 1));
}

TEST(MetadataClustersTest, KnowsMetadataThatWasMadeLater) {
  MetadataClusters clusters;
  clusters.settle();
  EXPECT_FALSE(clusters.contains_fixed(0, 100));
  clusters.add(7);
  EXPECT_TRUE(clusters.contains(5, 3));
  EXPECT_FALSE(clusters.contains(5, 2));
  EXPECT_FALSE(clusters.contains(8, 10));
  clusters.remove(7);
  EXPECT_FALSE(clusters.contains(5, 3));
}

TEST(MetadataClustersTest, ForgetsMetadataThatMoved) {
  MetadataClusters clusters;
  clusters.add_fixed(10, 2);
  clusters.settle();
  clusters.remove(10);
  EXPECT_TRUE(clusters.contains_fixed(10, 1));
  EXPECT_FALSE(clusters.contains(9, 2));
  EXPECT_TRUE(clusters.contains(10, 2));
  clusters.add(10);
  EXPECT_TRUE(clusters.contains(10, 1));
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

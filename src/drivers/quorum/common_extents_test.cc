#include "drivers/quorum/common_extents.h"

#include <gtest/gtest.h>

namespace blockexport::drivers {
namespace {

using block::Extent;
using block::Extents;

Extent data(std::uint64_t length) {
  return {.length = length, .data = true};
}
Extent zero(std::uint64_t length) {
  return {.length = length, .zero = true};
}

Extents common(std::initializer_list<Extents> children) {
  CommonExtents extents;
  for (const Extents& child : children) extents.add(child);
  return extents.extents();
}

TEST(CommonExtentsTest, BytesAreZerosWhereAllChildrenSaySo) {
  EXPECT_EQ(common({{zero(10)}, {zero(10)}}), (Extents{zero(10)}));
  EXPECT_EQ(common({{zero(10)}, {data(4), zero(6)}, {zero(6), data(2), zero(2)}}),
            (Extents{data(4), zero(2), data(2), zero(2)}));
}

TEST(CommonExtentsTest, HolesWithoutZerosAreData) {
  EXPECT_EQ(common({{Extent{.length = 5}, data(5)}}), (Extents{data(10)}));
}

TEST(CommonExtentsTest, EndsWhereTheFirstChildEnds) {
  EXPECT_EQ(common({{zero(10)}, {zero(4)}, {data(7)}}), (Extents{data(4)}));
}

TEST(CommonExtentsTest, HasNoMoreThanOneCallMayTell) {
  Extents even;
  Extents odd;
  for (std::size_t i = 0; i < block::kExtentsPerCallMax / 2; ++i) {
    even.push_back(zero(3));
    even.push_back(data(1));
    odd.push_back(zero(1));
    odd.push_back(data(1));
  }
  const Extents found = common({even, odd});
  EXPECT_EQ(found.size(), std::size_t{block::kExtentsPerCallMax});
  for (std::size_t i = 1; i < found.size(); ++i) EXPECT_NE(found[i].zero, found[i - 1].zero);
}

}  // namespace
}  // namespace blockexport::drivers

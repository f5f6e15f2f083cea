#include "drivers/replicas/first_difference.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace blockexport::drivers {
namespace {

std::optional<std::uint64_t> compare(std::string first, std::string second, std::string other) {
  const std::array<iovec, 2> vectors{iovec{first.data(), first.size()}, iovec{second.data(), second.size()}};
  return first_difference(vectors, std::as_bytes(std::span(other)));
}

TEST(FirstDifferenceTest, EqualBytesHaveNone) {
  EXPECT_EQ(compare("abc", "def", "abcdef"), std::nullopt);
  EXPECT_EQ(compare("", "abc", "abc"), std::nullopt);
  EXPECT_EQ(compare("", "", ""), std::nullopt);
}

TEST(FirstDifferenceTest, TellsTheFirstByteInAnyVector) {
  EXPECT_EQ(compare("abc", "def", "xbcdef"), 0u);
  EXPECT_EQ(compare("abc", "def", "abxdxf"), 2u);
  EXPECT_EQ(compare("abc", "def", "abcdex"), 5u);
}

}  // namespace
}  // namespace blockexport::drivers

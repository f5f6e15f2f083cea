#include "base/release_memory.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace blockexport {
namespace {

TEST(ReleaseMemory, NothingIsLeftOfAVector) {
  std::vector<int> numbers(1000, 7);
  release_memory(numbers);
  EXPECT_TRUE(numbers.empty());
  EXPECT_EQ(numbers.capacity(), 0u);
}

TEST(ReleaseMemory, OfATextOnlyWhatItHoldsInItself) {
  std::string text(1000, 'x');
  release_memory(text);
  EXPECT_TRUE(text.empty());
  EXPECT_EQ(text.capacity(), std::string().capacity());
}

}  // namespace
}  // namespace blockexport

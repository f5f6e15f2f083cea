#include "drivers/file/file_limits.h"

#include <gtest/gtest.h>

namespace blockexport::drivers {
namespace {

constexpr std::uint32_t kDefaultAlignment = 4096;

TEST(FileLimits, ARequestIsBestAsLongAsABlockUpToAMebibyte) {
  const std::uint32_t least_bytes = block::Limits().optimal_bytes;
  EXPECT_EQ(file_limits(65536, {}).optimal_bytes, 65536u);
  EXPECT_EQ(file_limits(1u << 20, {}).optimal_bytes, 1u << 20);
  EXPECT_EQ(file_limits(1u << 21, {}).optimal_bytes, 1u << 20);
  EXPECT_EQ(file_limits(1u << 31, {}).optimal_bytes, 1u << 20);
  for (std::uint32_t bytes : {0u, 1u, 512u, 65537u}) EXPECT_EQ(file_limits(bytes, {}).optimal_bytes, least_bytes);
}

TEST(FileLimits, DirectIoUsesTheReportedAlignmentUpTo64KiB) {
  for (std::uint32_t bytes : {512u, 4096u, 65536u}) {
    const block::Limits limits = file_limits(4096, DirectAlignment{.memory = bytes / 2, .offset = bytes});
    EXPECT_EQ(limits.request_alignment, bytes);
    EXPECT_EQ(limits.memory_alignment, bytes / 2);
  }
  // A value that cannot be right counts as none, whichever of the two it is.
  for (std::uint32_t bytes : {0u, 513u, 65535u, 65537u, 131072u, 1u << 31}) {
    for (const DirectAlignment& told :
         {DirectAlignment{.memory = 512, .offset = bytes}, DirectAlignment{.memory = bytes, .offset = 512}}) {
      const block::Limits limits = file_limits(4096, told);
      EXPECT_EQ(limits.request_alignment, kDefaultAlignment) << bytes;
      EXPECT_EQ(limits.memory_alignment, kDefaultAlignment) << bytes;
    }
  }
}

TEST(FileLimits, WithoutDirectIoNothingIsAligned) {
  const block::Limits limits = file_limits(4096, {});
  EXPECT_EQ(limits.request_alignment, 1u);
  EXPECT_EQ(limits.memory_alignment, 1u);
}

}  // namespace
}  // namespace blockexport::drivers

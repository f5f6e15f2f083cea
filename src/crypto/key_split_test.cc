#include "crypto/key_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "crypto/hash.h"

namespace blockexport::crypto {
namespace {

TEST(KeySplit, GivesTheKeyBackForEachHashAndLength) {
  for (const auto hash : {HashAlgorithm::kMd5, HashAlgorithm::kSha1, HashAlgorithm::kSha256, HashAlgorithm::kSha512,
                          HashAlgorithm::kRipemd160}) {
    for (const std::size_t bytes : {16, 24, 32, 48, 64}) {
      std::vector<std::byte> key(bytes);
      fill_random(key);
      std::vector<std::byte> split(bytes * 100);
      split_key(hash, key, split);
      std::vector<std::byte> merged(bytes);
      merge_key(hash, split, merged);
      EXPECT_EQ(merged, key) << name_of(hash) << ' ' << bytes;
    }
  }
}

TEST(KeySplit, NeedsEachStripe) {
  std::vector<std::byte> key(32, std::byte{7});
  std::vector<std::byte> split(key.size() * 50);
  split_key(HashAlgorithm::kSha256, key, split);
  for (std::size_t i = 0; i < split.size(); i += 61) {
    std::vector<std::byte> changed = split;
    changed[i] ^= std::byte{1};
    std::vector<std::byte> merged(key.size());
    merge_key(HashAlgorithm::kSha256, changed, merged);
    EXPECT_NE(merged, key) << i;
  }
}

TEST(KeySplit, IsTheKeyWithOneStripe) {
  const std::vector<std::byte> key(32, std::byte{9});
  std::vector<std::byte> split(key.size());
  split_key(HashAlgorithm::kSha256, key, split);
  EXPECT_EQ(split, key);
}

}  // namespace
}  // namespace blockexport::crypto

// Digests of the words of DirtyBits, compared with those of qemu-storage-daemon.
#include <gnutls/crypto.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "block/bitmap/dirty_bits.h"

namespace blockexport::block {
namespace {

// The digest of x-debug-block-dirty-bitmap-sha256, in pieces as a command would compute it.
std::string sha256(const DirtyBits& bits) {
  gnutls_hash_hd_t hash = nullptr;
  EXPECT_EQ(gnutls_hash_init(&hash, GNUTLS_DIG_SHA256), 0);
  std::vector<std::uint64_t> words(1000);
  for (std::uint64_t first = 0; first < bits.word_count(); first += words.size()) {
    words.resize(std::min<std::uint64_t>(words.size(), bits.word_count() - first));
    bits.copy_words(first, words);
    EXPECT_EQ(gnutls_hash(hash, words.data(), words.size() * sizeof(std::uint64_t)), 0);
  }
  std::array<unsigned char, 32> digest{};
  gnutls_hash_deinit(hash, digest.data());
  std::string text;
  for (unsigned char byte : digest) {
    text += "0123456789abcdef"[byte / 16];
    text += "0123456789abcdef"[byte % 16];
  }
  return text;
}

struct Case {
  std::uint64_t size_bytes;
  std::uint32_t granularity_bytes;
  std::vector<Range> writes;
  std::uint64_t dirty_bytes;
  const char* digest;
};

// Observed with qemu-storage-daemon 7.2.22: a null-co node of the size, block-dirty-bitmap-add with the granularity,
// the writes over a writable NBD export, then `count` of query-named-block-nodes and the digest.
std::vector<Case> observed() {
  return {
      {0, 512, {}, 0, "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc"},
      {512, 512, {{0, 1}}, 512, "7c9fa136d4413fa6173637e883b6998d32e1d675f88cddff9dcbcf331820f4b8"},
      {1048576, 65536, {}, 0, "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc"},
      {1048576,
       65536,
       {{0, 1}, {1048575, 1}},
       131072,
       "ff1a03bec701df63f26cac64b4e0bb6009b26158b441e2131a79d72c76ba390a"},
      {1049088, 65536, {{1048576, 1}}, 65536, "41b8f24b79ae38bb5f3af44cf187d022c20517a6f576791e466d536517b68fb9"},
      {32768, 512, {{0, 32768}}, 32768, "12a3ae445661ce5dee78d0650d33362dec29c4f82af05e7e57fb595bbbacf0ca"},
      {33280, 512, {{32256, 1024}}, 1024, "2dcc6cb794c0bd7b536a925598ff3d8d5116fbf4d64800b67392b3b2e31eecda"},
      {131072, 512, {}, 0, "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"},
      {104859136,
       4096,
       {{4095, 2}, {1000000, 100000}, {104857600, 1536}},
       114688,
       "1e8c2d1f0b2a8329b2c194292112510e094bc50aade9fa222205f4a8e4608adf"},
      {3221225472,
       2147483648,
       {{2147483648, 1}},
       2147483648,
       "d86e8112f3c4c4442126f8e9f44f16867da487f29052bf91b810457db34209a4"},
      {17592186044416,
       65536,
       {{0, 1}, {8796093022207, 2}, {17592186044415, 1}},
       262144,
       "7adf748b667474de8a48f1cf8a839f04db2a3e8f2c5faed4a6c9becb55c0f5e8"},
  };
}

TEST(DirtyBitsDigest, EqualsThatOfQemuForTheSameWrites) {
  for (const Case& with : observed()) {
    SCOPED_TRACE(testing::Message() << with.size_bytes << " bytes, granularity " << with.granularity_bytes);
    auto bits = DirtyBits::create(with.size_bytes, with.granularity_bytes);
    ASSERT_TRUE(bits.has_value());
    for (Range write : with.writes) (*bits)->mark(write);
    EXPECT_EQ((*bits)->dirty_bytes(), with.dirty_bytes);
    EXPECT_EQ(sha256(**bits), with.digest);
  }
}

}  // namespace
}  // namespace blockexport::block

#include "crypto/key_split.h"

#include <string.h>

#include <algorithm>
#include <array>
#include <cassert>

#include "base/byte_writer.h"
#include "crypto/hash.h"

namespace blockexport::crypto {
namespace {

constexpr std::size_t kLargestDigestBytes = 64;

void add_stripe(std::span<std::byte> sum, std::span<const std::byte> stripe) {
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] ^= stripe[i];
}

// Replaces each piece of the length of a digest by the digest of its number and itself.
void diffuse(HashAlgorithm hash, std::span<std::byte> bytes) {
  const std::size_t digest_bytes = digest_bytes_of(hash);
  std::array<std::byte, sizeof(std::uint32_t) + kLargestDigestBytes> input{};
  std::array<std::byte, kLargestDigestBytes> digest{};
  std::uint32_t number = 0;
  while (!bytes.empty()) {
    const std::span<std::byte> piece = bytes.first(std::min(bytes.size(), digest_bytes));
    ByteWriter writer(input);
    writer.u32(number++);
    writer.bytes(piece);
    hash_bytes(hash, writer.written(), std::span(digest).first(digest_bytes));
    std::ranges::copy(std::span(digest).first(piece.size()), piece.begin());
    bytes = bytes.subspan(piece.size());
  }
  explicit_bzero(input.data(), input.size());
  explicit_bzero(digest.data(), digest.size());
}

// The sum of all stripes but the last, in `sum`.
void sum_stripes(HashAlgorithm hash, std::span<const std::byte> split, std::span<std::byte> sum) {
  std::ranges::fill(sum, std::byte{0});
  for (std::size_t offset = 0; offset + sum.size() < split.size(); offset += sum.size()) {
    add_stripe(sum, split.subspan(offset, sum.size()));
    diffuse(hash, sum);
  }
}

}  // namespace

void split_key(HashAlgorithm hash, std::span<const std::byte> key, std::span<std::byte> split) {
  assert(!key.empty() && split.size() % key.size() == 0 && split.size() >= key.size());
  fill_random(split.first(split.size() - key.size()));
  const std::span<std::byte> last = split.last(key.size());
  sum_stripes(hash, split, last);
  add_stripe(last, key);
}

void merge_key(HashAlgorithm hash, std::span<const std::byte> split, std::span<std::byte> key) {
  assert(!key.empty() && split.size() % key.size() == 0 && split.size() >= key.size());
  sum_stripes(hash, split, key);
  add_stripe(key, split.last(key.size()));
}

}  // namespace blockexport::crypto

#include "drivers/qcow2/compression/cluster_decompressor.h"

#include <gtest/gtest.h>
#include <zlib.h>
#ifdef BLOCKEXPORT_ZSTD
#include <zstd.h>
#endif

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::size_t kClusterBytes = 65536;

std::vector<std::byte> sample(std::size_t bytes) {
  std::vector<std::byte> data(bytes);
  std::mt19937 random(1);
  for (std::size_t i = 0; i < bytes; i++) data[i] = std::byte(random() % 4 == 0 ? random() : i / 100);
  return data;
}

std::vector<std::byte> compress(CompressionType type, std::span<const std::byte> data) {
  std::vector<std::byte> out(data.size() + data.size() / 8 + 1024);
#ifdef BLOCKEXPORT_ZSTD
  if (type == CompressionType::kZstd) {
    out.resize(ZSTD_compress(out.data(), out.size(), data.data(), data.size(), 3));
    return out;
  }
#endif
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

class Qcow2DecompressTest : public testing::TestWithParam<CompressionType> {};

TEST_P(Qcow2DecompressTest, AClusterIsFilledAndBytesBehindAreIgnored) {
  ClusterDecompressor decompressor(GetParam());
  const auto data = sample(kClusterBytes);
  auto compressed = compress(GetParam(), data);
  compressed.resize(compressed.size() + 511, std::byte{0x5a});
  std::vector<std::byte> cluster(kClusterBytes);
  for (int round = 0; round < 3; round++) {
    std::ranges::fill(cluster, std::byte{});
    ASSERT_TRUE(decompressor.decompress(compressed, cluster));
    EXPECT_EQ(cluster, data);
  }
}

TEST_P(Qcow2DecompressTest, TooFewBytesAreAnError) {
  ClusterDecompressor decompressor(GetParam());
  std::vector<std::byte> cluster(kClusterBytes);
  const auto small = compress(GetParam(), sample(kClusterBytes - 1));
  EXPECT_EQ(decompressor.decompress(small, cluster), fail(EIO));
  EXPECT_EQ(decompressor.decompress({}, cluster), fail(EIO));
  const auto whole = compress(GetParam(), sample(kClusterBytes));
  EXPECT_EQ(decompressor.decompress(std::span(whole).first(whole.size() / 2), cluster), fail(EIO));
}

TEST_P(Qcow2DecompressTest, MoreBytesNeverLeaveTheCluster) {
  ClusterDecompressor decompressor(GetParam());
  std::vector<std::byte> cluster(kClusterBytes + 1, std::byte{0x77});
  const auto large = compress(GetParam(), sample(4 * kClusterBytes));
  const IoResult result = decompressor.decompress(large, std::span(cluster).first(kClusterBytes));
  EXPECT_EQ(result.has_value(), GetParam() == CompressionType::kZlib);
  EXPECT_EQ(cluster.back(), std::byte{0x77});
}

TEST_P(Qcow2DecompressTest, NoBytesBreakIt) {
  ClusterDecompressor decompressor(GetParam());
  const auto data = sample(4096);
  const auto sound = compress(GetParam(), data);
  std::mt19937 random(5);
  std::vector<std::byte> cluster(4096);
  unsigned failed = 0;
  for (int round = 0; round < 5000; round++) {
    std::vector<std::byte> bytes = sound;
    for (unsigned flips = 1 + random() % 4; flips > 0; flips--) bytes[random() % bytes.size()] ^= std::byte(random());
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    if (!decompressor.decompress(bytes, cluster)) failed++;
  }
  EXPECT_GT(failed, 100u);
  ASSERT_TRUE(decompressor.decompress(sound, cluster));
  EXPECT_EQ(cluster, data);
}

TEST_P(Qcow2DecompressTest, SeveralThreadsUseItAtOnce) {
  ClusterDecompressor decompressor(GetParam());
  const auto data = sample(kClusterBytes);
  const auto compressed = compress(GetParam(), data);
  std::vector<std::thread> threads;
  std::atomic<int> equal = 0;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&] {
      std::vector<std::byte> cluster(kClusterBytes);
      for (int round = 0; round < 20; round++) {
        if (decompressor.decompress(compressed, cluster) && cluster == data) equal++;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, 80);
}

std::vector<CompressionType> built_types() {
  std::vector<CompressionType> types = {CompressionType::kZlib};
  if (ClusterDecompressor::is_built(CompressionType::kZstd)) types.push_back(CompressionType::kZstd);
  return types;
}

INSTANTIATE_TEST_SUITE_P(Types, Qcow2DecompressTest, testing::ValuesIn(built_types()),
                         [](const auto& info) { return info.param == CompressionType::kZlib ? "Zlib" : "Zstd"; });

}  // namespace
}  // namespace blockexport::drivers::qcow2

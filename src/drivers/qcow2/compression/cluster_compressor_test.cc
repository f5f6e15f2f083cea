#include "drivers/qcow2/compression/cluster_compressor.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "aio/task/current.h"
#include "block/testing/reactor_test.h"
#include "drivers/qcow2/compression/cluster_decompressor.h"

namespace blockexport::drivers::qcow2 {
namespace {

std::vector<std::byte> sample(std::size_t bytes, unsigned random_share) {
  std::vector<std::byte> data(bytes);
  std::mt19937 random(1);
  for (std::size_t i = 0; i < bytes; i++) data[i] = std::byte(random() % 100 < random_share ? random() : i / 100);
  return data;
}

class Qcow2CompressTest : public block::ReactorTest {
 protected:
  static std::vector<CompressionType> types() {
    std::vector<CompressionType> types = {CompressionType::kZlib};
    if (ClusterDecompressor::is_built(CompressionType::kZstd)) types.push_back(CompressionType::kZstd);
    return types;
  }

  // The compressed bytes; empty: they do not fit.
  std::vector<std::byte> compress(ClusterCompressor& compressor, const std::vector<std::byte>& data) {
    std::vector<std::byte> compressed(data.size() - 1);
    const auto bytes = run(compressor.compress(data, compressed));
    EXPECT_TRUE(bytes);
    compressed.resize(bytes.value_or(0));
    return compressed;
  }
};

TEST_F(Qcow2CompressTest, ADecompressorReadsEveryCluster) {
  for (const CompressionType type : types()) {
    for (const std::size_t bytes : {std::size_t{512}, std::size_t{4096}, std::size_t{65536}, std::size_t{2} << 20}) {
      for (const unsigned random_share : {0u, 10u, 40u}) {
        SCOPED_TRACE(testing::Message() << "type " << static_cast<int>(type) << ", " << bytes << " bytes");
        ClusterCompressor compressor(type, bytes);
        ClusterDecompressor decompressor(type);
        const std::vector<std::byte> data = sample(bytes, random_share);
        std::vector<std::byte> compressed = compress(compressor, data);
        ASSERT_FALSE(compressed.empty());
        EXPECT_LT(compressed.size(), bytes);
        // A reader knows the end of the last sector only.
        compressed.resize(compressed.size() + 511, std::byte{0x5a});
        std::vector<std::byte> cluster(bytes);
        EXPECT_TRUE(decompressor.decompress(compressed, cluster));
        EXPECT_EQ(cluster, data);
      }
    }
  }
}

TEST_F(Qcow2CompressTest, RandomBytesDoNotFit) {
  for (const CompressionType type : types()) {
    ClusterCompressor compressor(type, 65536);
    EXPECT_TRUE(compress(compressor, sample(65536, 100)).empty());
    EXPECT_FALSE(compress(compressor, sample(65536, 0)).empty());
  }
}

TEST_F(Qcow2CompressTest, SlotsBoundTheClustersAtOnce) {
  WorkSlots slots(1);
  EXPECT_TRUE(run(slots.take()));
  bool second = false;
  struct Second {
    static aio::Task<void> run(WorkSlots& slots, bool& done) {
      EXPECT_TRUE(co_await slots.take());
      const WorkSlots::Taken taken(slots);
      done = true;
    }
    static aio::Task<void> give_back(WorkSlots& slots, const bool& second) {
      for (int i = 0; i < 10; ++i) co_await aio::next_turn();
      EXPECT_FALSE(second);
      const WorkSlots::Taken taken(slots);
    }
  };
  start(Second::run(slots, second));
  run(Second::give_back(slots, second));
  until_idle();
  EXPECT_TRUE(second);
  EXPECT_FALSE(slots.are_several_taken());
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

#include "drivers/encryption/encrypted_data.h"

#include "block/buffers.h"
#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"

namespace blockexport::drivers {
namespace {

using block::MemoryDriver;
using block::MemoryDriverState;
using block::Node;

constexpr std::uint64_t kBytes = 3u << 20;

class EncryptedDataTest : public block::ReactorTest {
 protected:
  EncryptedDataTest() : data_(*crypto::SectorCipher::create({}, key())) {}

  static std::vector<std::byte> key() {
    std::vector<std::byte> key(64);
    for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(i);
    return key;
  }
  static std::vector<std::byte> sample(std::size_t length) {
    std::vector<std::byte> bytes(length);
    for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 512);
    return bytes;
  }
  // `bytes` in buffers of the length `each`.
  static std::vector<iovec> in_buffers(std::vector<std::byte>& bytes, std::size_t each) {
    std::vector<iovec> vectors;
    for (std::size_t done = 0; done < bytes.size(); done += each) {
      vectors.push_back({bytes.data() + done, std::min(each, bytes.size() - done)});
    }
    return vectors;
  }

  MemoryDriverState state_{kBytes};
  Node node_{"file", std::make_unique<MemoryDriver>(state_)};
  EncryptedData data_;
};

TEST_F(EncryptedDataTest, ReadsWhatItWroteInBuffersOfAnyLength) {
  for (const bool try_verbs : {true, false}) {
    state_.try_verbs = try_verbs;
    for (const std::size_t length : {std::size_t{512}, std::size_t{4096}, std::size_t{2560 * 1024}}) {
      for (const std::size_t each : {length, std::size_t{512}, std::size_t{1000}, std::size_t{70000}}) {
        std::vector<std::byte> written = sample(length);
        const block::Range place{4096, length};
        EXPECT_TRUE(run(data_.write(node_, place, 5, in_buffers(written, each), {})));
        EXPECT_NE(std::memcmp(state_.bytes.data() + 4096, written.data(), length), 0);
        std::vector<std::byte> read(length);
        EXPECT_TRUE(run(data_.read(node_, place, 5, in_buffers(read, each))));
        EXPECT_EQ(read, sample(length)) << length << ' ' << each;
      }
    }
  }
}

TEST_F(EncryptedDataTest, LeavesTheCallersBytesAsTheyAre) {
  std::vector<std::byte> written = sample(8192);
  EXPECT_TRUE(run(data_.write(node_, {0, 8192}, 0, in_buffers(written, 8192), {})));
  EXPECT_EQ(written, sample(8192));
}

TEST_F(EncryptedDataTest, WritesZeros) {
  EXPECT_TRUE(run(data_.write_zeroes(node_, {0, kBytes}, 9, {.force_unit_access = true})));
  EXPECT_EQ(state_.calls, (std::vector<std::string>{"write 0+1048576 fua", "write 1048576+1048576 fua",
                                                    "write 2097152+1048576 fua"}));
  std::vector<std::byte> read = sample(kBytes);
  EXPECT_TRUE(run(data_.read(node_, {0, kBytes}, 9, in_buffers(read, kBytes))));
  EXPECT_EQ(read, std::vector<std::byte>(kBytes));
}

TEST_F(EncryptedDataTest, TransfersShortRequestsInline) {
  std::vector<std::byte> bytes = sample(4096);
  block::InlineHints hints;
  EXPECT_TRUE(data_.try_write(node_, reactor(), {512, 4096}, 1, in_buffers(bytes, 4096), hints));
  std::vector<std::byte> read(4096);
  EXPECT_TRUE(data_.try_read(node_, reactor(), {512, 4096}, 1, in_buffers(read, 4096), hints));
  EXPECT_EQ(read, bytes);
  EXPECT_EQ(data_.try_read(node_, reactor(), {512, 4096}, 1, in_buffers(read, 1000), hints), IoResult(fail(EAGAIN)));
  std::vector<std::byte> large(1u << 20);
  const std::vector<iovec> buffers = in_buffers(large, large.size());
  EXPECT_EQ(data_.try_read(node_, reactor(), {0, large.size()}, 0, buffers, hints), IoResult(fail(EAGAIN)));
  EXPECT_EQ(data_.try_write(node_, reactor(), {0, large.size()}, 0, buffers, hints), IoResult(fail(EAGAIN)));
}

TEST_F(EncryptedDataTest, PassesErrorsOn) {
  state_.error = ENOSPC;
  std::vector<std::byte> bytes(4096);
  const std::vector<iovec> buffers = in_buffers(bytes, 4096);
  EXPECT_EQ(run(data_.read(node_, {0, 4096}, 0, buffers)), IoResult(fail(ENOSPC)));
  EXPECT_EQ(run(data_.write(node_, {0, 4096}, 0, buffers, {})), IoResult(fail(ENOSPC)));
  EXPECT_EQ(run(data_.write_zeroes(node_, {0, 4096}, 0, {})), IoResult(fail(ENOSPC)));
}

TEST_F(EncryptedDataTest, LetsRequestsWaitForMemory) {
  state_.try_verbs = false;
  std::vector<std::byte> bytes = sample(512);
  const std::vector<iovec> buffers = in_buffers(bytes, 512);
  struct Writes {
    static aio::Task<void> write(EncryptedData& data, Node& node, std::uint64_t sector, block::IoBuffers from,
                                 int& done) {
      EXPECT_TRUE(co_await data.write(node, {sector * 512, 512}, sector, from, {}));
      ++done;
    }
  };
  int done = 0;
  constexpr int kRequests = 3 * EncryptedData::kBouncesAtOnceMax;
  for (int i = 0; i < kRequests; ++i) start(Writes::write(data_, node_, static_cast<std::uint64_t>(i), buffers, done));
  until_idle();
  EXPECT_EQ(done, kRequests);
}

}  // namespace
}  // namespace blockexport::drivers

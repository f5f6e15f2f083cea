// Transmission: consecutive WRITEs of one batch, which are written as one and answered one by one.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "aio/testing/task_test.h"
#include "export/nbd/testing/scripted_stream.h"
#include "export/nbd/testing/transmission_test_base.h"
#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;
using Calls = std::vector<std::string>;

constexpr auto kNoSpace = static_cast<std::uint32_t>(NbdError::kNoSpace);
constexpr auto kIo = static_cast<std::uint32_t>(NbdError::kIo);

class TransmissionWriteTest : public TransmissionTest {
 protected:
  template <class Test>
  Task<void> body();
  // The replies to a client that sends `segments` and then waits.
  std::map<std::uint64_t, Answer> answers(ClientCodec& codec, HeaderMode mode, std::deque<Bytes> segments) {
    StreamScript script{.input = {segments.begin(), segments.end()}};
    run([](Backing& backing, StreamScript& said, SessionState agreed) -> Task<void> {
      auto stream = std::make_unique<ScriptedStream>(backing.reactor, said);
      Transmission transmission(backing.context(), std::move(stream), std::move(agreed), {});
      co_await transmission.run();
    }(backing(), script, make_state(mode, storage().bytes.size())));
    return codec.take_all(script.output);
  }
  // Ends in order, so that running requests are answered.
  std::map<std::uint64_t, Answer> answers(ClientCodec& codec, HeaderMode mode, Bytes writes) {
    Bytes end = codec.request(Command::kDisconnect, 0, 0, 0);
    writes.insert(writes.end(), end.begin(), end.end());
    return answers(codec, mode, std::deque<Bytes>{std::move(writes)});
  }
  // `count` consecutive writes of `bytes` bytes each from `offset`; cookies from 1, contents '1', '2', ...
  static Bytes row(ClientCodec& codec, std::uint64_t offset, std::size_t bytes, std::uint64_t count,
                   std::uint16_t flags = 0) {
    Bytes all;
    for (std::uint64_t i = 0; i < count; ++i) {
      Bytes one = codec.write(1 + i, offset + i * bytes, bytes_of(static_cast<char>('1' + i), bytes), flags);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }
  // Segments of up to `longest` bytes.
  static std::deque<Bytes> cut(const Bytes& sent, aio::Random& random, std::size_t longest) {
    std::deque<Bytes> segments;
    for (std::size_t at = 0; at < sent.size();) {
      std::size_t step = std::min<std::size_t>(sent.size() - at, random.between(1, longest));
      auto begin = sent.begin() + static_cast<std::ptrdiff_t>(at);
      segments.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(step));
      at += step;
    }
    return segments;
  }
};
BLOCKEXPORT_FOR_EACH_BACKEND(TransmissionWriteTest);

TEST_P(TransmissionWriteTest, NeighboursAreWrittenAsOneAndAnsweredOneByOne) {
  std::uint64_t operations = 0;
  for (HeaderMode mode : kAllModes) {
    storage().tries.clear();
    ClientCodec codec(mode);
    auto all = answers(codec, mode, row(codec, 1024, 512, 8));
    EXPECT_EQ(storage().tries, (Calls{"1024+4096 of 8"}));
    EXPECT_EQ(all.size(), 8u);
    for (std::uint64_t i = 0; i < 8; ++i) {
      EXPECT_EQ(all[1 + i].error, 0u);
      EXPECT_EQ(storage().bytes[1024 + i * 512], static_cast<std::byte>('1' + i));
    }
    operations += 8;
    EXPECT_EQ(backing().node.statistics().write.operations(), operations);
    EXPECT_EQ(backing().node.statistics().write.bytes(), operations * 512);
  }
}

TEST_P(TransmissionWriteTest, EachRunIsAWriteOfItsOwn) {
  ClientCodec codec(HeaderMode::kStructured);
  Bytes writes = row(codec, 0, 512, 3);
  for (std::uint64_t offset : {8192u, 8704u, 512u}) {
    Bytes one = codec.write(offset, offset, bytes_of('x', 512));
    writes.insert(writes.end(), one.begin(), one.end());
  }
  EXPECT_EQ(answers(codec, HeaderMode::kStructured, writes).size(), 6u);
  EXPECT_EQ(storage().tries, (Calls{"0+1536 of 3", "8192+1024 of 2", "512+512"}));
  EXPECT_EQ(storage().bytes[512], std::byte{'x'});
}

TEST_P(TransmissionWriteTest, AtTheEndOfTheSpaceEachGetsItsOwnResult) {
  for (HeaderMode mode : kAllModes) {
    std::ranges::fill(storage().bytes, std::byte{0});
    storage().calls.clear();
    storage().full_from = 2148;
    ClientCodec codec(mode);
    auto all = answers(codec, mode, row(codec, 0, 512, 8));
    ASSERT_EQ(all.size(), 8u);
    for (std::uint64_t i = 0; i < 8; ++i) {
      EXPECT_EQ(all[1 + i].error, i < 4 ? 0u : kNoSpace) << i;
      if (i < 4) EXPECT_EQ(storage().bytes[i * 512 + 511], static_cast<std::byte>('1' + i));
    }
    EXPECT_EQ(storage().calls, (Calls{"write 2048+512", "write 2560+512", "write 3072+512", "write 3584+512"}));
  }
  EXPECT_EQ(backing().node.statistics().write.operations(), 12u);
  EXPECT_EQ(backing().node.statistics().write.failed(), 12u);
}

TEST_P(TransmissionWriteTest, AFailedRunIsNotMergedAgain) {
  storage().error = EIO;
  ClientCodec codec(HeaderMode::kStructured);
  auto all = answers(codec, HeaderMode::kStructured, row(codec, 0, 512, 3));
  EXPECT_EQ(all.size(), 3u);
  for (const auto& [cookie, answer] : all) EXPECT_EQ(answer.error, kIo);
  EXPECT_EQ(storage().tries, (Calls{"0+1536 of 3", "0+512", "512+512", "1024+512"}));
  EXPECT_EQ(backing().node.statistics().write.failed(), 3u);
}

TEST_P(TransmissionWriteTest, WaitingStorageGetsThemOneByOne) {
  storage().immediate = false;
  ClientCodec codec(HeaderMode::kStructured);
  auto all = answers(codec, HeaderMode::kStructured, row(codec, 0, 512, 3));
  EXPECT_EQ(all.size(), 3u);
  EXPECT_EQ(storage().calls, (Calls{"write 0+512", "write 512+512", "write 1024+512"}));
  EXPECT_EQ(storage().bytes[1535], std::byte{'3'});
}

TEST_P(TransmissionWriteTest, ForceUnitAccessIsNotMerged) {
  ClientCodec codec(HeaderMode::kStructured);
  auto all = answers(codec, HeaderMode::kStructured, row(codec, 0, 512, 2, command_flag::kFua));
  EXPECT_EQ(all.size(), 2u);
  EXPECT_EQ(storage().calls, (Calls{"fua write 0+512", "fua write 512+512"}));
  EXPECT_TRUE(storage().tries.empty());
}

// Compared with a model that executes the writes one by one: same bytes, same results, for any merging and any
// segments. The content of the range of a failed write is undefined: it may have been tried again after a later one.
TEST_P(TransmissionWriteTest, MergingChangesNoResult) {
  constexpr std::uint64_t kSpace = 64u << 10;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    aio::Random random(seed);
    HeaderMode mode = kAllModes[seed % 3];
    std::ranges::fill(storage().bytes, std::byte{0});
    storage().full_from = random.one_in(2) ? kSpace - random.below(kSpace / 2) : UINT64_MAX;
    ClientCodec codec(mode);
    Bytes sent;
    Bytes expected(storage().bytes.size());
    std::vector<bool> promised(expected.size(), true);
    std::map<std::uint64_t, std::uint32_t> errors;
    std::uint64_t end = 0;
    for (std::uint64_t cookie = 1; cookie <= 100; ++cookie) {
      std::uint64_t length = random.between(1, random.one_in(8) ? 5000 : 600);
      std::uint64_t offset = random.one_in(3) || end + length > kSpace ? random.below(kSpace - length) : end;
      end = offset + length;
      Bytes data = bytes_of(static_cast<char>(cookie), length);
      Bytes one = codec.write(cookie, offset, data);
      sent.insert(sent.end(), one.begin(), one.end());
      for (std::uint64_t at = offset; at < std::min(end, storage().full_from); ++at) expected[at] = data[0];
      errors[cookie] = end > storage().full_from ? kNoSpace : 0;
      if (errors[cookie] != 0) std::fill_n(promised.begin() + static_cast<std::ptrdiff_t>(offset), length, false);
    }
    Bytes disconnect = codec.request(Command::kDisconnect, 0, 0, 0);
    sent.insert(sent.end(), disconnect.begin(), disconnect.end());
    auto all = answers(codec, mode, cut(sent, random, 20'000));
    ASSERT_EQ(all.size(), errors.size());
    for (auto [cookie, error] : errors) ASSERT_EQ(all[cookie].error, error) << cookie;
    for (std::size_t at = 0; at < expected.size(); ++at) {
      if (promised[at]) ASSERT_EQ(storage().bytes[at], expected[at]) << at;
    }
  }
}

TEST_P(TransmissionWriteTest, ACompleteLongWriteIsWrittenAsASmallOne) {
  for (bool immediate : {true, false}) {
    storage().tries.clear();
    storage().calls.clear();
    storage().immediate = immediate;
    ClientCodec codec(HeaderMode::kStructured);
    auto all = answers(codec, HeaderMode::kStructured, row(codec, 512, 100'000, 1));
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[1].error, 0u);
    EXPECT_EQ(storage().tries, immediate ? Calls{"512+100000"} : Calls{});
    EXPECT_EQ(storage().calls, immediate ? Calls{} : Calls{"write 512+100000"});
    EXPECT_EQ(storage().bytes[100'511], std::byte{'1'});
  }
}

// Writes in segments of any size: many are in two pieces in the receive window, or partly there and partly in a piece
// of their own; some of those are refused, and some have to wait.
TEST_P(TransmissionWriteTest, LongWritesThatArriveInPiecesAreWrittenCompletely) {
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    aio::Random random(seed);
    const HeaderMode mode = kAllModes[seed % 3];
    ClientCodec codec(mode);
    storage().immediate = seed % 4 != 0;
    Bytes expected = storage().bytes;
    Bytes sent;
    std::map<std::uint64_t, bool> refused;
    for (std::uint64_t cookie = 1; cookie <= 40; ++cookie) {
      const std::uint64_t most = random.one_in(3) ? 700'000 : 64 << 10;
      const std::uint64_t length = random.one_in(4) ? random.between(1, 5000) : random.between(17'000, most);
      refused[cookie] = random.one_in(6);
      const std::uint64_t offset = refused[cookie] ? expected.size() - 1 : random.below(expected.size() - length);
      Bytes data(length);
      for (std::byte& byte : data) byte = static_cast<std::byte>(random.below(256));
      if (!refused[cookie] || length == 1) {
        std::ranges::copy(data, expected.begin() + static_cast<std::ptrdiff_t>(offset));
        refused[cookie] = false;
      }
      Bytes one = codec.write(cookie, offset, data);
      sent.insert(sent.end(), one.begin(), one.end());
    }
    Bytes disconnect = codec.request(Command::kDisconnect, 0, 0, 0);
    sent.insert(sent.end(), disconnect.begin(), disconnect.end());
    auto all = answers(codec, mode, cut(sent, random, 100'000));
    ASSERT_EQ(all.size(), refused.size());
    for (auto [cookie, is_refused] : refused) ASSERT_EQ(all[cookie].error, is_refused ? kNoSpace : 0) << cookie;
    ASSERT_TRUE(storage().bytes == expected) << "seed " << seed;
  }
}

// The node accepted inline writes when the payload began to arrive, and does not any more when it is complete.
TASK_TEST_P(TransmissionWriteTest, ALargeWriteThatWaitsKeepsTheBytesBehindItsHeader) {
  constexpr std::size_t kBytes = 2 * kSmallWriteBytesMax;
  aio::Event gate(reactor());
  auto session = connect(HeaderMode::kSimple);
  ClientCodec& codec = session->client.codec();
  const Bytes write = codec.write(1, 0, bytes_of('a', kBytes));
  const auto rest = write.begin() + 4096;
  (void)co_await session->client.send({write.begin(), rest});
  for (int i = 0; i < 20; ++i) (void)co_await reactor().sleep_until(reactor().now_ns() + 100'000);
  storage().write_gate = &gate;
  storage().immediate = false;
  (void)co_await session->client.send({rest, write.end()});
  co_await until([this] { return storage().waiting == 1; });
  // More bytes arrive in the part of the window that held the first ones.
  for (std::uint64_t cookie = 2; cookie < 6; ++cookie) {
    (void)co_await session->client.write(cookie, kBytes, bytes_of('b', 4096));
  }
  co_await until([this] { return storage().waiting == 5; });
  gate.set();
  for (int i = 0; i < 5; ++i) EXPECT_EQ((co_await session->client.answer()).error, 0u);
  EXPECT_EQ(Bytes(storage().bytes.begin(), storage().bytes.begin() + kBytes), bytes_of('a', kBytes));
  co_await session->end();
}

}  // namespace
}  // namespace blockexport::nbd::testing

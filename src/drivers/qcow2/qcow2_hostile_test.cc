// Images with wrong bytes that are opened for writing: requests fail or succeed, and all of them end.
#include <cstdlib>
#include <random>

#include "aio/testing/seeds.h"
#include "block/testing/reactor_test.h"
#include "block/testing/reactors.h"
#include "drivers/qcow2/check/check.h"
#include "drivers/qcow2/testing/workload.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = std::vector<std::byte>;

constexpr int kStepsPerImage = 12;

// Wrong values of table entries: nothing, the table itself, the header, other places of the file, far away, and flags
// that contradict each other.
std::uint64_t hostile_word(std::mt19937_64& random, std::uint64_t own_offset, std::uint64_t file_bytes,
                           std::uint64_t cluster_bytes) {
  const std::uint64_t flags[] = {0, kEntryCopied, kEntryCompressed, kEntryZero, kEntryCopied | kEntryZero};
  const std::uint64_t places[] = {0,
                                  own_offset / cluster_bytes * cluster_bytes,
                                  random() % (file_bytes / cluster_bytes) * cluster_bytes,
                                  file_bytes / cluster_bytes * cluster_bytes,
                                  std::uint64_t{1} << 63,
                                  (std::uint64_t{1} << 56) - cluster_bytes,
                                  random() % file_bytes,
                                  random()};
  return places[random() % std::size(places)] | flags[random() % std::size(flags)];
}

void damage(Bytes& bytes, std::mt19937_64& random, std::uint64_t cluster_bytes) {
  for (std::uint64_t flips = random() % 6; flips > 0; --flips) {
    const std::size_t at = random() % 2 == 0 ? random() % 112 : random() % bytes.size();
    bytes[at] ^= std::byte(1u << random() % 8);
  }
  for (std::uint64_t words = random() % 6; words > 0; --words) {
    const std::size_t at = random() % (bytes.size() / 8) * 8;
    const std::uint64_t word = hostile_word(random, at, bytes.size(), cluster_bytes);
    for (unsigned i = 0; i < 8; ++i) bytes[at + i] = static_cast<std::byte>(word >> (56 - 8 * i));
  }
  if (random() % 16 == 0) bytes.resize(1 + random() % bytes.size());
}

WorkloadStep random_step(std::mt19937_64& random, std::uint64_t disk_bytes) {
  const auto verb = static_cast<WorkloadVerb>(random() % 8);
  const std::uint64_t begin = random() % std::max<std::uint64_t>(1, disk_bytes / kUnitBytes) * kUnitBytes;
  const std::uint64_t length = (1 + random() % 64) * kUnitBytes;
  if (verb == WorkloadVerb::kResize) return {.verb = verb, .range = {0, random() % 128 * 512}};
  return {.verb = verb, .range = {begin, length}, .value = std::byte{0x5a}};
}

class Qcow2HostileTest : public block::ReactorTest, public testing::WithParamInterface<WorkloadKind> {
 protected:
  void SetUp() override {
    if (!block::Reactors::are_simulated()) GTEST_SKIP() << "it runs in the simulation";
  }

  // Returns whether it could be opened.
  aio::Task<bool> use(const Bytes& content, const WorkloadFiles& files, std::mt19937_64& random) {
    RecordingState file;
    RecordingState data;
    RecordingState backing;
    file.begin(content);
    data.begin(files.data);
    backing.begin(files.backing);
    // A growing file would take the memory of the test.
    file.bytes_max = data.bytes_max = 64u << 20;
    bool was_opened = false;
    {
      WorkloadImage image(GetParam(), file, data, backing);
      was_opened = (co_await image.open()).empty();
      for (int i = 0; was_opened && i < kStepsPerImage; ++i) {
        Bytes bytes;
        (void)co_await image.run(random_step(random, std::min<std::uint64_t>(image.disk().size_bytes(), 1u << 20)),
                                 bytes);
      }
      if (was_opened) (void)co_await image.disk().flush();
    }
    WorkloadImage image(GetParam(), file, data, backing);
    (void)co_await check_image(image.file(), {.repair = CheckRepair::kAll, .memory_bytes_max = 8u << 20});
    co_return was_opened;
  }
};

TEST_P(Qcow2HostileTest, EveryRequestToADamagedImageEnds) {
  const WorkloadFiles files = WorkloadFilesBuilder(GetParam()).build();
  const std::uint64_t rounds = std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 10'000 : aio::testing::seeds_here(300);
  std::uint64_t opened = 0;
  for (std::uint64_t seed = 0; seed < rounds; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    Bytes content = files.file;
    damage(content, random, std::uint64_t{1} << GetParam().shape.cluster_bits);
    opened += run(use(content, files, random)) ? 1 : 0;
  }
  EXPECT_GT(opened, rounds / 20);
  RecordProperty("count", std::to_string(rounds));
}

INSTANTIATE_TEST_SUITE_P(Kinds, Qcow2HostileTest, testing::ValuesIn(workload_kinds()), workload_name);

}  // namespace
}  // namespace blockexport::drivers::qcow2

// Clients on several reactors that change one image, in clusters that they share: in the simulation with many seeds,
// and on threads.
#include <random>

#include "aio/testing/seeds.h"
#include "block/testing/reactors.h"
#include "drivers/qcow2/testing/image_consistency.h"
#include "drivers/qcow2/testing/memory_image.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::Range;

constexpr std::uint64_t kSector = 512;
constexpr std::size_t kReactors = 3;
constexpr std::size_t kClients = 6;
constexpr int kRequests = 60;

struct Variant {
  Geometry geometry;
  std::optional<std::byte> backing;
};

Variant variant_of(std::uint64_t seed) {
  switch (seed % 4) {
    case 0:
      return {.geometry = {.cluster_bits = 12}, .backing = std::nullopt};
    case 1:
      return {.geometry = {.cluster_bits = 12}, .backing = std::byte{0xbb}};
    case 2:
      return {.geometry = {.cluster_bits = 14, .extended_l2 = true}, .backing = std::byte{0xbb}};
    default:
      return {.geometry = {.cluster_bits = 9}, .backing = std::nullopt};
  }
}

// One client's part of the disk, which begins and ends within clusters, and its contents.
class Client {
 public:
  Client(MemoryImage& image, std::uint64_t first_sector, std::uint64_t sectors, std::byte initial, std::uint64_t seed)
      : image_(image), first_(first_sector), model_(sectors, initial), random_(seed) {}

  aio::Task<void> run() {
    for (int i = 0; i < kRequests && !testing::Test::HasFailure(); ++i) {
      const std::uint64_t first = random_() % model_.size();
      const std::uint64_t count = 1 + random_() % (model_.size() - first);
      switch (random_() % 11) {
        case 0:
          EXPECT_TRUE(co_await image_.disk().flush());
          break;
        case 1:
          co_await zero(first, count);
          break;
        case 2:
          co_await discard(first, count);
          break;
        case 3:
        case 4:
          co_await compare();
          break;
        case 5:
        case 6:
        case 7:
          co_await write(first, std::min<std::uint64_t>(count, 1 + random_() % 24), {.compressed = true});
          break;
        default:
          co_await write(first, std::min<std::uint64_t>(count, 1 + random_() % 24), {});
      }
    }
    co_await compare();
  }

  aio::Task<void> compare() {
    std::vector<std::byte> bytes(model_.size() * kSector);
    const iovec vector{bytes.data(), bytes.size()};
    EXPECT_TRUE(co_await image_.disk().read({first_ * kSector, bytes.size()}, {&vector, 1}));
    for (std::size_t i = 0; i < model_.size(); ++i) {
      const auto sector = std::span(bytes).subspan(i * kSector, kSector);
      if (std::ranges::count(sector, model_[i]) == kSector) continue;
      ADD_FAILURE() << "sector " << first_ + i << " is " << static_cast<int>(sector[0]) << " and not "
                    << static_cast<int>(model_[i]);
      co_return;
    }
  }

 private:
  Range bytes_of(std::uint64_t first, std::uint64_t count) const {
    return {(first_ + first) * kSector, count * kSector};
  }
  void set(std::uint64_t first, std::uint64_t count, std::byte value) {
    std::fill_n(model_.begin() + static_cast<std::ptrdiff_t>(first), count, value);
  }

  aio::Task<void> write(std::uint64_t first, std::uint64_t count, block::WriteOptions options) {
    const auto value = static_cast<std::byte>(1 + random_() % 200);
    const Range range = bytes_of(first, count);
    std::vector<std::byte> bytes(range.length, value);
    const iovec vector{bytes.data(), bytes.size()};
    IoResult result = fail(EAGAIN);
    if (!options.compressed) {
      result = image_.disk().try_write(co_await aio::current_reactor(), range, {&vector, 1});
    }
    if (!result) result = co_await image_.disk().write(range, {&vector, 1}, options);
    EXPECT_TRUE(result);
    set(first, count, value);
  }
  aio::Task<void> zero(std::uint64_t first, std::uint64_t count) {
    EXPECT_TRUE(co_await image_.disk().write_zeroes(bytes_of(first, count), {.may_unmap = random_() % 2 == 0}));
    set(first, count, std::byte{0});
  }
  // Whole clusters become zeros, the last one of the disk too, and no others change.
  aio::Task<void> discard(std::uint64_t first, std::uint64_t count) {
    const std::uint64_t cluster = image_.tables().geometry().cluster_bytes() / kSector;
    const std::uint64_t begin = (first_ + first + cluster - 1) / cluster * cluster;
    const std::uint64_t last = first_ + first + count;
    const std::uint64_t end = last * kSector == image_.disk_bytes() ? last : last / cluster * cluster;
    EXPECT_TRUE(co_await image_.disk().discard(bytes_of(first, count)));
    if (begin < end) set(begin - first_, end - begin, std::byte{0});
  }

  MemoryImage& image_;
  std::uint64_t first_;
  std::vector<std::byte> model_;
  std::mt19937_64 random_;
};

aio::Task<void> run_clients(block::Reactors& reactors, RecordingState& file, const Variant& variant,
                            std::uint64_t seed) {
  const std::uint64_t sectors = variant.geometry.cluster_bytes() / kSector * 7 / 2 + 3;
  file.begin(make_image(variant.geometry, kClients * sectors * kSector));
  MemoryImage image(file, nullptr, {.backing = variant.backing});
  EXPECT_TRUE(co_await image.open());
  std::vector<std::unique_ptr<Client>> clients;
  for (std::size_t i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<Client>(image, i * sectors, sectors, variant.backing.value_or(std::byte{0}),
                                               seed * kClients + i));
  }
  aio::Scope scope(reactors.control());
  for (std::size_t i = 0; i < kClients; ++i) {
    scope.spawn("client", aio::run_on(reactors.place(i % kReactors), "client", clients[i]->run()));
  }
  co_await scope.join();
  for (const auto& client : clients) co_await client->compare();
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(co_await image.disk().flush());
}

// The number of seeds: fewer where each takes longer.
std::uint64_t seeds() {
  if (!block::Reactors::are_simulated()) return 8;
  return std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 10'000 : aio::testing::seeds_here(60);
}

TEST(ImageWriterReactorsTest, ClientsOfSharedClustersKeepTheirData) {
  for (std::uint64_t seed = 0; seed < seeds() && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    RecordingState file;
    std::mt19937_64 turns(seed);
    if (block::Reactors::are_simulated()) file.turns = &turns;
    block::Reactors reactors(kReactors, seed);
    reactors.run(run_clients(reactors, file, variant_of(seed), seed));
    const Consistency consistency = check_consistency(file.bytes);
    for (const std::string& corruption : consistency.corruptions) ADD_FAILURE() << corruption;
    EXPECT_EQ(consistency.leaks, 0u);
  }
  testing::Test::RecordProperty("count", std::to_string(seeds()));
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

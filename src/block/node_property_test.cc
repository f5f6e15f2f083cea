// Random verbs of several tasks on one node at once, over drivers of every alignment, by seed.
#include <deque>

#include "block/testing/memory_driver.h"
#include "block/testing/node_model.h"
#include "block/testing/reactor_test.h"

namespace blockexport::block {
namespace {

// Yields to other tasks before and after every request, so that requests overlap in many ways.
class PausingDriver final : public LiveDriver {
 public:
  PausingDriver(MemoryDriverState& state, std::uint64_t seed) : memory_(state), random_(seed) {}

  aio::Task<IoResult> read(Range range, IoBuffers buffers) override {
    co_await pause();
    IoResult result = co_await memory_.read(range, buffers);
    co_await pause();
    co_return result;
  }
  aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions options) override {
    co_await pause();
    IoResult result = co_await memory_.write(range, buffers, options);
    co_await pause();
    co_return result;
  }
  aio::Task<IoResult> write_zeroes(Range range, ZeroOptions options) override {
    co_await pause();
    co_return co_await memory_.write_zeroes(range, options);
  }
  aio::Task<IoResult> discard(Range range) override { return memory_.discard(range); }
  aio::Task<IoResult> flush() override { return memory_.flush(); }
  aio::Task<IoResult> extents(Range range, Extents& extents) override { return memory_.extents(range, extents); }
  aio::Task<IoResult> prefetch(Range range) override { return memory_.prefetch(range); }
  IoResult try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, InlineHints& hints) override {
    if (random_() % 2 == 0) return fail(EAGAIN);
    return memory_.try_read(reactor, range, buffers, hints);
  }
  IoResult try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, InlineHints& hints) override {
    if (random_() % 2 == 0) return fail(EAGAIN);
    return memory_.try_write(reactor, range, buffers, hints);
  }
  std::uint64_t size_bytes() const override { return memory_.size_bytes(); }
  Limits limits() const override { return memory_.limits(); }
  std::string_view format_name() const override { return "pausing"; }

 private:
  aio::Task<void> pause() {
    for (std::uint64_t turns = random_() % 4; turns > 0; turns--) co_await aio::next_turn();
  }

  MemoryDriver memory_;
  std::mt19937_64 random_;
};

struct Case {
  std::uint32_t request_alignment;
  std::uint32_t memory_alignment;
  std::uint64_t transfer_bytes_max;
  std::uint32_t zeroes_alignment = 1;
  std::uint64_t zeroes_bytes_max = UINT64_MAX;
};

class NodePropertyTest : public ReactorTest {
 protected:
  void run_seed(std::uint64_t seed, Case with, DetectZeroes detect_zeroes) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << " alignment " << with.request_alignment);
    constexpr std::uint64_t kSize = 64u << 10;
    MemoryDriverState state(kSize, {.request_alignment = with.request_alignment,
                                    .memory_alignment = with.memory_alignment,
                                    .transfer_bytes_max = with.transfer_bytes_max,
                                    .zeroes_alignment = with.zeroes_alignment,
                                    .zeroes_bytes_max = with.zeroes_bytes_max});
    Node node("disk", std::make_unique<PausingDriver>(state, seed),
              {.discard = DiscardMode::kUnmap, .detect_zeroes = detect_zeroes});
    std::deque<NodeModel> models;
    std::mt19937_64 random(seed);
    for (std::uint64_t offset = 0; offset < kSize;) {
      std::uint64_t length = std::min<std::uint64_t>(kSize - offset, 1000 + random() % 17'000);
      models.emplace_back(node, Range{offset, length}, random());
      start(models.back().run(60));
      offset += length;
    }
    until_idle();
  }
};

TEST_F(NodePropertyTest, ConcurrentNeighboursKeepTheirBytes) {
  constexpr Case kCases[] = {
      {1, 1, UINT32_MAX},      {1, 1, 900},        {512, 1, UINT32_MAX},     {512, 512, 4096},
      {4096, 512, UINT32_MAX}, {4096, 4096, 8192}, {1, 1, UINT32_MAX, 4096}, {512, 1, 4096, 2048, 6000},
  };
  for (const Case& with : kCases) {
    for (std::uint64_t seed = 1; seed <= 20 && !HasFailure(); seed++) {
      run_seed(seed, with, static_cast<DetectZeroes>(seed % 3));
    }
  }
}

}  // namespace
}  // namespace blockexport::block

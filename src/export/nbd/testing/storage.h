// For tests and fuzzers: a driver over a vector of bytes that can complete inline, wait at a gate, take a random time,
// or fail; and the node, edge and budgets that a transmission needs.
//
// The state outlives the driver. Thread: the reactor's. Not part of the daemon.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "aio/reactor/reactor.h"
#include "aio/sync/sync.h"
#include "aio/testing/backends.h"
#include "block/buffers.h"
#include "block/edge.h"
#include "block/node.h"
#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd::testing {

struct StorageState {
  std::vector<std::byte> bytes;
  std::vector<std::string> calls = {};   // "read 0+512", "write 512+512 fua", ... in the order in which they began
  std::vector<block::Range> reads = {};  // inline reads
  std::vector<std::string> tries = {};   // inline writes, "0+512", or "0+1024 of 2" for two requests
  std::uintptr_t read_addresses = 0;     // of all buffers of waiting reads, or-ed
  bool immediate = true;                 // whether the node can read and write inline
  bool zeroes_fast = false;              // whether zeroing is faster than writing zeros
  std::uint64_t knows_extents_to = 0;    // try_extents() answers up to this offset
  std::uint64_t full_from = UINT64_MAX;  // writes from this offset on fail for lack of space
  int error = 0;                         // result of every verb, when not 0
  block::Limits limits = {};             // of drivers that are made from now on
  aio::Event* read_gate = nullptr;       // each read waits for it before it copies data
  aio::Event* write_gate = nullptr;      // each change of data waits for it before it begins
  std::shared_ptr<const aio::OpenFile> file = nullptr;  // offered by try_share(), at the same offsets
  aio::Random* delays = nullptr;                        // each waiting verb first takes up to a millisecond
  std::size_t waiting = 0;                              // number of verbs under way
  std::size_t most_waiting = 0;
};

class StorageDriver final : public block::LiveDriver {
 public:
  static constexpr std::uint64_t kBlockBytes = 4096;  // unit of reported extents

  StorageDriver(aio::Reactor& reactor, StorageState& state) : reactor_(reactor), state_(state) {}

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override {
    for (const iovec& vector : buffers) state_.read_addresses |= reinterpret_cast<std::uintptr_t>(vector.iov_base);
    CO_TRY(co_await begin("read", range, state_.read_gate));
    block::copy_in(buffers, 0, part(range));
    co_return IoResult{};
  }
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override {
    CO_TRY(co_await begin(options.force_unit_access ? "fua write" : "write", range, state_.write_gate));
    if (range.end() > state_.full_from) co_return fail(ENOSPC);
    block::copy_out(buffers, 0, part(range));
    co_return IoResult{};
  }
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override {
    const std::string verb = options.may_unmap ? "unmapping zeroes" : "zeroes";
    CO_TRY(co_await begin(options.force_unit_access ? "fua " + verb : verb, range, state_.write_gate));
    if (options.no_fallback && !state_.zeroes_fast) co_return fail(ENOTSUP);
    std::ranges::fill(part(range), std::byte{0});
    co_return IoResult{};
  }
  aio::Task<IoResult> discard(block::Range range) override {
    co_return co_await begin("discard", range, state_.write_gate);
  }
  aio::Task<IoResult> flush() override { co_return co_await begin("flush", {}, nullptr); }
  aio::Task<IoResult> prefetch(block::Range range) override { co_return co_await begin("prefetch", range, nullptr); }

  // A block of zeros is reported as a hole, any other as data.
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override {
    CO_TRY(co_await begin("extents", range, state_.read_gate));
    add_extents(range, extents);
    co_return IoResult{};
  }
  IoResult try_extents(aio::Reactor&, block::Range range, block::Extents& extents) override {
    if (range.offset >= state_.knows_extents_to) return fail(EAGAIN);
    add_extents({range.offset, std::min(range.length, state_.knows_extents_to - range.offset)}, extents);
    return {};
  }
  void add_extents(block::Range range, block::Extents& extents) {
    while (!range.empty()) {
      std::uint64_t step = std::min(range.length, kBlockBytes - range.offset % kBlockBytes);
      auto block = part({.offset = range.offset / kBlockBytes * kBlockBytes, .length = kBlockBytes});
      bool zero = std::ranges::all_of(block, [](std::byte value) { return value == std::byte{0}; });
      block::Extent extent{.length = step, .data = !zero, .zero = zero, .depth = zero ? 0u : 1u};
      if (!extents.empty() && extents.back().zero == zero) {
        extents.back().length += step;
      } else {
        extents.push_back(extent);
      }
      range.offset += step;
      range.length -= step;
    }
  }

  IoResult try_read(aio::Reactor&, block::Range range, block::IoBuffers buffers, block::InlineHints&) override {
    if (!state_.immediate) return fail(EAGAIN);
    state_.reads.push_back(range);
    if (state_.error != 0) return fail(state_.error);
    block::copy_in(buffers, 0, part(range));
    return {};
  }
  IoResult try_write(aio::Reactor&, block::Range range, block::IoBuffers buffers, block::InlineHints& hints) override {
    if (!state_.immediate) return fail(EAGAIN);
    state_.tries.push_back(std::to_string(range.offset) + "+" + std::to_string(range.length));
    if (hints.requests > 1) state_.tries.back() += " of " + std::to_string(hints.requests);
    if (state_.error != 0) return fail(state_.error);
    if (range.end() > state_.full_from) {
      // Writes up to the end of the space, as pwritev() does; the blocking verb handles the rest.
      block::Range fits{.offset = range.offset, .length = state_.full_from - std::min(range.offset, state_.full_from)};
      block::copy_out(buffers, 0, part(fits));
      return fail(EAGAIN);
    }
    block::copy_out(buffers, 0, part(range));
    return {};
  }
  std::expected<block::FileSpan, Errno> try_share(aio::Reactor& reactor, block::Range range) override {
    if (state_.file == nullptr || !reactor.is_cached(state_.file->fd(), range.offset, range.length)) {
      return fail(EAGAIN);
    }
    return block::FileSpan{.file = state_.file, .offset = range.offset};
  }

  std::uint64_t size_bytes() const override { return state_.bytes.size(); }
  block::Limits limits() const override { return state_.limits; }
  std::string_view format_name() const override { return "storage"; }

 private:
  std::span<std::byte> part(block::Range range) {
    std::size_t offset = std::min<std::size_t>(range.offset, state_.bytes.size());
    return std::span(state_.bytes).subspan(offset, std::min<std::size_t>(range.length, state_.bytes.size() - offset));
  }
  aio::Task<IoResult> begin(std::string verb, block::Range range, aio::Event* gate) {
    std::string call = verb;
    if (!range.empty()) call += " " + std::to_string(range.offset) + "+" + std::to_string(range.length);
    state_.calls.push_back(std::move(call));
    state_.most_waiting = std::max(state_.most_waiting, ++state_.waiting);
    if (state_.delays != nullptr) {
      (void)co_await reactor_.sleep_until(reactor_.now_ns() + state_.delays->below(1'000'000));
    }
    if (gate != nullptr) (void)co_await gate->wait();
    --state_.waiting;
    if (state_.error != 0) co_return fail(state_.error);
    co_return IoResult{};
  }

  aio::Reactor& reactor_;
  StorageState& state_;
};

// The objects that transmissions refer to, over storage of `size_bytes` zeros.
struct Backing {
  explicit Backing(aio::Reactor& on, std::size_t size_bytes = 1u << 20,
                   std::uint64_t budget_bytes = aio::ProcessBudget::kBytesDefault, block::Limits limits = {})
      : reactor(on),
        storage{.bytes = std::vector<std::byte>(size_bytes), .limits = limits},
        node("disk", std::make_unique<StorageDriver>(on, storage), {.discard = block::DiscardMode::kUnmap}),
        edge(node, {.name = "root"}, {}),
        budget(budget_bytes) {}

  TransmissionContext context() {
    return {.reactor = reactor,
            .pool = pool,
            .process_budget = budget,
            .edge = edge,
            .fence = fence,
            .trace = trace,
            .peer = "client",
            .writethrough = writethrough,
            .log = log,
            .shared_counters = shared_counters,
            .client_counters = client_counters};
  }

  aio::Reactor& reactor;
  StorageState storage;
  block::Node node;
  block::Edge edge;
  aio::BufferPool pool;
  aio::ProcessBudget budget;
  exports::WriteFence fence;
  Trace trace;
  bool writethrough = false;
  const PeerLog* log = nullptr;
  exports::ReactorCounters* shared_counters = nullptr;
  exports::ClientCounters* client_counters = nullptr;
};

}  // namespace blockexport::nbd::testing

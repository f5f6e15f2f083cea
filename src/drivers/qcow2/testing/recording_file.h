// RecordingDriver: a file in memory that records its writes and flushes, so that a test can make the contents that a
// power cut may leave. It grows.
//
// For tests. Thread: any, as long as there is no observer and no `turns`.
#pragma once

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "aio/task/current.h"
#include "base/error.h"
#include "block/buffers.h"
#include "block/driver.h"

namespace blockexport::drivers::qcow2 {

// Told before each write and flush, when the contents that a power cut leaves are those of the state.
class RecordingObserver {
 public:
  virtual void before_change() = 0;

 protected:
  ~RecordingObserver() = default;
};

// Holds calls of files at a place that a test chooses. For one reactor.
class RecordingGate {
 public:
  // The call after the next `calls` ones is held.
  void hold_after(std::uint64_t calls) { passes_ = calls; }
  void hold_none() { passes_.reset(); }
  // The number of calls that were held, also of those that go on again. The first one has number 0.
  std::size_t held() const { return is_held_.size(); }
  void release(std::size_t number) { is_held_[number] = false; }

  aio::Task<void> pass() {
    if (!passes_ || (*passes_)-- != 0) co_return;
    passes_.reset();
    const std::size_t number = is_held_.size();
    is_held_.push_back(true);
    while (is_held_[number]) co_await aio::next_turn();
  }

 private:
  std::optional<std::uint64_t> passes_;  // until a call is held
  std::vector<bool> is_held_;
};

struct RecordedWrite {
  std::uint64_t offset = 0;
  std::vector<std::byte> bytes;
};

// State for tests; outlives the driver.
struct RecordingState {
  std::mutex mutex;  // guards what follows while requests are under way

  static constexpr std::uint64_t kSectorBytes = 512;

  std::vector<std::byte> bytes;
  std::vector<std::byte> durable;         // the contents at the last flush
  std::vector<RecordedWrite> unflushed;   // the writes since then
  std::optional<std::uint64_t> fails_at;  // number of the call that fails, counted from `calls`
  int error = EIO;
  std::uint64_t calls = 0;               // reads, writes, zeroes, flushes
  std::uint64_t writes = 0;              // that were recorded
  std::uint64_t bytes_max = UINT64_MAX;  // ENOSPC for what would grow further
  std::uint64_t discards = 0;
  std::string identity = "recorded";  // for a bitmap store
  RecordingObserver* observer = nullptr;
  std::mt19937_64* turns = nullptr;  // when set, calls take a random number of turns of the loop
  RecordingGate* gate = nullptr;     // when set, calls pass it first

  void begin(std::vector<std::byte> contents) {
    bytes = durable = std::move(contents);
    unflushed.clear();
    writes = 0;
  }

  // Contents after a power cut: each sector that was written since the last flush has its contents of some moment
  // since then.
  std::vector<std::byte> after_power_cut(std::mt19937_64& random) const {
    std::vector<std::byte> left = durable;
    const unsigned loss = static_cast<unsigned>(random() % 4);  // 0: nothing is lost
    for (const RecordedWrite& write : unflushed) {
      for (std::uint64_t at = 0; at < write.bytes.size();) {
        const std::uint64_t offset = write.offset + at;
        const std::uint64_t length = std::min(write.bytes.size() - at, kSectorBytes - offset % kSectorBytes);
        if (loss == 0 || random() % (loss + 1) != 0) {
          if (left.size() < offset + length) left.resize(offset + length);
          std::memcpy(left.data() + offset, write.bytes.data() + at, length);
        }
        at += length;
      }
    }
    return left;
  }
};

class RecordingDriver final : public block::LiveDriver {
 public:
  explicit RecordingDriver(RecordingState& state) : state_(state) {}

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override {
    CO_TRY(co_await begin_call());
    const std::lock_guard lock(state_.mutex);
    block::copy_in(buffers, 0, std::span(state_.bytes).subspan(range.offset, range.length));
    co_return IoResult();
  }
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions) override {
    CO_TRY(co_await begin_call());
    const std::lock_guard lock(state_.mutex);
    CO_TRY(grow_to(range.end()));
    std::vector<std::byte> bytes(range.length);
    block::copy_out(buffers, 0, bytes);
    record(range.offset, std::move(bytes));
    co_return IoResult();
  }
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions) override {
    CO_TRY(co_await begin_call());
    const std::lock_guard lock(state_.mutex);
    CO_TRY(grow_to(range.end()));
    record(range.offset, std::vector<std::byte>(range.length));
    co_return IoResult();
  }
  // The bytes become undefined.
  aio::Task<IoResult> discard(block::Range range) override {
    if (state_.gate != nullptr) co_await state_.gate->pass();
    co_await take_turns();
    const std::lock_guard lock(state_.mutex);
    ++state_.discards;
    record(range.offset, std::vector<std::byte>(range.length, std::byte{0xdd}));
    co_return IoResult();
  }
  aio::Task<IoResult> flush() override {
    std::vector<std::byte> begun;
    std::uint64_t writes = 0;
    {
      const std::lock_guard lock(state_.mutex);
      begun = state_.bytes;
      writes = state_.writes;
    }
    CO_TRY(co_await begin_call());
    const std::lock_guard lock(state_.mutex);
    if (state_.observer != nullptr) state_.observer->before_change();
    // Writes that began later may stay behind, or be durable without the others.
    const std::uint64_t before = state_.writes - state_.unflushed.size();
    if (writes > before) {
      state_.durable = std::move(begun);
      state_.unflushed.erase(state_.unflushed.begin(),
                             state_.unflushed.begin() + static_cast<std::ptrdiff_t>(writes - before));
    }
    co_return IoResult();
  }
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override {
    extents.push_back({.length = range.length, .data = true});
    co_return IoResult();
  }
  aio::Task<IoResult> prefetch(block::Range) override { co_return IoResult(); }
  bool can_grow() const override { return true; }
  aio::Task<IoResult> grow(std::uint64_t size_bytes) override {
    const std::lock_guard lock(state_.mutex);
    co_return grow_to(size_bytes);
  }
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override {
    state_.bytes.resize(size_bytes);
    co_return Result<>();
  }
  std::uint64_t size_bytes() const override {
    const std::lock_guard lock(state_.mutex);
    return state_.bytes.size();
  }
  block::Limits limits() const override { return {}; }
  std::string_view format_name() const override { return "recording"; }
  aio::Task<Result<block::ImageIdentity>> identify() override {
    const std::lock_guard lock(state_.mutex);
    co_return block::ImageIdentity{.identity = state_.identity, .generation = std::to_string(state_.writes)};
  }
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions&, const schema::BlockdevOptions&,
                                     block::NodeOptions&, block::ReopenChildren&) override {
    co_return Result<>();
  }

 private:
  aio::Task<IoResult> begin_call() {
    if (state_.gate != nullptr) co_await state_.gate->pass();
    {
      const std::lock_guard lock(state_.mutex);
      if (state_.fails_at == state_.calls++) co_return fail(state_.error);
    }
    co_await take_turns();
    co_return IoResult();
  }
  aio::Task<void> take_turns() {
    if (state_.turns == nullptr) co_return;
    // Most calls are quick; a slow one is overtaken by many others.
    const bool is_slow = (*state_.turns)() % 16 == 0;
    for (std::uint64_t turns = (*state_.turns)() % (is_slow ? 100 : 4); turns > 0; --turns) co_await aio::next_turn();
  }
  IoResult grow_to(std::uint64_t size_bytes) {
    if (size_bytes > state_.bytes_max) return fail(ENOSPC);
    if (size_bytes > state_.bytes.size()) state_.bytes.resize(size_bytes);
    return {};
  }
  void record(std::uint64_t offset, std::vector<std::byte> bytes) {
    if (state_.observer != nullptr) state_.observer->before_change();
    std::memcpy(state_.bytes.data() + offset, bytes.data(), bytes.size());
    state_.unflushed.push_back({offset, std::move(bytes)});
    ++state_.writes;
  }

  RecordingState& state_;
};

}  // namespace blockexport::drivers::qcow2

// MemoryDriver: a driver over a vector of bytes, for tests. It checks that its Node keeps the guarantees of driver.h,
// records its calls, and fails or waits at a gate as a test tells it.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "aio/sync/sync.h"
#include "aio/task/current.h"
#include "block/buffers.h"
#include "block/driver.h"

namespace blockexport::block {

// State for tests; outlives the driver.
struct MemoryDriverState {
  explicit MemoryDriverState(std::size_t size, Limits with_limits = {}) : bytes(size), limits(with_limits) {}

  std::vector<std::byte> bytes;
  Limits limits;
  std::vector<std::string> calls;      // "read 0+512", "write 512+512 fua", ...
  int error = 0;                       // result of every verb, when not 0
  int write_error = 0;                 // result of writes, when not 0
  std::uint64_t write_error_from = 0;  // offset from which on writes fail
  bool fast_zeroes = false;            // zeroes without a fallback succeed
  bool grows = false;                  // can_grow()
  bool owes_flush = false;
  bool can_discard = true;
  bool compresses = false;  // can_compress()
  bool try_verbs = true;
  bool shares = false;                // try_share succeeds, with a null file
  aio::Event* read_pause = nullptr;   // each read ends only after it is set
  aio::Event* flush_pause = nullptr;  // each flush ends only after it is set
};

class MemoryDriver final : public LiveDriver {
 public:
  explicit MemoryDriver(MemoryDriverState& state) : state_(state) {}

  aio::Task<IoResult> read(Range range, IoBuffers buffers) override {
    IoResult result = transfer("read", range, buffers, false, "");
    if (state_.read_pause != nullptr) (void)co_await state_.read_pause->wait();
    co_return result;
  }
  aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions options) override {
    if (state_.write_error != 0 && range.offset >= state_.write_error_from) co_return fail(state_.write_error);
    if (options.may_grow) grow_to(range.end());
    co_return transfer("write", range, buffers, true, suffix_of(options));
  }
  aio::Task<IoResult> write_zeroes(Range range, ZeroOptions options) override {
    if (options.may_grow) grow_to(range.end());
    if (IoResult result = record("write_zeroes", range, suffix_of(options)); !result) co_return result;
    if (options.no_fallback && !state_.fast_zeroes) co_return fail(ENOTSUP);
    // A driver that supports aligned zeroes only leaves all others to the node.
    if (((range.offset | range.length) & (state_.limits.zeroes_alignment - 1)) != 0) co_return fail(ENOTSUP);
    EXPECT_LE(range.length, state_.limits.zeroes_bytes_max);
    std::memset(state_.bytes.data() + range.offset, 0, range.length);
    co_return IoResult();
  }
  bool can_discard() const override { return state_.can_discard; }
  bool can_compress() const override { return state_.compresses; }
  aio::Task<IoResult> discard(Range range) override {
    EXPECT_LE(range.length, state_.limits.discard_bytes_max);
    co_return record("discard", range, "");
  }
  aio::Task<IoResult> flush() override {
    state_.calls.push_back("flush");
    const IoResult result = state_.error != 0 ? fail(state_.error) : IoResult();
    if (state_.flush_pause != nullptr) (void)co_await state_.flush_pause->wait();
    co_return result;
  }
  aio::Task<IoResult> extents(Range range, Extents& extents) override {
    extents.push_back(Extent{.length = range.length, .data = true});
    co_return IoResult();
  }
  aio::Task<IoResult> prefetch(Range) override { co_return IoResult(); }

  IoResult try_read(aio::Reactor&, Range range, IoBuffers buffers, InlineHints&) override {
    if (!state_.try_verbs) return fail(EAGAIN);
    return transfer("try_read", range, buffers, false, "");
  }
  IoResult try_write(aio::Reactor&, Range range, IoBuffers buffers, InlineHints&) override {
    if (!state_.try_verbs) return fail(EAGAIN);
    return transfer("try_write", range, buffers, true, "");
  }

  std::expected<FileSpan, Errno> try_share(aio::Reactor&, Range range) override {
    if (!state_.shares) return fail(EAGAIN);
    return FileSpan{.file = nullptr, .offset = range.offset};
  }

  IoResult try_extents(aio::Reactor&, Range range, Extents& extents) override {
    if (!state_.try_verbs) return fail(EAGAIN);
    state_.calls.push_back("try_extents " + std::to_string(range.offset) + "+" + std::to_string(range.length));
    extents.push_back(Extent{.length = range.length, .data = true});
    return {};
  }

  aio::Task<Result<>> resize(std::uint64_t size_bytes) override {
    state_.bytes.resize(size_bytes);
    co_return Result<>();
  }
  std::uint64_t size_bytes() const override { return state_.bytes.size(); }
  bool owes_flush() const override { return state_.owes_flush; }
  bool can_grow() const override { return state_.grows; }
  aio::Task<IoResult> grow(std::uint64_t size_bytes) override {
    state_.calls.push_back("grow " + std::to_string(size_bytes));
    grow_to(size_bytes);
    co_return IoResult();
  }
  Limits limits() const override { return state_.limits; }
  std::string_view format_name() const override { return "memory"; }

 private:
  void grow_to(std::uint64_t size_bytes) {
    if (state_.grows && size_bytes > state_.bytes.size()) state_.bytes.resize(size_bytes);
  }
  static const char* suffix_of(WriteOptions options) {
    if (options.compressed) return options.force_unit_access ? " fua compressed" : " compressed";
    return options.force_unit_access ? " fua" : "";
  }
  static const char* suffix_of(ZeroOptions options) {
    if (options.may_unmap) return options.force_unit_access ? " unmap fua" : " unmap";
    return options.force_unit_access ? " fua" : "";
  }
  IoResult record(const char* verb, Range range, const char* suffix) {
    EXPECT_FALSE(range.empty());
    EXPECT_TRUE(range.fits(state_.bytes.size()));
    EXPECT_EQ((range.offset | range.length) & (state_.limits.request_alignment - 1), 0u);
    state_.calls.push_back(verb + (" " + std::to_string(range.offset)) + "+" + std::to_string(range.length) + suffix);
    if (state_.error != 0) return fail(state_.error);
    return {};
  }
  IoResult transfer(const char* verb, Range range, IoBuffers buffers, bool write, const char* suffix) {
    EXPECT_EQ(length_of(buffers), range.length);
    EXPECT_LE(range.length, state_.limits.transfer_bytes_max);
    EXPECT_TRUE(is_aligned(buffers, state_.limits.memory_alignment));
    if (IoResult result = record(verb, range, suffix); !result) return result;
    std::span<std::byte> bytes(state_.bytes.data() + range.offset, range.length);
    write ? copy_out(buffers, 0, bytes) : copy_in(buffers, 0, bytes);
    return {};
  }

  MemoryDriverState& state_;
};

}  // namespace blockexport::block

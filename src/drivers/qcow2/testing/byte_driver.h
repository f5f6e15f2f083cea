// ByteDriver: a read-only driver over bytes, for fuzz targets, which have no GoogleTest
// (block/testing/memory_driver.h).
//
// Borrows the bytes. Thread: any.
#pragma once

#include <span>

#include "block/buffers.h"
#include "block/driver.h"

namespace blockexport::drivers::qcow2 {

class ByteDriver final : public block::LiveDriver {
 public:
  explicit ByteDriver(std::span<const std::byte> bytes) : bytes_(bytes) {}

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override {
    block::copy_in(buffers, 0, bytes_.subspan(range.offset, range.length));
    co_return IoResult();
  }
  aio::Task<IoResult> write(block::Range, block::IoBuffers, block::WriteOptions) override { co_return fail(EPERM); }
  aio::Task<IoResult> write_zeroes(block::Range, block::ZeroOptions) override { co_return fail(EPERM); }
  aio::Task<IoResult> discard(block::Range) override { co_return fail(EPERM); }
  aio::Task<IoResult> flush() override { co_return IoResult(); }
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override {
    extents.push_back({.length = range.length, .data = true});
    co_return IoResult();
  }
  aio::Task<IoResult> prefetch(block::Range) override { co_return IoResult(); }
  std::uint64_t size_bytes() const override { return bytes_.size(); }
  block::Limits limits() const override { return {}; }
  std::string_view format_name() const override { return "bytes"; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace blockexport::drivers::qcow2

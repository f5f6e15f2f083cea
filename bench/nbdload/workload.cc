#include "nbdload/workload.h"

#include <algorithm>

#include "common/fatal.h"

namespace blockexport::bench {

namespace {

constexpr uint64_t kSeedStride = 0x9e3779b97f4a7c15;
// Seven of ten requests of the mix are reads.
constexpr uint64_t kMixReads = 7;
constexpr uint64_t kMixAll = 10;

}  // namespace

Workload::Workload(const Options& options, uint64_t export_bytes, unsigned index)
    : shape_(options.shape), block_bytes_(options.block_bytes), random_(options.seed + index * kSeedStride) {
  uint64_t span = options.span_bytes == 0 ? export_bytes : std::min(options.span_bytes, export_bytes);
  blocks_ = span / block_bytes_;
  if (blocks_ == 0) {
    fatal("the export has {} bytes, too few for one block", export_bytes);
  }
  position_ = blocks_ / options.connections * index;
}

Request Workload::next() {
  Request request{.command = Command::kRead, .offset = 0, .length = block_bytes_};
  ++count_;
  switch (shape_) {
    case Shape::kSequentialWrite:
      request.command = Command::kWrite;
      [[fallthrough]];
    case Shape::kSequentialRead:
      request.offset = position_ * block_bytes_;
      position_ = position_ + 1 == blocks_ ? 0 : position_ + 1;
      return request;
    case Shape::kFlushedWrite:
      if (count_ % 2 == 0) {
        return {.command = Command::kFlush, .offset = 0, .length = 0};
      }
      [[fallthrough]];
    case Shape::kRandomWrite:
      request.command = Command::kWrite;
      break;
    case Shape::kFlush:
      return {.command = Command::kFlush, .offset = 0, .length = 0};
    case Shape::kMix:
      request.command = random_.below(kMixAll) < kMixReads ? Command::kRead : Command::kWrite;
      break;
    case Shape::kRandomRead:
      break;
  }
  request.offset = random_.below(blocks_) * block_bytes_;
  return request;
}

}  // namespace blockexport::bench

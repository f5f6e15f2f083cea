#include "client/backup/chunk_plan.h"

#include <algorithm>
#include <utility>

namespace blockexport::backup {

void ChunkPlan::add(std::span<const Segment> segments) {
  queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(next_));
  next_ = 0;
  queue_.insert(queue_.end(), segments.begin(), segments.end());
}

void ChunkPlan::extend_run() {
  for (; next_ < queue_.size(); ++next_) {
    const Segment& segment = queue_[next_];
    if (run_.length == 0) {
      run_ = segment;
    } else if (run_.kind == segment.kind && run_.offset + run_.length == segment.offset) {
      run_.length += segment.length;
    } else {
      return;
    }
  }
}

std::optional<Chunk> ChunkPlan::next() {
  for (;;) {
    extend_run();
    if (run_.length == 0) return std::nullopt;
    const bool is_closed = next_ < queue_.size() || is_finished_;
    if (run_.kind == SegmentKind::kUnchanged) {
      if (!is_closed) return std::nullopt;
      run_.length = 0;
      continue;
    }
    if (run_.kind == SegmentKind::kZero) {
      if (!is_closed) return std::nullopt;
      const Segment run = std::exchange(run_, {});
      return Chunk{.offset = run.offset, .length = run.length, .kind = ChunkKind::kZero};
    }
    const std::uint64_t to_boundary = chunk_bytes_ - run_.offset % chunk_bytes_;
    if (run_.length < to_boundary && !is_closed) return std::nullopt;
    const Chunk chunk{.offset = run_.offset, .length = std::min(run_.length, to_boundary), .kind = ChunkKind::kData};
    run_.offset += chunk.length;
    run_.length -= chunk.length;
    return chunk;
  }
}

}  // namespace blockexport::backup

// ImageWork: several tasks that work on the pieces of a disk at the same time, and the progress that they report.
//
// The first failure ends all of them. Thread: the main thread, inside ImageGraph::run().
#pragma once

#include <optional>
#include <span>

#include "aio/sync/scope.h"
#include "base/error.h"
#include "client/image/image_pieces.h"
#include "client/image/percentage.h"

namespace blockexport::image {

// Number of tasks without --coroutines, and the most that there may be.
inline constexpr unsigned kImageTasksDefault = 8;
inline constexpr unsigned kImageTasksMax = 16;

class ImageWork {
 public:
  // Each task has memory of `memory_bytes`.
  ImageWork(std::uint64_t size_bytes, std::uint64_t piece_bytes, std::size_t memory_bytes, Percentage& percentage)
      : pieces_(size_bytes, piece_bytes), memory_bytes_(memory_bytes), percentage_(percentage) {}
  virtual ~ImageWork() = default;
  ImageWork(const ImageWork&) = delete;
  ImageWork& operator=(const ImageWork&) = delete;

  // Works on all pieces with that many tasks. Error: the first one of work_on().
  aio::Task<Result<>> run(aio::Reactor& reactor, unsigned tasks);

 protected:
  // Works on a piece, with the memory of the task. An error ends the work.
  virtual aio::Task<Result<>> work_on(block::Range piece, std::span<std::byte> memory) = 0;

  ImagePieces& pieces() { return pieces_; }

 private:
  static aio::Task<void> take_pieces(ImageWork& work);

  ImagePieces pieces_;
  std::size_t memory_bytes_;
  Percentage& percentage_;
  std::optional<Error> error_;
};

}  // namespace blockexport::image

#include "client/image/image_work.h"

#include "block/buffers.h"

namespace blockexport::image {
namespace {

constexpr std::size_t kMemoryAlignment = 4096;

}  // namespace

aio::Task<void> ImageWork::take_pieces(ImageWork& work) {
  const block::AlignedMemory memory(work.memory_bytes_, kMemoryAlignment);
  while (!work.pieces_.is_empty()) {
    Result<> done = fail("Out of memory");
    if (memory) done = co_await work.work_on(work.pieces_.take(), memory.bytes());
    if (!done) {
      if (!work.error_) work.error_ = std::move(done).error();
      work.pieces_.skip_all();
      co_return;
    }
    work.percentage_.show(work.pieces_.taken_bytes(), work.pieces_.end());
  }
}

aio::Task<Result<>> ImageWork::run(aio::Reactor& reactor, unsigned tasks) {
  aio::Scope scope(reactor);
  for (unsigned i = 0; i < tasks; ++i) scope.spawn("image-work", take_pieces(*this));
  co_await scope.join();
  if (error_) co_return fail(std::move(*error_));
  percentage_.show(1, 1);
  co_return Result<>();
}

}  // namespace blockexport::image

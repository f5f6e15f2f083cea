#include "client/image/image_work.h"

namespace blockexport::image {

aio::Task<void> ImageWork::take_pieces(ImageWork& work) {
  while (!work.pieces_.is_empty()) {
    const block::Range piece = work.pieces_.take();
    Result<> done = co_await work.work_on(piece);
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

#include "drivers/qcow2/check/table_pieces.h"

#include <algorithm>

#include "aio/task/current.h"
#include "drivers/qcow2/check/check_report.h"
#include "drivers/qcow2/check/check_state.h"

namespace blockexport::drivers::qcow2 {

aio::Task<std::expected<bool, Errno>> TablePieces::next() {
  if (next_begin_ >= end_ || offset_ + next_begin_ >= file_.size_bytes()) co_return false;
  piece_begin_ = next_begin_;
  piece_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(end_ - piece_begin_, kCheckPieceBytes)));
  next_begin_ += piece_.size();
  co_await aio::next_turn();
  if ((co_await aio::current_task()).cancelled) co_return fail(ECANCELED);
  const IoResult read = co_await read_file(file_, piece_offset(), piece_);
  if (!read) co_return fail(read.error().value());
  co_return true;
}

}  // namespace blockexport::drivers::qcow2

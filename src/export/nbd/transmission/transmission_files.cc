// Transmission: replies whose data are not read into memory when they begin: they are sent straight from a file of this
// host, or are read piece by piece because other clients hold the memory.

#include <fmt/format.h>

#include "aio/reactor/reactor.h"
#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd {
namespace {

// From this length on, sending pages is cheaper than copying them.
constexpr std::uint64_t kFileReplyBytesMin = 256u << 10;

}  // namespace

// Answers a READ from the page cache, if it qualifies; its header is still in the window.
bool Transmission::answer_from_file(const ReadPlan& plan) {
  if (plan.data.length < kFileReplyBytesMin || !stream_->can_send_files()) return false;
  auto span = engine_.share_now(plan.data);
  if (!span) return false;
  output_.queue().push_file(plan.head(), std::move(*span), plan.data, context_.reactor.now_ns());
  input_.consume();
  return true;
}

// Answers a READ for which there is no memory; its header is still in the window.
void Transmission::answer_piece_by_piece(const ReadPlan& plan) {
  output_.queue().push_unread(plan.head(), plan.data);
  input_.consume();
}

// Reads bytes that were evicted from the page cache while their reply waited for the client, or that were never read.
// This is a normal read of the node: the gate may delay it, and the node may have another file by now.
aio::Task<IoResult> Transmission::load_cold_piece() {
  const ReplyQueue::ColdPiece piece = *output_.queue().cold_piece();
  aio::Buffer buffer = context_.pool.take(piece.range.length);
  const iovec data{.iov_base = buffer.data(), .iov_len = piece.range.length};
  CO_TRY(co_await engine_.read_part(piece.range, data, piece.was_shared));
  output_.queue().put_cold_piece(std::move(buffer));
  co_return IoResult{};
}

// The header of the reply was sent and its data are gone; the protocol cannot take the header back.
void Transmission::report_broken_reply(Errno error) const {
  if (context_.log == nullptr) return;
  std::string what = error == Errno(ENODATA) ? "the file was truncated" : errno_text(error);
  context_.log->warning(
      fmt::format("nbd export '{}': a reply that had begun cannot be finished: {}; its client is disconnected",
                  state_.export_name, what));
}

}  // namespace blockexport::nbd

// The replies whose data are not read into memory when they begin: they leave straight from a file of this host, or are
// read piece by piece because others hold the memory.

#include <fmt/format.h>

#include "aio/reactor.h"
#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd {
namespace {

// From here on handing pages to the socket is cheaper than copying them.
constexpr std::uint64_t kFileReplyBytesMin = 256u << 10;

}  // namespace

// Answers a READ from the page cache, if it is of that kind; its header is still in the window.
bool Transmission::answer_from_file(const ReadPlan& plan) {
  if (plan.data.length < kFileReplyBytesMin || !stream_->can_send_files() || !inside_) return false;
  aio::Reactor& reactor = context_.reactor;
  auto span = context_.edge.node().try_share(reactor, plan.data);
  if (!span) return false;
  replies_.push_file(plan.head(), std::move(*span), plan.data.length, reactor.now_ns());
  window_.consume(request_header_bytes(state_.header_mode));
  inline_bytes_ += plan.data.length;
  return true;
}

// Answers a READ for which there is no memory; its header is still in the window.
void Transmission::answer_piece_by_piece(const ReadPlan& plan) {
  replies_.push_unread(plan.head(), plan.data);
  window_.consume(request_header_bytes(state_.header_mode));
}

// Reads what has left the page cache while its reply waited for the client, or was never read.
aio::Task<IoResult> Transmission::load_cold_piece() {
  const ReplyQueue::ColdPiece piece = *replies_.cold_piece();
  aio::Buffer buffer = context_.pool.take(piece.length);
  iovec data{.iov_base = buffer.data(), .iov_len = piece.length};
  std::size_t got = piece.length;
  if (piece.span.file != nullptr) {
    CO_TRY_ASSIGN(got, co_await context_.reactor.read(piece.span.file->fd(), {&data, 1}, piece.span.offset));
  } else {
    CO_TRY(co_await context_.edge.enter());
    IoResult read = co_await context_.edge.node().read({.offset = piece.span.offset, .length = got}, {&data, 1});
    context_.edge.leave();
    CO_TRY(std::move(read));
  }
  if (got == 0) co_return fail(ENODATA);
  replies_.put_cold_piece(std::move(buffer), got);
  co_return IoResult{};
}

// A reply was announced and its data are gone: there is no way to take the announcement back.
void Transmission::report_broken_reply(Errno error) const {
  if (context_.log == nullptr) return;
  std::string what = error == Errno(ENODATA) ? "the file was cut short" : errno_text(error);
  context_.log->warning(fmt::format("nbd export '{}': a reply that had begun cannot be finished: {}; its client is cut",
                                    state_.export_name, what));
}

}  // namespace blockexport::nbd

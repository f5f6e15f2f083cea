#include "export/nbd/server/connection.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "base/release_memory.h"
#include "export/nbd/server/nbd_export.h"
#include "export/nbd/server/server_state.h"

namespace blockexport::nbd {
namespace {

constexpr std::size_t kHandshakeReceiveBytes = 4096;
// Handshake steps without a delay; an ordinary client needs about ten, and one for each export that it lists. Of all
// handshakes that have needed more, only one continues in each turn of the loop.
constexpr std::uint32_t kHandshakeStepsAtOnceMax = 64;
// Steps that one query of an authorizer counts as: it may search long lists.
constexpr std::uint32_t kAuthorizationSteps = 16;
constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

std::uint64_t deadline_after(std::uint64_t since_ns, std::uint32_t seconds) {
  return seconds == 0 ? UINT64_MAX : since_ns + seconds * kNanosecondsPerSecond;
}

}  // namespace

Connection::Connection(ServerState& server, std::unique_ptr<net::Stream> stream, std::string peer,
                       net::PeerGroup peer_group)
    : Slot(peer_group, server.reactor.now_ns()),
      server_(server),
      log_(server.log, net::describe(peer_group)),
      stream_(std::move(stream)),
      peer_(std::move(peer)),
      deadline_ns_(deadline_after(since_ns(), server.options.handshake_max_seconds)),
      handshake_(std::make_unique<Handshake>(
          server,
          HandshakeOptions{.tls = server.options.tls ? TlsPolicy::kRequired : TlsPolicy::kNone, .limits = {}})) {
  server_.handshakes.add(*this);
  server_.handshake_began.set();
}

Connection::~Connection() {
  server_.handshakes.remove(*this);
  if (has_slot_) server_.give_back_slot();
}

void Connection::drop() {
  stream_->shut_down();
}

aio::Task<void> Connection::run() {
  log_.trace().note(TraceEvent::kNbdClientConnected, {peer_});
  IoResult agreed = co_await negotiate();
  log_export_refusal();
  if (!agreed) {
    if (log_.enabled(LogLevel::kDebug)) {
      std::string_view reason = handshake_->close_reason();
      log_.debug(fmt::format("nbd client {}: handshake ended: {}", peer_,
                             reason.empty() ? errno_text(agreed.error()) : std::string(reason)));
    }
  } else {
    co_await transmit();
  }
  log_.trace().note(TraceEvent::kNbdClientLeft, {peer_});
}

// Ends when the client has chosen an export and the last reply of the handshake was sent.
aio::Task<IoResult> Connection::negotiate() {
  std::vector<std::byte> output;
  handshake_->greet(output);
  for (;;) {
    HandshakeStep step = handshake_->feed(input_, output);
    input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(step.consumed));
    // Skipping bytes is work too.
    work_ += std::max(step.steps, 1u);
    if (step.status == HandshakeStatus::kAuthorize && authorize_from_list()) {
      CO_TRY(co_await give_turn());
      continue;
    }
    if (step.status == HandshakeStatus::kTransmission) {
      const ExportInfo* chosen = server_.find(handshake_->state().export_name);
      chosen_sequence_ = chosen == nullptr ? 0 : chosen->sequence;
      CO_TRY(co_await take_slot());
    }
    CO_TRY(co_await net::send_all(*stream_, output));
    output.clear();
    log_export_refusal();
    switch (step.status) {
      case HandshakeStatus::kTransmission:
        co_return IoResult{};
      case HandshakeStatus::kClose:
        co_return fail(ECONNABORTED);
      case HandshakeStatus::kStartTls:
        CO_TRY(co_await start_tls());
        break;
      case HandshakeStatus::kAuthorize:
        co_await authorize_export();
        work_ += kAuthorizationSteps;
        break;
      case HandshakeStatus::kDrainOutput:
        break;
      case HandshakeStatus::kNeedInput:
        listed_for_.clear();
        CO_TRY(co_await receive());
        break;
    }
    CO_TRY(co_await give_turn());
  }
}

// Called between two steps. A handshake with an ordinary number of steps continues at once; handshakes with more steps
// take turns with each other, and so do not delay the others.
aio::Task<IoResult> Connection::give_turn() {
  if (work_ <= kHandshakeStepsAtOnceMax) co_return IoResult{};
  co_return co_await server_.long_handshakes.turn();
}

// Receives more bytes; a connection that waits for them holds no buffer.
aio::Task<IoResult> Connection::receive() {
  for (;;) {
    std::size_t before = input_.size();
    input_.resize(before + kHandshakeReceiveBytes);
    IoCount received = stream_->try_receive(std::span(input_).subspan(before));
    input_.resize(before + received.value_or(0));
    if (received && *received > 0) co_return IoResult{};
    if (received) co_return fail(ECONNRESET);
    if (received.error() != Errno(EAGAIN)) co_return fail(received.error());
    if (input_.empty()) release_memory(input_);
    CO_TRY(co_await stream_->readable());
  }
}

// Takes a slot of max-connections. While none is free the client waits for its last reply, up to the handshake limit.
aio::Task<IoResult> Connection::take_slot() {
  if (server_.is_full()) {
    // A client that has left, or was dropped, must not keep its descriptor until another client leaves.
    aio::Scope watch(server_.reactor);
    watch.spawn("nbd loss watch", cancel_when_gone(co_await aio::current_task()));
    IoResult waited = co_await server_.wait_for_slot();
    watch.cancel();
    co_await watch.join();
    CO_TRY(std::move(waited));
  }
  server_.take_slot();
  has_slot_ = true;
  co_return IoResult{};
}

aio::Task<void> Connection::cancel_when_gone(aio::TaskRoot& task) {
  if (co_await stream_->hung_up()) task.cancel();
}

aio::Task<void> Connection::transmit() {
  // The export may have been removed during the waits, and its name may belong to another one now.
  const ExportInfo* chosen = server_.find(handshake_->state().export_name);
  if (chosen == nullptr || chosen->sequence != chosen_sequence_) co_return;
  NbdExport& serving = *NbdExport::of(chosen);
  SessionState state = handshake_->state();
  std::vector<std::byte> early = std::move(input_);
  server_.handshakes.remove(*this);
  handshake_.reset();
  std::optional<aio::ReactorPool::Assignment> assignment(serving.assign_reactor(server_.reactors));
  PlacedTransmission client(server_.reactor, assignment->data_reactor(),
                            {.reactor = assignment->data_reactor().reactor,
                             .pool = assignment->data_reactor().pool,
                             .process_budget = server_.budget,
                             .edge = serving.edge(),
                             .bitmaps = serving.bitmaps(),
                             .fence = serving.fence(),
                             .trace = log_.trace(),
                             .peer = peer_,
                             .writethrough = serving.is_writethrough(),
                             .log = &log_,
                             .close_grace_ns = server_.options.close_grace_ns});
  log_.trace().note(TraceEvent::kNbdClientNegotiated, {peer_, " export ", serving.id()});
  serving.attach(client);
  co_await serving.pass_barrier();
  co_await client.run(std::move(stream_), std::move(state), std::move(early));
  // The client detaches before the export releases its iothread, which may end from then on.
  assignment.reset();
  serving.detach(client);
  co_await client.destroy();
}

}  // namespace blockexport::nbd

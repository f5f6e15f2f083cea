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
constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
// Handshake steps without a delay; an ordinary client needs about ten, and one for each export that it lists. Of all
// handshakes that have needed more, only one continues in each turn of the loop.
constexpr std::uint32_t kHandshakeStepsAtOnceMax = 64;
// Steps that one query of an authorizer counts as: it may search long lists.
constexpr std::uint32_t kAuthorizationSteps = 16;

std::string_view header_mode_name(HeaderMode mode) {
  switch (mode) {
    case HeaderMode::kSimple:
      return "simple";
    case HeaderMode::kStructured:
      return "structured";
    case HeaderMode::kExtended:
      return "extended";
  }
  __builtin_unreachable();
}

std::uint64_t sum_of(const std::array<exports::OwnedCounter, exports::kVerbs>& counters) {
  std::uint64_t sum = 0;
  for (const exports::OwnedCounter& counter : counters) sum += counter.load();
  return sum;
}

}  // namespace

Connection::Connection(ServerState& server, std::unique_ptr<net::Stream> stream, std::string_view peer,
                       net::PeerGroup peer_group, std::uint64_t number)
    : Slot(peer_group, server.reactor.now_ns()),
      server_(server),
      log_(server.log, net::describe(peer_group), server.options.id),
      stream_(std::move(stream)),
      name_(client_text(peer, server.options.id)),
      peer_bytes_(peer.size()),
      tls_(server.options.tls),
      deadline_ns_(server.handshake_deadline(*this)),
      handshake_(std::make_unique<Handshake>(
          server, HandshakeOptions{.tls = tls_ ? TlsPolicy::kRequired : TlsPolicy::kNone, .limits = {}})),
      number_(number),
      since_us_(server_.reactor.clock().wall_us()) {
  server_.handshakes.add(*this);
  server_.handshake_began.set();
}

Connection::~Connection() {
  server_.handshakes.remove(*this);
  if (has_slot_) server_.give_back_slot();
}

void Connection::drop(HandshakeFailure failure, std::string_view reason) {
  failure_ = failure;
  drop_reason_ = reason;
  stream_->shut_down();
}

aio::Task<void> Connection::run() {
  log_.trace().note(TraceEvent::kNbdClientConnected, {name_});
  IoResult agreed = co_await negotiate();
  log_export_refusal();
  if (!agreed) {
    count_failure();
    tell_end_of_handshake(agreed.error());
  } else {
    co_await transmit();
  }
  log_.trace().note(TraceEvent::kNbdClientLeft, {name_});
}

void Connection::count_failure() {
  const std::string_view reason = handshake_->close_reason();
  if (!failure_ && reason == kClientAborted) return;
  const HandshakeFailure otherwise = reason.empty() ? HandshakeFailure::kDisconnected : HandshakeFailure::kProtocol;
  server_.counters.failed(failure_.value_or(otherwise));
}

void Connection::tell_end_of_handshake(Errno error) {
  if (is_refusal_logged_) return;
  const std::string_view closed = handshake_->close_reason();
  const std::string_view refused = drop_reason_.empty() ? handshake_->refusal_reason() : drop_reason_;
  if (!refused.empty() || (!closed.empty() && closed != kClientAborted)) {
    return tell_client_refused(log_, names(), refused.empty() ? closed : refused);
  }
  if (!log_.enabled(LogLevel::kDebug)) return;
  log_.debug(fmt::format("nbd client {}: handshake ended: {}", name_, closed.empty() ? errno_text(error) : closed));
}

ClientNames Connection::names(std::string_view export_id) const {
  return {.name = name_, .peer = peer(), .identity = identity_, .export_id = export_id};
}

// The reason why the client is refused, if it is banned. On a server with TLS a client has to say first who it is.
std::optional<std::string> Connection::ban() const {
  const Bans* const bans = server_.options.bans;
  if (bans == nullptr || bans->empty() || (tls_ && !tls_session_)) return std::nullopt;
  const auto rest_ns = bans->rest_ns(printable(identity_, identity_.size()), log_.group(), server_.reactor.now_ns());
  if (!rest_ns) return std::nullopt;
  return fmt::format("an administrator has banned this client for another {} s",
                     (*rest_ns + kNanosecondsPerSecond - 1) / kNanosecondsPerSecond);
}

bool Connection::refuse_banned() {
  const auto reason = ban();
  if (!reason) return false;
  server_.counters.failed(HandshakeFailure::kRefused);
  tell_client_refused(log_, names(), *reason);
  return true;
}

// Ends when the client has chosen an export and the last reply of the handshake was sent.
aio::Task<IoResult> Connection::negotiate() {
  std::vector<std::byte> output;
  handshake_->greet(output);
  for (;;) {
    if (auto reason = ban()) {
      failure_ = HandshakeFailure::kRefused;
      handshake_->refuse_all(*std::move(reason));
    }
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
    ++server_.counters.slot_waits;
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

exports::ClientDescription Connection::describe_client(const SessionState& state) const {
  exports::ClientDescription description{
      .number = number_,
      .server = server_.options.id,
      .peer = std::string(peer()),
      .peer_group = log_.group(),
      .since_us = since_us_,
      .tls = tls_session_,
      .header_mode = header_mode_name(state.header_mode),
      .is_writable = (state.transmission_flags & transmission_flag::kReadOnly) == 0,
  };
  // A certificate may have bytes that are no UTF-8.
  if (!identity_.empty()) description.identity = printable(identity_, identity_.size());
  for (const ContextInfo& context : state.contexts) description.contexts.push_back(context.name);
  return description;
}

// The export that the client chose; null: during the waits of the handshake it was removed, its name came to belong to
// another export, or the server became read-only.
NbdExport* Connection::chosen_export() const {
  const ExportInfo* chosen = server_.find(handshake_->state().export_name);
  const bool was_read_only = (handshake_->state().transmission_flags & transmission_flag::kReadOnly) != 0;
  if (chosen == nullptr || chosen->sequence != chosen_sequence_ || (chosen->read_only && !was_read_only)) {
    return nullptr;
  }
  return NbdExport::of(chosen);
}

TransmissionContext Connection::context(NbdExport& serving, aio::DataReactor& placed) const {
  return {.reactor = placed.reactor,
          .pool = placed.pool,
          .process_budget = server_.budget,
          .edge = serving.edge(),
          .bitmaps = serving.bitmaps(),
          .fence = serving.fence(),
          .trace = log_.trace(),
          .peer = name_,
          .writethrough = serving.is_writethrough(),
          .log = &log_,
          .close_grace_ns = server_.options.close_grace_ns,
          .shared_counters = &serving.counters().on(&placed)};
}

// A function and no part of transmit(), whose frame is kept for each connection: what only these steps use takes no
// memory there. False: the server takes no more clients.
bool Connection::enter(PlacedTransmission& client, NbdExport& serving, const SessionState& state) {
  client.describe(describe_client(state));
  if (!server_.enter(client)) return false;
  log_.trace().note(TraceEvent::kNbdClientNegotiated, {name_, " export ", serving.id()});
  tell_client_connected(log_, names(serving.id()));
  serving.attach(client);
  return true;
}

void Connection::leave(PlacedTransmission& client, NbdExport& serving, std::uint64_t since_ns) {
  tell_client_left(log_, names(serving.id()),
                   {.ending = client.ending(),
                    .duration_ns = server_.reactor.now_ns() - since_ns,
                    .requests = sum_of(client.counters().operations),
                    .bytes = sum_of(client.counters().bytes)});
}

// Called in a statement of its own: its arguments to run() would stay in the frame of transmit() otherwise.
aio::Task<void> Connection::serve(PlacedTransmission& client) {
  SessionState state = handshake_->state();
  handshake_.reset();
  return client.run(std::move(stream_), std::move(state), std::move(input_));
}

aio::Task<void> Connection::transmit() {
  NbdExport* chosen = chosen_export();
  if (chosen == nullptr) {
    server_.counters.failed(HandshakeFailure::kExportGone);
    co_return;
  }
  if (refuse_banned()) co_return;
  NbdExport& serving = *chosen;
  server_.handshakes.remove(*this);
  std::optional<aio::ReactorPool::Assignment> assignment(serving.assign_reactor(server_.reactors));
  PlacedTransmission client(server_.reactor, assignment->data_reactor(), context(serving, assignment->data_reactor()));
  if (!enter(client, serving, handshake_->state())) {
    co_await client.destroy();
    co_return;
  }
  const std::uint64_t since_ns = server_.reactor.now_ns();
  co_await serving.pass_barrier();
  aio::Task<void> served = serve(client);
  co_await std::move(served);
  leave(client, serving, since_ns);
  // The client detaches before the export releases its iothread, which may end from then on.
  assignment.reset();
  serving.detach(client);
  server_.leave(client);
  co_await client.destroy();
}

}  // namespace blockexport::nbd

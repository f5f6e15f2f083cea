#include "export/nbd/server/server_state.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

namespace blockexport::nbd {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

}  // namespace

std::size_t handshakes_permitted() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kHandshakesMax;
  return std::clamp<std::size_t>(limit.rlim_cur / 2, 1, kHandshakesMax);
}

ServerState::ServerState(aio::Reactor& on, aio::ReactorPool& pool, aio::ProcessBudget& memory, const Log& to,
                         ExportNames& all_names, ServerOptions given)
    : reactor(on),
      reactors(pool),
      budget(memory),
      log(to),
      names(all_names),
      options(std::move(given)),
      counters(options.counters != nullptr ? *options.counters : own_counters_),
      handshakes(options.handshakes_max),
      handshake_began(on),
      handshake_limit_changed(on),
      long_handshakes(on),
      tls_handshakes(on),
      slot_free_(on),
      all_left_(on, aio::Event::Cancellation::kIgnored) {
  names.join(*this);
}

ServerState::~ServerState() {
  unlink();
}

void ServerState::change(const ServerOptions& wanted) {
  options.max_connections = wanted.max_connections;
  options.handshake_max_seconds = wanted.handshake_max_seconds;
  options.tls = wanted.tls;
  options.view = wanted.view;
  exports_.clear();
  exports_by_name_.clear();
  names.report_to(*this);
  slot_free_.set();
  handshake_began.set();
  handshake_limit_changed.set();
}

bool ServerState::shows(const ExportInfo& info) const {
  if (info.is_restricted && !requires_tls()) return false;
  if (info.servers && std::ranges::find(*info.servers, options.id) == info.servers->end()) return false;
  return options.view.contains(info.name);
}

void ServerState::published(PublishedExport& added, const ExportInfo& info) {
  if (!shows(info)) return;
  exports_.emplace(info.sequence, &added);
  exports_by_name_.emplace(info.name, &added);
}

void ServerState::withdrawn(const ExportInfo& removed) {
  if (exports_.erase(removed.sequence) > 0) exports_by_name_.erase(removed.name);
}

// The description as this server's clients get it.
const ExportInfo& ServerState::as_shown(PublishedExport& one) {
  const ExportInfo& info = one.current_info();
  if (allows_multi_conn() && (info.read_only || !options.view.read_only)) return info;
  shown_ = info;
  shown_.multi_conn = allows_multi_conn();
  if (options.view.read_only) shown_.read_only = true;
  return shown_;
}

const ExportInfo* ServerState::find(std::string_view name) {
  auto found = exports_by_name_.find(name);
  return found == exports_by_name_.end() ? nullptr : &as_shown(*found->second);
}

const ExportInfo* ServerState::next_after(std::uint64_t sequence) {
  auto next = exports_.upper_bound(sequence);
  return next == exports_.end() ? nullptr : &as_shown(*next->second);
}

std::optional<std::string> ServerState::tls_refusal() {
  // The configuration may have changed after the client connected.
  if (!options.tls) return "TLS is not configured any more";
  auto credentials = options.tls->credentials->find(options.tls->credentials_id, net::TlsEndpoint::kServer);
  if (credentials) return std::nullopt;
  return credentials.error().message();
}

std::uint64_t ServerState::handshake_deadline(const HandshakeTable::Slot& slot) const {
  const std::uint32_t seconds = options.handshake_max_seconds;
  return seconds == 0 ? UINT64_MAX : slot.since_ns() + seconds * kNanosecondsPerSecond;
}

aio::Task<IoResult> ServerState::wait_for_slot() {
  while (is_full()) {
    slot_free_.reset();
    CO_TRY(co_await slot_free_.wait());
  }
  co_return IoResult{};
}

void ServerState::give_back_slot() {
  --clients_;
  slot_free_.set();
}

bool ServerState::enter(PlacedTransmission& client) {
  if (is_finishing_) return false;
  transmissions_.push_back(client);
  return true;
}

void ServerState::leave(PlacedTransmission& client) {
  client.unlink();
  if (transmissions_.empty()) all_left_.set();
}

aio::Task<void> ServerState::finish_clients() {
  is_finishing_ = true;
  for (PlacedTransmission& client : transmissions_) client.finish();
  while (!transmissions_.empty()) {
    all_left_.reset();
    (void)co_await all_left_.wait();
  }
}

}  // namespace blockexport::nbd

#include "export/nbd/server/server_state.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

namespace blockexport::nbd {

std::size_t handshakes_permitted() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kHandshakesMax;
  return std::clamp<std::size_t>(limit.rlim_cur / 2, 1, kHandshakesMax);
}

ServerState::ServerState(aio::Reactor& on, aio::ReactorPool& pool, aio::ProcessBudget& memory, const Log& to,
                         ServerOptions given)
    : reactor(on),
      reactors(pool),
      budget(memory),
      log(to),
      options(std::move(given)),
      handshakes(options.handshakes_max),
      handshake_began(on),
      long_handshakes(on),
      tls_handshakes(on),
      slot_free_(on) {}

std::uint64_t ServerState::publish(PublishedExport& added, const std::string& name) {
  exports_.emplace(++last_sequence_, &added);
  exports_by_name_.emplace(name, &added);
  return last_sequence_;
}

void ServerState::withdraw(const ExportInfo& removed) {
  exports_.erase(removed.sequence);
  exports_by_name_.erase(removed.name);
}

const ExportInfo* ServerState::find(std::string_view name) {
  auto found = exports_by_name_.find(name);
  return found == exports_by_name_.end() ? nullptr : &found->second->current_info();
}

const ExportInfo* ServerState::next_after(std::uint64_t sequence) {
  auto next = exports_.upper_bound(sequence);
  return next == exports_.end() ? nullptr : &next->second->current_info();
}

std::optional<std::string> ServerState::tls_refusal() {
  auto credentials = options.tls->credentials->find(options.tls->credentials_id, net::TlsEndpoint::kServer);
  if (credentials) return std::nullopt;
  return credentials.error().message();
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

}  // namespace blockexport::nbd

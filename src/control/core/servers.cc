#include "control/core/servers.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/identifier.h"
#include "export/nbd/server/nbd_export.h"
#include "schema/block_export.h"

namespace blockexport::control {
namespace {

bool is_nbd(const exports::Export& one) {
  return one.type() == schema::name_of(schema::BlockExportType::kNbd);
}

}  // namespace

Servers::Servers(aio::Reactor& reactor, aio::ReactorPool& reactors, aio::ProcessBudget& budget, const Log& log,
                 aio::Event& serving, exports::Registry& exports)
    : reactor_(reactor),
      reactors_(reactors),
      budget_(budget),
      log_(log),
      serving_(serving),
      exports_(exports),
      ended_(reactor, aio::Event::Cancellation::kIgnored) {}

Servers::~Servers() = default;

nbd::Server* Servers::find(std::string_view id) const {
  auto found = running_.find(id);
  return found == running_.end() || found->second.is_stopping ? nullptr : found->second.server.get();
}

std::map<std::string, nbd::Server*> Servers::all() const {
  std::map<std::string, nbd::Server*> servers;
  for (const auto& [id, running] : running_) servers.emplace(id, running.server.get());
  return servers;
}

std::map<std::string, nbd::Server*> Servers::serving() const {
  std::map<std::string, nbd::Server*> servers;
  for (const auto& [id, running] : running_) {
    if (!running.is_stopping) servers.emplace(id, running.server.get());
  }
  return servers;
}

bool Servers::any_with_tls() const {
  return std::ranges::any_of(running_, [](const auto& entry) {
    return !entry.second.is_stopping && entry.second.server->state().requires_tls();
  });
}

Result<> Servers::check_new_id(std::string_view id) const {
  if (!is_identifier(id)) return fail(Error("Parameter 'id' expects an identifier").with_hint(kIdentifierHint));
  if (id.size() > kServerIdBytesMax) {
    return fail(fmt::format("The id of an NBD server has at most {} bytes", kServerIdBytesMax));
  }
  if (contains(id) || reserved_.contains(id)) return fail(fmt::format("NBD server '{}' exists already", id));
  if (running_.size() >= kServersMax) return fail(fmt::format("There are {} NBD servers already", kServersMax));
  return {};
}

nbd::Server& Servers::make(std::string_view id, nbd::ServerOptions options) {
  options.close_grace_ns = close_grace_ns_;
  options.id = id;
  options.bans = &bans_;
  options.counters = &counters_[options.id];
  auto server = std::make_unique<nbd::Server>(reactor_, reactors_, budget_, log_, serving_, names_, std::move(options));
  nbd::Server& made = *server;
  running_.emplace(std::string(id), Running{.server = std::move(server), .number = ++last_number_});
  share_handshakes();
  return made;
}

// All servers together keep as many handshakes as one alone, so that files stay free for everything else.
void Servers::share_handshakes() {
  const std::size_t share =
      std::max<std::size_t>(1, nbd::handshakes_permitted() / std::max<std::size_t>(1, running_.size()));
  for (auto& [id, running] : running_) running.server->state().handshakes.set_slots(share);
}

// A hidden export, which ends with its last client, is shown nowhere, and yet another server may have clients of it.
bool Servers::is_shown_elsewhere(const exports::Export& one, std::string_view id) const {
  const std::string& name = static_cast<const nbd::NbdExport&>(one).info().name;
  bool has_other_server = false;
  for (const auto& [other, running] : running_) {
    if (other == id || running.is_stopping) continue;
    if (running.server->state().has_export(name)) return true;
    has_other_server = true;
  }
  return has_other_server && one.shutting_down();
}

bool Servers::still_runs(std::string_view id, std::uint64_t number) const {
  auto found = running_.find(id);
  return found != running_.end() && found->second.number == number;
}

aio::Task<void> Servers::wait_until_ended(std::string id, std::uint64_t number) {
  while (still_runs(id, number)) {
    ended_.reset();
    (void)co_await ended_.wait();
  }
}

void Servers::erase(std::string_view id) {
  running_.erase(running_.find(id));
  if (id != kDefaultServerId) counters_.erase(counters_.find(id));
  share_handshakes();
  ended_.set();
}

aio::Task<void> Servers::stop(std::string id, ExportsAtStop exports) {
  auto found = running_.find(id);
  if (found == running_.end()) co_return;
  Running& running = found->second;  // only this task erases it
  if (std::exchange(running.is_stopping, true)) {
    co_await wait_until_ended(id, running.number);
    co_return;
  }
  co_await running.server->stop_listening();
  if (exports == ExportsAtStop::kRemovedUnlessShown) {
    co_await exports_.remove_all(exports::RemoveMode::kFinish, [this, &id](const exports::Export& one) {
      return is_nbd(one) && !is_shown_elsewhere(one, id);
    });
  }
  co_await running.server->finish_clients();
  co_await running.server->close_connections();
  erase(id);
  tell(id, "has stopped");
}

void Servers::tell(std::string_view id, std::string_view text) const {
  if (id == kDefaultServerId) return;
  const LogField field{.name = "server", .value = id};
  log_.info(fmt::format("NBD server '{}' {}", id, text), {&field, 1});
}

aio::Task<void> Servers::stop_all(bool keeps_default_paths) {
  std::vector<std::string> ending;
  std::vector<std::pair<std::string, std::uint64_t>> ended_by_others;
  for (auto& [id, running] : running_) {
    if (std::exchange(running.is_stopping, true)) {
      ended_by_others.emplace_back(id, running.number);
      continue;
    }
    if (keeps_default_paths && id == kDefaultServerId) running.server->keep_paths();
    ending.push_back(id);
  }
  for (const std::string& id : ending) co_await running_.find(id)->second.server->stop_listening();
  co_await exports_.remove_all(exports::RemoveMode::kFinish, is_nbd);
  for (const std::string& id : ending) {
    co_await running_.find(id)->second.server->close_connections();
    erase(id);
  }
  for (const auto& [id, number] : ended_by_others) co_await wait_until_ended(id, number);
}

}  // namespace blockexport::control

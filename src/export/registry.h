// Registry: all exports of the process, of every type, by id.
//
// An id stays in use until the last client of a removed export has left and its edge was released; then on_deleted
// reports it (BLOCK_EXPORT_DELETED). Owned by the daemon. Thread: the control reactor.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "aio/sync/scope.h"
#include "aio/sync/sync.h"
#include "block/edge.h"
#include "export/export.h"

namespace blockexport::exports {

// Time limit of a hard removal: how long it waits for the end of an export whose clients were cut, unless requests in
// the storage delay that end.
inline constexpr std::uint64_t kHardRemovalWaitNs = 1'000'000'000;

class Registry {
 public:
  // `let_go` releases an export's edge; `on_deleted` is called with the id after the export has ended.
  Registry(aio::Reactor& reactor, std::move_only_function<aio::Task<void>(std::unique_ptr<block::Edge>)> let_go,
           std::move_only_function<void(const std::string& id)> on_deleted);
  ~Registry();

  // Notifies `observer`, which outlives the exports, of their clients from now on.
  void observe_clients(ClientObserver& observer) { client_observer_ = &observer; }

  // Checks an id. Errors: malformed, in use.
  Result<> check_id(const std::string& id) const;

  // Adds an export whose id was checked.
  Export& add(std::unique_ptr<Export> added);

  // Null when there is none; an export that is shutting down is still found.
  Export* find(std::string_view id) const;

  // Begins the removal. Waits for its end if there are no clients; with kHard, also if no client waits for storage.
  // Errors: not found, still in use (kSafe), already shutting down (unless `mode` is sharper).
  aio::Task<Result<>> remove(std::string id, RemoveMode mode);

  // Begins the removal, whatever its clients do, and frees the id for another export at once.
  void retire(Export& leaving, RemoveMode mode);

  // Waits until the export of that number has ended; can be cancelled.
  aio::Task<void> wait_until_ended(std::uint64_t number);

  // Begins the removal of each export that `wanted` accepts, newest first, whatever its clients do, and waits until
  // they have ended.
  aio::Task<void> remove_all(RemoveMode mode, std::move_only_function<bool(const Export&)> wanted);

  // Notifies each export whose node has another size than the export knows. Call it after a resize of any node, because
  // that also changes the nodes above it.
  void nodes_resized();

  // The exports of a node show another one now, which a change of the graph has put above it.
  void node_overlaid(std::string_view node_name, const std::string& overlay);

  // Newest first.
  std::vector<Export*> list() const;

 private:
  friend class Export;
  void begin(Export& leaving, RemoveMode mode);
  void erase_if_unused(Export& leaving);
  aio::Task<void> erase(std::uint64_t number);
  Export* numbered(std::uint64_t number) const;
  aio::Task<void> wait_until_gone(std::uint64_t number);
  aio::Task<void> wait_until_cut(std::uint64_t number);

  aio::Reactor& reactor_;
  std::move_only_function<aio::Task<void>(std::unique_ptr<block::Edge>)> let_go_;
  std::move_only_function<void(const std::string& id)> on_deleted_;
  // By a number that is never reused: oldest first. A task that waits keeps the number, and no pointer.
  std::map<std::uint64_t, std::unique_ptr<Export>> exports_;
  std::unordered_map<std::string_view, Export*> exports_by_id_;  // the keys are views of the exports' ids
  std::uint64_t last_number_ = 0;
  ClientObserver* client_observer_ = nullptr;
  aio::Event gone_;  // an export has ended
  aio::Event cut_;   // an export has ended, or has only clients that wait for storage; the wait can be cancelled
  aio::Scope erasing_;
};

}  // namespace blockexport::exports

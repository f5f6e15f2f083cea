// Registry: every export of the process, of every type, by id.
//
// An id stays taken until the last client of a removed export has left and its node was let go; then on_deleted tells
// it (BLOCK_EXPORT_DELETED). Owned by the daemon. Thread: the control reactor.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "aio/scope.h"
#include "aio/sync.h"
#include "block/edge.h"
#include "export/export.h"

namespace blockexport::exports {

// How long a hard removal waits for an export whose clients have been cut to be gone, unless requests that are with the
// storage keep it.
inline constexpr std::uint64_t kHardRemovalWaitNs = 1'000'000'000;

class Registry {
 public:
  // `let_go` gives an export's edge back; `on_deleted` is called with the id after the export is gone.
  Registry(aio::Reactor& reactor, std::move_only_function<aio::Task<void>(std::unique_ptr<block::Edge>)> let_go,
           std::move_only_function<void(const std::string& id)> on_deleted);
  ~Registry();

  // Errors: a malformed id, an id in use.
  Result<> check_id(const std::string& id) const;

  // Takes an export whose id was checked.
  Export& add(std::unique_ptr<Export> added);

  // Null when there is none; one that is shutting down is still found.
  Export* find(std::string_view id) const;

  // Begins the removal, and waits for its end when no client is there to wait for, or (kHard) none that still waits for
  // storage. Errors: not found, still in use (kSafe), already shutting down (unless `mode` is sharper).
  aio::Task<Result<>> remove(std::string id, RemoveMode mode);

  // Begins the removal of each export that `wanted` accepts, the newest first, whatever its clients do, and waits until
  // they are gone.
  aio::Task<void> remove_all(RemoveMode mode, std::move_only_function<bool(const Export&)> wanted);

  // Tells each export whose node has another size than the export knows. After a resize of any node, for those above
  // it change too.
  void nodes_resized();

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
  // By a number that none had before: oldest first. Whoever waits keeps the number, and no pointer.
  std::map<std::uint64_t, std::unique_ptr<Export>> exports_;
  std::unordered_map<std::string_view, Export*> exports_by_id_;  // the ids are the exports'
  std::uint64_t last_number_ = 0;
  aio::Event gone_;  // one is gone
  aio::Event cut_;   // one is gone, or has no client left that does not wait for storage; the wait can be cancelled
  aio::Scope erasing_;
};

}  // namespace blockexport::exports

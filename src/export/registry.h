// Registry: every export of the process, of every type, by id.
//
// An id stays taken until the last client of a removed export has left and its node was let go; then on_deleted tells
// it (BLOCK_EXPORT_DELETED). Owned by the daemon. Thread: the control reactor.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "aio/scope.h"
#include "aio/sync.h"
#include "export/export.h"

namespace blockexport::exports {

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

  // Begins the removal, and waits for its end when no client is there to wait for. Errors: not found, still in use
  // (kSafe), already shutting down (unless `mode` is sharper).
  aio::Task<Result<>> remove(std::string id, RemoveMode mode);

  // Begins the removal of each export that `wanted` accepts, the newest first, whatever its clients do, and waits until
  // they are gone.
  aio::Task<void> remove_all(RemoveMode mode, std::move_only_function<bool(const Export&)> wanted);

  // Newest first.
  std::vector<Export*> list() const;

 private:
  friend class Export;
  void begin(Export& leaving, RemoveMode mode);
  void erase_if_unused(Export& leaving);
  aio::Task<void> erase(Export& leaving);
  bool contains(const Export* one) const;
  aio::Task<void> wait_until_gone(const Export* one);

  std::move_only_function<aio::Task<void>(std::unique_ptr<block::Edge>)> let_go_;
  std::move_only_function<void(const std::string& id)> on_deleted_;
  std::vector<std::unique_ptr<Export>> exports_;  // oldest first
  aio::Event deleted_;
  aio::Scope erasing_;
};

// Whether `id` is well-formed as object, node and export ids are: a letter, then letters, digits, '-', '.', '_'.
bool is_well_formed_id(std::string_view id);

}  // namespace blockexport::exports

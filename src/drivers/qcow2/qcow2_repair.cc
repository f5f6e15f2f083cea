#include "drivers/qcow2/qcow2_repair.h"

#include <fmt/format.h>

#include "block/chain.h"
#include "block/edge.h"
#include "drivers/qcow2/check/check.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::Node;
using block::Permission;
using block::Permissions;

// The node that holds the file, below formats and filters that show it.
Node& storage_node(Node& node) {
  Node* lowest = &node;
  while (Node* below = block::image_node(*lowest)) lowest = below;
  return *lowest;
}

}  // namespace

aio::Task<Result<>> repair_before_writing(Node& file) {
  Node& storage = storage_node(file);
  const Permissions before = storage.permissions();
  if (before.used.has(Permission::kWrite) || before.used.has(Permission::kResize)) {
    co_return fail(Error(fmt::format("qcow2: The image '{}' has to be repaired, and something else writes it",
                                     storage.driver().filename()))
                       .with_hint("Remove the other users of its file first."));
  }
  const Permissions alone{.used = before.used | Permission::kConsistentRead | Permission::kWrite | Permission::kResize,
                          .shared = before.shared - (Permission::kWrite | Permission::kResize)};
  CO_TRY(co_await storage.driver().set_permissions(alone));
  Result<> repaired = co_await repair_dirty_image(file);
  // Weaker locks than those that it has: this cannot fail. The graph sets those of the new node afterwards.
  (void)co_await storage.driver().set_permissions(before);
  co_return repaired;
}

}  // namespace blockexport::drivers::qcow2

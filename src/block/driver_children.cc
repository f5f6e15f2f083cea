// Driver: default implementations that query the nodes of its children.
#include <algorithm>

#include "block/driver.h"
#include "block/edge.h"
#include "block/node.h"

namespace blockexport::block {

aio::Task<std::optional<std::uint64_t>> Driver::allocated_bytes() {
  std::optional<std::uint64_t> all_bytes;
  for (Edge* child : children()) {
    if (!child->roles().holds_image()) continue;
    const std::optional<std::uint64_t> bytes = co_await child->node().driver().allocated_bytes();
    if (!bytes) co_return std::nullopt;
    all_bytes = all_bytes.value_or(0) + *bytes;
  }
  co_return all_bytes;
}

bool Driver::owes_flush() const {
  return std::ranges::any_of(children(), [](const Edge* child) { return child->node().owes_flush(); });
}

}  // namespace blockexport::block

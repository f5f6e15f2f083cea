#include "drivers/foreign/opened_file.h"

#include <fmt/format.h>

#include "block/edge.h"
#include "block/node.h"

namespace blockexport::drivers::foreign {

aio::Task<Result<std::unique_ptr<block::Edge>>> open_file(const schema::BlockdevRef& reference,
                                                          block::ChildOpener& children) {
  co_return co_await children.open_child(reference, "file", block::ChildRole::kData | block::ChildRole::kMetadata);
}

Error could_not_open(const block::Edge& file, Errno error) {
  return Error::system(fmt::format("Could not open '{}'", file.node().driver().filename()), error);
}

}  // namespace blockexport::drivers::foreign

// The bitmaps in the images of nodes, as dirty bitmaps of these nodes: loaded, used, and stored.
//
// Called while the node is quiesced, or not part of the graph yet. The functions do nothing for nodes whose driver
// keeps no bitmaps. Thread: the control reactor.
#pragma once

#include "aio/task/task.h"
#include "base/error.h"
#include "block/node.h"

namespace blockexport {
class Log;
}

namespace blockexport::block {

// Adds the bitmaps of the image to the node. After an error the node is as before.
aio::Task<Result<>> load_image_bitmaps(Node& node);
// Marks them as in use if the node is writable. A failure is logged, and the next change of the node tries it again.
aio::Task<void> begin_using_image_bitmaps(Node& node, const Log* log);
// Stores them if the node is writable. Logs a failure, unless `log` is null.
aio::Task<Result<>> store_image_bitmaps(Node& node, const Log* log);
// After a reopen of the node: they are read-only if it is.
void follow_read_only(Node& node);

}  // namespace blockexport::block

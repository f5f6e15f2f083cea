// Attaching a bitmap store to a node, with its bitmaps, and closing it.
//
// Called while the node is quiesced, or not part of the graph yet. Thread: the control reactor.
#pragma once

#include "aio/task/task.h"
#include "base/error.h"
#include "block/node.h"
#include "block/node_store.h"
#include "schema/block_core.h"

namespace blockexport::block {

enum class AttachTo : std::uint8_t {
  kNewNode,  // whose image's bitmaps are not loaded yet; after an error it is not used
  kOldNode,  // a reopen; after an error it is as before
};

// Opens the store for the node, which has none, and adds its bitmaps to the node. `is_read_only`: whether the node is,
// or is about to be; then the bitmaps cannot be modified. Errors are for users.
aio::Task<Result<>> attach_store(NodeStore::Environment environment, schema::BlockdevBitmapStore options, Node& node,
                                 bool is_read_only, AttachTo attach_to);

// Part of a change whose permissions are in effect. Fails if the image of a store that was just attached is not the one
// that it was opened for. A store beside an image begins its session, unless the node is, or is about to be, read-only.
aio::Task<Result<>> confirm_store(Node& node, bool is_read_only);

// Removes the store and its bitmaps from the node, and stores nothing. Bitmaps of an image stay.
void detach_store(Node& node);

// Makes the store clean, if that is possible. The caller destroys it or its node.
aio::Task<void> close_store(Node& node);

}  // namespace blockexport::block

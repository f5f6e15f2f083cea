// Events for the injection of faults: moments in the work of a driver, which blkdebug can turn into errors.
//
// A driver announces an event to the child in which it works: debug_event(*file_, DebugEvent::kL2Update) before it
// writes an L2 table to `file_`. That costs one load when nobody listens. A listener takes calls on any reactor, and
// returns at once. The names are those of the schema's BlkdebugEvent, in its order.
#pragma once

#include <cstdint>

#include "block/edge.h"
#include "block/node.h"

namespace blockexport::block {

enum class DebugEvent : std::uint8_t {
  kL1Update,                  // a qcow2 L1 table is written
  kL1GrowAllocTable,          // clusters for a larger L1 table are allocated
  kL1GrowWriteTable,          // the larger L1 table is written
  kL1GrowActivateTable,       // the header is changed to the larger L1 table
  kL2Load,                    // an L2 table is read
  kL2Update,                  // an L2 table is written
  kL2UpdateCompressed,        // an L2 entry of a compressed cluster is set
  kL2AllocCowRead,            // an L2 table that snapshots share is read to be copied
  kL2AllocWrite,              // a new L2 table is written
  kReadAio,                   // data are read
  kReadBackingAio,            // data are read from the backing file
  kReadCompressed,            // a compressed cluster is read
  kWriteAio,                  // data are written
  kWriteCompressed,           // a compressed cluster is written
  kVmstateLoad,               // the state of a virtual machine is read
  kVmstateSave,               // the state of a virtual machine is written
  kCowRead,                   // data around a write into a new cluster are read
  kCowWrite,                  // data around a write into a new cluster are written
  kReftableLoad,              // the refcount table is read
  kReftableGrow,              // a larger refcount table is needed
  kReftableUpdate,            // the refcount table is written
  kRefblockLoad,              // a refcount block is read
  kRefblockUpdate,            // a refcount block is written
  kRefblockUpdatePart,        // a part of a refcount block is written
  kRefblockAlloc,             // a refcount block is allocated
  kRefblockAllocHookup,       // an entry of the refcount table is set to a new block
  kRefblockAllocWrite,        // a new refcount block is written
  kRefblockAllocWriteBlocks,  // the blocks of a larger refcount table are written
  kRefblockAllocWriteTable,   // a larger refcount table is written
  kRefblockAllocSwitchTable,  // the header is changed to the larger refcount table
  kClusterAlloc,              // clusters are allocated
  kClusterAllocBytes,         // a part of a cluster is allocated
  kClusterFree,               // clusters are freed
  kFlushToOs,                 // caches of the node above are written, as the first part of a flush
  kFlushToDisk,               // data are made durable, as the second part of a flush
  kPwritevRmwHead,            // the first block of an unaligned write is read
  kPwritevRmwAfterHead,       // that block was read
  kPwritevRmwTail,            // the last block of an unaligned write is read
  kPwritevRmwAfterTail,       // that block was read
  kPwritev,                   // the filter is written to
  kPwritevZero,               // the filter is asked to write zeroes
  kPwritevDone,               // such a write has ended
  kEmptyImagePrepare,         // an image is emptied
  kL1ShrinkWriteTable,        // unused entries of an L1 table are cleared
  kL1ShrinkFreeL2Clusters,    // the L2 tables of such entries are freed
  kCorWrite,                  // data that were read are copied upwards
  kClusterAllocSpace,         // the space of a cluster is allocated before it is written
  kNone,                      // the node is opened
};

// Implemented by blkdebug.
class DebugListener {
 public:
  virtual void debug_event(DebugEvent event) = 0;

 protected:
  ~DebugListener() = default;
};

// Tells the driver of the child, if it listens, that the moment has come. Any reactor, inside a request.
inline void debug_event(Node& child, DebugEvent event) {
  if (DebugListener* listener = child.driver().debug_listener()) [[unlikely]]
    listener->debug_event(event);
}
inline void debug_event(const Edge& child, DebugEvent event) {
  debug_event(child.node(), event);
}

}  // namespace blockexport::block

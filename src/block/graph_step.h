// GraphStep: one step of a change of the block graph. A list of them takes effect as a whole or not at all
// (Graph::apply). Plain values; thread: the control reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/error.h"
#include "block/change_listener.h"
#include "block/edge.h"
#include "block/held_bitmap.h"
#include "block/permissions.h"
#include "schema/block_core.h"

namespace blockexport::block {

class OverlaySource;
struct ImageSnapshot;

// Opens a node, and the children that its options define.
struct AddNode {
  schema::BlockdevOptions options;
};

// Removes a node that a command made and that has no users, with its children that have no other users.
struct RemoveNode {
  std::string name;
};

// Sets new options and children of nodes. One change can reopen a node once.
struct ReopenNodes {
  std::vector<schema::BlockdevOptions> options;
};

// Sets the size of a node; `size_bytes` as the user gave it. It must be the last step of its change, because it cannot
// be undone.
struct ResizeNode {
  std::string name;
  std::int64_t size_bytes = 0;
};

// Changes the name of the backing file in the image of node `name`, which is in the chain from `top`; the format
// becomes that of its backing node, which stays. It must be the last step of its change, because it cannot be undone.
struct RenameBacking {
  std::string top;
  std::string name;
  std::string backing_name;
};

// Attaches a root edge to the node of that name.
struct AttachEdge {
  std::string name;
  EdgeParent parent;
  Permissions permissions;
  std::unique_ptr<Edge>* attached = nullptr;  // set when the change succeeds; outlives the change
};

// Attaches a root edge to the node of a reference: to one of the graph, or to a new one that the reference defines. The
// new one is removed with its last edge.
struct AttachReference {
  schema::BlockdevRef reference;
  EdgeParent parent;
  Permissions permissions;
  std::unique_ptr<Edge>* attached = nullptr;  // as in AttachEdge
};

// Detaches a root edge. A node that no command made is removed with its last edge. If the change fails, `edge` has the
// edge again.
struct DetachEdge {
  std::unique_ptr<Edge>* edge = nullptr;  // outlives the change
};

// Adds a node without users as a further child of `parent`, whose driver takes such ones.
struct AddChild {
  std::string parent;
  std::string node;
};

// Removes the child of that name from `parent`, whose driver can do without it. A node that no command made is removed
// with its last user.
struct RemoveChild {
  std::string parent;
  std::string child;
};

// Moves the users of a node to another one, except those through which the other one uses it itself. Both have the same
// size, unless the step allows another one. This inserts a filter between a node and its users, or removes one. Without
// `by`, the node is a filter, and its users move to the node that it filters at that moment: earlier changes may have
// put other filters in between.
struct ReplaceNode {
  std::string name;
  std::optional<std::string> by = {};
  bool allows_other_size = false;
};

// Puts `overlay` above `node`, which becomes its backing node, and gives it all users of the node. The bitmaps and the
// listeners of the node stay there. When the change has succeeded, call Graph::settle_snapshot().
struct TakeSnapshot {
  std::string node;
  std::string overlay;
};

// The same with a new node as the overlay, which is removed with its last edge.
struct AddOverlay {
  std::string device;  // for messages
  std::string node;
  std::optional<std::string> overlay;
  OverlaySource* source = nullptr;  // outlives the change
};

// Adds `listener` to a node's listeners, or removes it. No request is under way at that moment. The listener must
// outlive its registration, and the caller holds an edge to the node for the same time.
struct AddListener {
  std::string name;
  ChangeListener* listener = nullptr;
};
struct RemoveListener {
  std::string name;
  ChangeListener* listener = nullptr;
};

// --- dirty bitmaps; no request of their nodes is under way from such a step to the end of the change ---

struct BitmapName {
  std::string node;
  std::string name;
};

// Adds a bitmap, all of it clean. Without a granularity it gets the default one of its node.
struct AddBitmap {
  BitmapName bitmap;
  std::optional<std::uint32_t> granularity_bytes;
  bool persistent = false;
  bool enabled = true;
};

// The bitmap is busy for the steps behind it, and goes when the change succeeds.
struct RemoveBitmap {
  BitmapName bitmap;
};

struct ClearBitmap {
  BitmapName bitmap;
};
struct EnableBitmap {
  BitmapName bitmap;
};
struct DisableBitmap {
  BitmapName bitmap;
};

// Marks in `target` what is dirty in `sources`, bitmaps of any nodes, of which there is at least one.
struct MergeBitmaps {
  BitmapName target;
  std::vector<BitmapName> sources;
};

// Gives the bitmaps of nodes that grew by requests the size of their nodes.
struct ResizeBitmaps {};

// A bitmap by name: one of `node`, or without a node the first of that name on the way down a chain.
struct BitmapReference {
  std::optional<std::string> node;
  std::string name;
};

// Gives out bitmaps to an operation on `top` that reads them, which makes them busy. The chain goes from `top` through
// filters and backing files. The same bitmap may be given out twice to one operation.
struct HoldBitmaps {
  std::string top;
  // The operation promises that `top` does not change: a bitmap of the chain must not record changes that others make.
  bool is_read_only = false;
  std::vector<BitmapReference> bitmaps;
  std::vector<HeldBitmap>* held = nullptr;  // in the order of `bitmaps`, when the change succeeds; outlives the change
};

// Takes a snapshot inside the image that the node of that name shows, perhaps through filters. The bytes are those of
// the moment at which requests of all nodes of the change wait. Requests wait no longer if all steps of the change are
// of this kind, else to its end.
struct TakeImageSnapshot {
  std::string device;
  std::string name;
  // For a tool, which runs no guest: the snapshot has no clock, its name may be that of another one or empty, and
  // errors name no device.
  bool is_offline = false;
};

// Deletes a snapshot inside an image. It must be the last step of its change, because it cannot be undone.
struct DeleteImageSnapshot {
  std::string device;
  std::optional<std::string> id;
  std::optional<std::string> name;
  ImageSnapshot* deleted = nullptr;  // set when the change succeeds; outlives the change
};

// Gives a node the bytes and the size of a snapshot inside its image. It must be the last step of its change.
struct ApplyImageSnapshot {
  std::string device;
  std::string id;
};

// Takes the name of a node away, so that another node can get it. Queries show the node under a generated name, and it
// is removed with its last edge, at once if it has none. Users of the node stay.
struct RetireNode {
  std::string name;
};

// What a caller does together with a change, at the moment at which the change can fail no longer.
class ChangePartner {
 public:
  // The last check, when all other steps are prepared. Errors undo the change. It waits for nothing.
  virtual Result<> decide() = 0;
  // All other steps are committed, and requests still wait. It cannot fail, and waits for nothing.
  virtual void commit() = 0;

 protected:
  ~ChangePartner() = default;
};

// Calls the partner. It must be the last step of its change.
struct CallPartner {
  ChangePartner* partner = nullptr;  // outlives the change
};

// Fails, so that the steps before it are undone.
struct FailChange {
  std::string message;
};

using GraphStep =
    std::variant<AddNode, RemoveNode, ReopenNodes, ResizeNode, RenameBacking, AttachEdge, AttachReference, DetachEdge,
                 AddChild, RemoveChild, ReplaceNode, TakeSnapshot, AddOverlay, AddListener, RemoveListener, AddBitmap,
                 RemoveBitmap, ClearBitmap, EnableBitmap, DisableBitmap, MergeBitmaps, ResizeBitmaps, HoldBitmaps,
                 TakeImageSnapshot, DeleteImageSnapshot, ApplyImageSnapshot, RetireNode, CallPartner, FailChange>;

}  // namespace blockexport::block

// Graph: all block nodes, by name, and the operations that make, change, connect and remove them.
//
// Owned by the daemon. Every change is a list of steps (block/graph_step.h); it validates the permissions of all nodes
// that it affects, and takes effect completely or not at all. Changes happen one after the other. The order of checks
// and the texts are those of QMP.
// Thread: the control reactor. It never does I/O for clients and never runs the loop.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "aio/sync/sync.h"
#include "aio/task/task.h"
#include "base/error.h"
#include "base/origin.h"
#include "base/trace.h"
#include "block/driver_table.h"
#include "block/edge.h"
#include "block/graph_step.h"
#include "block/node.h"
#include "schema/block_core.h"

namespace blockexport {
class Log;
}

namespace blockexport::block {

// A node and its data in the graph.
struct GraphNode {
  std::unique_ptr<Node> node;
  schema::BlockdevOptions options;  // as the user gave them
  bool owned_by_user = false;       // made by its own command; other nodes are removed with their last parent
  std::string retired_name = {};    // of a node that has lost its name: the one that queries show; else empty
  Origin origin = Origin::kCommand;

  const std::string& shown_name() const { return retired_name.empty() ? node->name() : retired_name; }
};

class Graph {
 public:
  static constexpr std::size_t kNodeNameBytesMax = 31;

  // All arguments outlive the graph. `log`: for warnings about bitmap stores; may be null.
  Graph(aio::Reactor& control, DriverTable& drivers, const Trace& trace, const Log* log = nullptr)
      : control_(control),
        drivers_(drivers),
        trace_(trace),
        log_(log),
        changes_(control),
        long_work_ended_(control),
        root_edge_gone_(control, aio::Event::Cancellation::kIgnored) {}
  // Removes the remaining nodes without a flush: see close().
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Null when there is none of that name.
  Node* find(std::string_view name) const;
  // The error has QMP's text: "Cannot find device='' nor node-name='X'".
  Result<Node*> lookup(std::string_view name) const;
  const std::list<GraphNode>& nodes() const { return nodes_; }  // oldest first
  // The data of a node of this graph.
  const GraphNode& about(const Node& node) const { return entry(node); }
  void set_origin(const Node& node, Origin origin) { entry(node).origin = origin; }

  // While it is held the graph does not change; for a caller that uses several nodes and awaits in between.
  auto keep_unchanged() { return changes_.lock(); }

  // Makes a change of one or several steps: all of them take effect, or none does, and the error is that of the first
  // step that failed. Nodes that the first steps add are opened before the change begins, if their options refer to no
  // other node: slow storage then delays only this change. A cancellation ends the opening of nodes; after that the
  // change is completed or undone.
  // `failed_step`: set to the number of the step that failed, if it was one; null or outlives the call.
  aio::Task<Result<>> apply(std::vector<GraphStep> steps, std::optional<std::size_t>* failed_step = nullptr);

  // --- commands, each a change of one step ---
  aio::Task<Result<>> add(schema::BlockdevOptions options);
  aio::Task<Result<>> remove(std::string name);
  // Reopens all of them or none.
  aio::Task<Result<>> reopen(std::vector<schema::BlockdevOptions> options);
  // `size_bytes` as the user gave it. Root edges that tolerate growth do not prevent it. Requests wait meanwhile.
  aio::Task<Result<>> resize(std::string name, std::int64_t size_bytes);
  // See RenameBacking. Requests wait meanwhile.
  aio::Task<Result<>> rename_backing(RenameBacking change);
  // After a change with a snapshot: makes the lower node read-only if that is possible, and removes an overlay that no
  // command made and that has no user.
  aio::Task<void> settle_snapshot(std::string node, std::string overlay);
  // For who looks at bitmaps: requests that made a node larger did not resize its bitmaps. Does nothing if there are
  // none such.
  aio::Task<Result<>> resize_bitmaps();
  // Flushes everything and removes all nodes, parents first, those with a root edge once that is given back. No node
  // is made and no edge given out from now on.
  aio::Task<void> close();

  // --- root edges: exports and jobs ---

  // Attaches a root edge to the node of that name. Release it with detach(): merely destroying it would leave locks on
  // files.
  aio::Task<Result<std::unique_ptr<Edge>>> attach(std::string name, EdgeParent parent, Permissions permissions);
  // The same for a reference, which may define a new node: see AttachReference.
  aio::Task<Result<std::unique_ptr<Edge>>> attach(schema::BlockdevRef reference, EdgeParent parent,
                                                  Permissions permissions);
  // A node that no command made is removed with its last edge. Not cancellable.
  aio::Task<void> detach(std::unique_ptr<Edge> edge);

  // Bitmaps for an operation that reads them: see HoldBitmaps. They are given back by release(), or each by its end()
  // and detach().
  aio::Task<Result<std::vector<HeldBitmap>>> hold(std::string top, bool is_read_only,
                                                  std::vector<BitmapReference> bitmaps);
  aio::Task<void> release(std::vector<HeldBitmap> held);

 private:
  class Opening;
  class NewNodes;
  class Change;
  class Work;
  class Addition;
  class Removal;
  class Reopening;
  class Resizing;
  class BackingRenaming;
  class Attachment;
  class ReferenceAttachment;
  class Detachment;
  class ChildAddition;
  class ChildRemoval;
  class Replacement;
  class Snapshot;
  class SnapshotTaking;
  class OverlayAddition;
  class Listening;
  class BitmapWork;
  class BitmapAddition;
  class BitmapRemoval;
  class BitmapClearing;
  class BitmapSwitching;
  class BitmapMerging;
  class BitmapResizing;
  class BitmapHolding;
  class ImageSnapshotTaking;
  class ImageSnapshotDeletion;
  class ImageSnapshotApplying;
  class Retirement;
  class Partnership;
  class Failure;
  class Emptying;
  using Place = std::list<GraphNode>::iterator;

  static std::unique_ptr<Work> work_of(AddNode step);
  static std::unique_ptr<Work> work_of(RemoveNode step);
  static std::unique_ptr<Work> work_of(ReopenNodes step);
  static std::unique_ptr<Work> work_of(ResizeNode step);
  static std::unique_ptr<Work> work_of(RenameBacking step);
  static std::unique_ptr<Work> work_of(AttachEdge step);
  static std::unique_ptr<Work> work_of(AttachReference step);
  static std::unique_ptr<Work> work_of(DetachEdge step);
  static std::unique_ptr<Work> work_of(AddChild step);
  static std::unique_ptr<Work> work_of(RemoveChild step);
  static std::unique_ptr<Work> work_of(ReplaceNode step);
  static std::unique_ptr<Work> work_of(TakeSnapshot step);
  static std::unique_ptr<Work> work_of(AddOverlay step);
  static std::unique_ptr<Work> work_of(AddListener step);
  static std::unique_ptr<Work> work_of(RemoveListener step);
  static std::unique_ptr<Work> work_of(AddBitmap step);
  static std::unique_ptr<Work> work_of(RemoveBitmap step);
  static std::unique_ptr<Work> work_of(ClearBitmap step);
  static std::unique_ptr<Work> work_of(EnableBitmap step);
  static std::unique_ptr<Work> work_of(DisableBitmap step);
  static std::unique_ptr<Work> work_of(MergeBitmaps step);
  static std::unique_ptr<Work> work_of(ResizeBitmaps step);
  static std::unique_ptr<Work> work_of(HoldBitmaps step);
  static std::unique_ptr<Work> work_of(TakeImageSnapshot step);
  static std::unique_ptr<Work> work_of(DeleteImageSnapshot step);
  static std::unique_ptr<Work> work_of(ApplyImageSnapshot step);
  static std::unique_ptr<Work> work_of(RetireNode step);
  static std::unique_ptr<Work> work_of(CallPartner step);
  static std::unique_ptr<Work> work_of(FailChange step);
  static std::unique_ptr<Work> work_of_closing();
  static Error closing_error();

  GraphNode* entry(std::string_view name) const;
  GraphNode& entry(const Node& node) const;
  Result<> check_name(std::string_view name) const;
  std::string generate_name();
  // True if an option that names a child refers to an existing node, and does not define a new one.
  static bool refers_to_nodes(const schema::BlockdevOptions& options);
  // The lock for a change. ECANCELED: it is not held.
  aio::Task<std::expected<aio::Mutex::Guard, Errno>> lock_for_change();
  aio::Task<Result<>> run_change(std::vector<std::unique_ptr<Work>> works,
                                 std::optional<std::size_t>* failed_step = nullptr);
  aio::Task<void> give_back(std::unique_ptr<Edge> edge);
  aio::Task<void> remove_all();
  aio::Task<void> make_read_only(std::string name);
  // The name is not found any more.
  std::unique_ptr<Node> take(Place place);
  // The place of a node, which may have lost its name.
  Place place_of(const Node& node);

  aio::Reactor& control_;
  DriverTable& drivers_;
  const Trace& trace_;
  const Log* log_;
  aio::Mutex changes_;
  // The change that runs does long work, which leaves nodes and edges as they are. It has released `changes_` for
  // queries, and another change waits for the event.
  bool has_long_work_ = false;
  aio::Event long_work_ended_;
  aio::Event root_edge_gone_;
  std::list<GraphNode> nodes_;
  // The keys are views of the nodes' names.
  std::unordered_map<std::string_view, std::list<GraphNode>::iterator> nodes_by_name_;
  std::set<std::string, std::less<>> names_being_opened_;
  std::uint64_t names_generated_ = 0;
  bool closing_ = false;
};

// Name of the holder of a root edge in messages.
inline constexpr std::string_view kUnnamedUser = "an unnamed block device";

// The options of a node: its own, else those of its parent if it is an inline child, else the defaults. Fails when they
// contradict each other.
Result<NodeOptions> node_options_of(const schema::BlockdevOptions& options, const NodeOptions* parent);

// The options of `parent` that an inline child of these roles takes as its defaults: a backing node is read-only.
NodeOptions inherited_options(const NodeOptions& parent, ChildRoles roles);

// A member of a driver's options that names a child or defines one. Valid as long as the options.
struct ChildReference {
  std::string name;                                     // of the member; of one in a list, as "children.0"
  const std::string* node = nullptr;                    // name of an existing node; else null
  const schema::BlockdevOptions* definition = nullptr;  // options of a node of its own; else null
};
// Such members of `options`, in the schema's order, without those that say that there is no child.
std::vector<ChildReference> child_references(const schema::BlockdevOptions& options);

// The member of `options` for the child of that name; nullopt when the driver has none, or the options give none.
std::optional<ChildReference> child_reference(const schema::BlockdevOptions& options, std::string_view name);
// Makes the member for the child of that name refer to a node. False when the options give none.
bool set_child_reference(schema::BlockdevOptions& options, std::string_view name, const std::string& node);
// Makes a node the backing node of `options`. False when their driver has no backing nodes.
bool set_backing(schema::BlockdevOptions& options, const std::string& node);

// A reference as one that is never null; nullopt when there is no child.
std::optional<schema::BlockdevRef> as_reference(const schema::BlockdevRefOrNull& reference);

}  // namespace blockexport::block

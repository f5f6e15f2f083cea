// JobNodes: root edges of a job to the nodes that it works on.
//
// Owned by the work of a job. A node that options define exists for as long as the edges. Thread: the control reactor.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "block/graph.h"
#include "schema/block_core.h"

namespace blockexport::jobs {

class JobNodes {
 public:
  // The graph outlives the edges.
  explicit JobNodes(block::Graph& graph) : graph_(graph) {}

  // Returns the name of the node; an edge that takes no permissions keeps it.
  aio::Task<Result<std::string>> open(schema::BlockdevRef reference);
  // An edge that takes no permissions.
  aio::Task<Result<block::Edge*>> keep(std::string node_name);
  // An edge with the permissions of a writer: nobody else may write or resize the node.
  aio::Task<Result<block::Edge*>> take(std::string node_name);
  // Detaches all edges.
  aio::Task<void> release();

 private:
  block::Graph& graph_;
  std::vector<std::unique_ptr<block::Edge>> edges_;
};

}  // namespace blockexport::jobs

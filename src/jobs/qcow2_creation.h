// Qcow2CreationWork: the work of a job that creates a qcow2 image in a node (blockdev-create with driver qcow2).
//
// Owned by its Job. It holds root edges to the nodes of the image while it works; a node that the options define exists
// for that time only. Thread: the control reactor.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "block/graph.h"
#include "drivers/qcow2/create/create_image.h"
#include "jobs/job_work.h"

namespace blockexport::jobs {

class Qcow2CreationWork final : public JobWork {
 public:
  // The graph outlives the work.
  Qcow2CreationWork(block::Graph& graph, drivers::qcow2::Creation creation, schema::BlockdevRef file,
                    std::optional<schema::BlockdevRef> data_file)
      : graph_(graph), creation_(std::move(creation)), file_(std::move(file)), data_file_(std::move(data_file)) {}

  aio::Task<Result<>> run(JobSteps& steps) override;
  aio::Task<void> clean() override;

 private:
  aio::Task<Result<>> create(JobSteps& steps);
  // Returns the name of the node; the edge, which takes no permissions, keeps it.
  aio::Task<Result<std::string>> open(schema::BlockdevRef reference);
  // An edge with the permissions of a writer.
  aio::Task<Result<block::Edge*>> take(std::string node_name);
  aio::Task<Result<std::string>> prepare_data_file(const std::string& node_name);

  block::Graph& graph_;
  drivers::qcow2::Creation creation_;
  schema::BlockdevRef file_;
  std::optional<schema::BlockdevRef> data_file_;
  std::vector<std::unique_ptr<block::Edge>> edges_;
};

}  // namespace blockexport::jobs

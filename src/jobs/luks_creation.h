// LuksCreationWork: the work of a job that creates an image that is encrypted with LUKS (blockdev-create with driver
// luks).
//
// Owned by its Job. It holds root edges to the nodes of the image while it works. Thread: the control reactor; keys are
// derived on its worker threads.
#pragma once

#include "drivers/secret_source.h"
#include "jobs/job_nodes.h"
#include "jobs/job_work.h"
#include "schema/block_create.h"

namespace blockexport::jobs {

class LuksCreationWork final : public JobWork {
 public:
  // `secrets` has the passphrase; null: there are none. Both outlive the work.
  LuksCreationWork(block::Graph& graph, schema::BlockdevCreateOptionsLUKS options, drivers::SecretSource* secrets)
      : graph_(graph), nodes_(graph), options_(std::move(options)), secrets_(secrets) {}

  aio::Task<Result<>> run(JobSteps& steps) override;
  aio::Task<void> clean() override { return nodes_.release(); }

 private:
  aio::Task<Result<>> create(JobSteps& steps);
  aio::Task<Result<>> allocate(block::Edge& edge, std::uint64_t size_bytes, JobSteps& steps);

  block::Graph& graph_;
  JobNodes nodes_;
  schema::BlockdevCreateOptionsLUKS options_;
  drivers::SecretSource* secrets_;
};

}  // namespace blockexport::jobs

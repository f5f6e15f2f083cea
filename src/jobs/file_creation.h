// FileCreationWork: the work of a job that creates a regular file (blockdev-create with driver file).
//
// Owned by its Job. Thread: the control reactor.
#pragma once

#include "drivers/file/create_file.h"
#include "jobs/job_work.h"

namespace blockexport::jobs {

class FileCreationWork final : public JobWork {
 public:
  explicit FileCreationWork(drivers::FileCreation creation) : creation_(std::move(creation)) {}

  aio::Task<Result<>> run(JobSteps& steps) override;

 private:
  drivers::FileCreation creation_;
};

}  // namespace blockexport::jobs

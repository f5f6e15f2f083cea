#include "jobs/file_creation.h"

namespace blockexport::jobs {

aio::Task<Result<>> FileCreationWork::run(JobSteps& steps) {
  steps.expect(1);
  Result<> created = co_await drivers::create_file(creation_, steps);
  steps.finish_progress();
  co_return created;
}

}  // namespace blockexport::jobs

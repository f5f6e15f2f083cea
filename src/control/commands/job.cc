// Commands query-jobs and query-block-jobs. Generic tools use them to see whether a job is running; there are no jobs.

#include "control/core/control.h"
#include "schema/job_commands.h"

namespace blockexport::control {

aio::Task<Result<std::vector<schema::JobInfo>>> query_jobs(Control&) {
  co_return std::vector<schema::JobInfo>{};
}

aio::Task<Result<std::vector<schema::BlockJobInfo>>> query_block_jobs(Control&) {
  co_return std::vector<schema::BlockJobInfo>{};
}

}  // namespace blockexport::control

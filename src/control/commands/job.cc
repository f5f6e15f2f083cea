// Commands of jobs: the list, the verbs, and the older commands for jobs that work on a node, of which no kind is
// built.

#include <fmt/format.h>

#include "control/core/control.h"
#include "schema/job_commands.h"

namespace blockexport::control {
namespace {

schema::JobInfo info_of(const jobs::Job& job) {
  schema::JobInfo info{.id = job.id(),
                       .type = job.type(),
                       .status = job.status(),
                       .current_progress = static_cast<std::int64_t>(job.progress().current),
                       .total_progress = static_cast<std::int64_t>(job.progress().total)};
  if (job.error() != nullptr) info.error = job.error()->message();
  return info;
}

std::unexpected<Error> no_block_job(const std::string& id) {
  return fail(Error(ErrorKind::kDeviceNotActive, fmt::format("Block job '{}' not found", id)));
}

}  // namespace

aio::Task<Result<std::vector<schema::JobInfo>>> query_jobs(Control& control) {
  std::vector<schema::JobInfo> infos;
  for (const auto& job : control.jobs().all()) infos.push_back(info_of(*job));
  co_return infos;
}

aio::Task<Result<>> job_pause(Control& control, schema::JobPauseArguments arguments) {
  co_return control.jobs().pause(arguments.id);
}

aio::Task<Result<>> job_resume(Control& control, schema::JobResumeArguments arguments) {
  co_return control.jobs().resume(arguments.id);
}

aio::Task<Result<>> job_cancel(Control& control, schema::JobCancelArguments arguments) {
  co_return control.jobs().cancel(arguments.id);
}

aio::Task<Result<>> job_complete(Control& control, schema::JobCompleteArguments arguments) {
  co_return control.jobs().complete(arguments.id);
}

aio::Task<Result<>> job_finalize(Control& control, schema::JobFinalizeArguments arguments) {
  co_return control.jobs().finalize(arguments.id);
}

aio::Task<Result<>> job_dismiss(Control& control, schema::JobDismissArguments arguments) {
  co_return control.jobs().dismiss(arguments.id);
}

aio::Task<Result<std::vector<schema::BlockJobInfo>>> query_block_jobs(Control&) {
  co_return std::vector<schema::BlockJobInfo>{};
}

aio::Task<Result<>> block_job_set_speed(Control&, schema::BlockJobSetSpeedArguments arguments) {
  co_return no_block_job(arguments.device);
}

aio::Task<Result<>> block_job_cancel(Control&, schema::BlockJobCancelArguments arguments) {
  co_return no_block_job(arguments.device);
}

aio::Task<Result<>> block_job_pause(Control&, schema::BlockJobPauseArguments arguments) {
  co_return no_block_job(arguments.device);
}

aio::Task<Result<>> block_job_resume(Control&, schema::BlockJobResumeArguments arguments) {
  co_return no_block_job(arguments.device);
}

aio::Task<Result<>> block_job_complete(Control&, schema::BlockJobCompleteArguments arguments) {
  co_return no_block_job(arguments.device);
}

aio::Task<Result<>> block_job_dismiss(Control&, schema::BlockJobDismissArguments arguments) {
  co_return no_block_job(arguments.id);
}

aio::Task<Result<>> block_job_finalize(Control&, schema::BlockJobFinalizeArguments arguments) {
  co_return no_block_job(arguments.id);
}

aio::Task<Result<>> block_job_change(Control&, schema::BlockJobChangeOptions arguments) {
  co_return no_block_job(arguments.id);
}

}  // namespace blockexport::control

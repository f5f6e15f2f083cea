// Command blockdev-create: begins the job that creates an image.

#include "control/core/control.h"
#include "jobs/creation_work.h"
#include "schema/block_create_commands.h"

namespace blockexport::control {

aio::Task<Result<>> blockdev_create(Control& control, schema::BlockdevCreateArguments arguments) {
  auto work = jobs::creation_work(control.graph(), arguments.options);
  if (!work) co_return fail(std::move(work).error());
  // Such a job is dismissed by its user, who would otherwise not see why it failed.
  co_return control.jobs().start(
      {.id = std::move(arguments.job_id), .type = schema::JobType::kCreate, .auto_dismiss = false}, std::move(*work));
}

aio::Task<Result<>> x_blockdev_amend(Control&, schema::XBlockdevAmendArguments) {
  co_return fail("x-blockdev-amend is not built yet");
}

}  // namespace blockexport::control

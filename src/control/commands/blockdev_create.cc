// Commands blockdev-create and x-blockdev-amend: they begin the jobs that create an image, and change its keys.

#include "control/core/control.h"
#include "jobs/creation_work.h"
#include "jobs/luks_amendment.h"
#include "schema/block_create_commands.h"

namespace blockexport::control {

aio::Task<Result<>> blockdev_create(Control& control, schema::BlockdevCreateArguments arguments) {
  auto work = jobs::creation_work(control.graph(), arguments.options, &control.secrets());
  if (!work) co_return fail(std::move(work).error());
  // Such a job is dismissed by its user, who would otherwise not see why it failed.
  co_return control.jobs().start(
      {.id = std::move(arguments.job_id), .type = schema::JobType::kCreate, .auto_dismiss = false}, std::move(*work));
}

aio::Task<Result<>> x_blockdev_amend(Control& control, schema::XBlockdevAmendArguments arguments) {
  CO_TRY_ASSIGN(block::Node * node, control.graph().lookup(arguments.node_name));
  CO_TRY(jobs::check_amendment(*node, arguments.options));
  auto work =
      std::make_unique<jobs::LuksAmendmentWork>(control.graph(), arguments.node_name, std::move(arguments.options),
                                                arguments.force.value_or(false), control.secrets());
  co_return control.jobs().start(
      {.id = std::move(arguments.job_id), .type = schema::JobType::kAmend, .auto_dismiss = false}, std::move(work));
}

}  // namespace blockexport::control

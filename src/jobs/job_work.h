// JobWork: the work of one kind of job. JobSteps: the functions of the job that its work calls.
//
// The job owns its work and calls it from tasks of the registry's scope (jobs/job.h); a new kind of job is a class that
// implements JobWork, and a command that makes one. Thread: the control reactor.
#pragma once

#include "aio/task/task.h"
#include "base/error.h"
#include "block/long_work.h"

namespace blockexport::jobs {

// Pause points and progress of a job (block/long_work.h), for its work.
class JobSteps : public block::LongWork {
 public:
  // Makes the job ready: it has caught up, and works on until the verb `complete`. A job that is ready already stays
  // so.
  virtual void become_ready() = 0;
  // Sets the amount that is done to the amount that was to be done.
  virtual void finish_progress() = 0;

 protected:
  ~JobSteps() = default;
};

class JobWork {
 public:
  virtual ~JobWork() = default;

  // Does the work, with a pause point between pieces. The cancellation of the job cancels the task: a wait that can be
  // cancelled gives ECANCELED, and then the work gives up. An error fails the job.
  virtual aio::Task<Result<>> run(JobSteps& steps) = 0;
  // Everything that may still fail when the job is to be finalized. An error fails the job.
  virtual aio::Task<Result<>> prepare() { co_return Result<>(); }

  // One of these two is called once the outcome is known, and then clean(). They are not cancelled, and cannot fail.
  virtual aio::Task<void> commit() { co_return; }
  // The job has failed or was cancelled; `run` has returned, or was never called.
  virtual aio::Task<void> abort() { co_return; }
  virtual aio::Task<void> clean() { co_return; }

  // The verb `complete`: makes a ready job end soon. The default is for kinds that are never ready.
  virtual Result<> complete() { return fail("The job cannot be completed"); }
};

}  // namespace blockexport::jobs

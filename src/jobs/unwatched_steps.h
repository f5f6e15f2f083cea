// UnwatchedSteps: JobSteps for work that runs outside a job: nobody pauses it or watches its progress.
//
// run_unwatched() runs such work to its end. Thread: the control reactor.
#pragma once

#include "jobs/job_work.h"

namespace blockexport::jobs {

class UnwatchedSteps final : public JobSteps {
 public:
  aio::Task<IoResult> pause_point() override { co_return IoResult(); }
  void expect(std::uint64_t) override {}
  void advance(std::uint64_t) override {}
  void become_ready() override {}
  void finish_progress() override {}
};

// Does the work and cleans up after it. `work` outlives the task. For kinds of work that only run() and clean().
inline aio::Task<Result<>> run_unwatched(JobWork& work) {
  UnwatchedSteps steps;
  Result<> done = co_await work.run(steps);
  co_await work.clean();
  co_return done;
}

}  // namespace blockexport::jobs

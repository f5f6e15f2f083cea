#include "jobs/job_registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "base/identifier.h"

namespace blockexport::jobs {

JobRegistry::JobRegistry(aio::Reactor& reactor, JobObserver& observer)
    : reactor_(reactor), observer_(observer), lives_(reactor) {}

JobRegistry::~JobRegistry() {
  assert(lives_.size() == 0);
}

const Job* JobRegistry::find(std::string_view id) const {
  auto job = std::ranges::find(jobs_, id, [](const auto& one) -> std::string_view { return one->id(); });
  return job == jobs_.end() ? nullptr : job->get();
}

Result<Job*> JobRegistry::lookup(std::string_view id) const {
  auto job = std::ranges::find(jobs_, id, [](const auto& one) -> std::string_view { return one->id(); });
  if (job == jobs_.end()) return fail("Job not found");
  return job->get();
}

Result<> JobRegistry::check_id(std::string_view id) const {
  if (ending_) return fail("The daemon is shutting down");
  if (!is_identifier(id)) return fail(fmt::format("Invalid job ID '{}'", id));
  if (id.size() > kJobIdBytesMax) return fail(fmt::format("The job ID is longer than {} bytes", kJobIdBytesMax));
  if (find(id) != nullptr) return fail(fmt::format("Job ID '{}' already in use", id));
  if (jobs_.size() >= kJobsMax) {
    return fail(
        Error(fmt::format("There are {} jobs already", kJobsMax)).with_hint("Dismiss jobs that are concluded."));
  }
  return {};
}

Result<> JobRegistry::start(JobDescription description, std::unique_ptr<JobWork> work) {
  TRY(check_id(description.id));
  Job& job = *jobs_.emplace_front(std::make_unique<Job>(reactor_, observer_, std::move(description), std::move(work)));
  lives_.spawn("job life", live(job));
  return {};
}

aio::Task<void> JobRegistry::live(Job& job) {
  co_await job.live();
  if (!job.auto_dismisses()) co_return;
  (void)job.dismiss();
  remove(job);
}

void JobRegistry::remove(const Job& job) {
  jobs_.remove_if([&job](const auto& one) { return one.get() == &job; });
}

Result<> JobRegistry::pause(std::string_view id) {
  TRY_ASSIGN(Job * job, lookup(id));
  return job->pause();
}

Result<> JobRegistry::resume(std::string_view id) {
  TRY_ASSIGN(Job * job, lookup(id));
  return job->resume();
}

Result<> JobRegistry::cancel(std::string_view id) {
  TRY_ASSIGN(Job * job, lookup(id));
  return job->cancel();
}

Result<> JobRegistry::complete(std::string_view id) {
  TRY_ASSIGN(Job * job, lookup(id));
  return job->complete();
}

Result<> JobRegistry::finalize(std::string_view id) {
  TRY_ASSIGN(Job * job, lookup(id));
  return job->finalize();
}

Result<> JobRegistry::dismiss(std::string_view id) {
  TRY_ASSIGN(Job * job, lookup(id));
  TRY(job->dismiss());
  remove(*job);
  return {};
}

aio::Task<void> JobRegistry::end_all() {
  ending_ = true;
  for (const auto& job : jobs_) {
    // A job that has concluded, or is about to, refuses the verb.
    (void)job->cancel();
  }
  co_await lives_.join();
  for (const auto& job : jobs_) (void)job->dismiss();
  jobs_.clear();
}

}  // namespace blockexport::jobs

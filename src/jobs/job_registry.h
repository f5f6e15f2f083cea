// JobRegistry: all jobs, by id; it runs their lives in a scope of its own, and ends them at shutdown.
//
// Owned by the control layer. Thread: the control reactor. It holds a job until it is dismissed, by the user or by
// itself. Verbs are found by the id of the job, so that nobody keeps a pointer to one over an await.
#pragma once

#include <list>
#include <memory>
#include <string_view>

#include "aio/sync/scope.h"
#include "base/error.h"
#include "jobs/job.h"

namespace blockexport::jobs {

class JobRegistry {
 public:
  // Most jobs at once, concluded ones included.
  static constexpr std::size_t kJobsMax = 1024;
  // Longest id of a job.
  static constexpr std::size_t kJobIdBytesMax = 4096;

  // Both outlive the registry.
  JobRegistry(aio::Reactor& reactor, JobObserver& observer);
  // end_all() has been called, or there are no jobs.
  ~JobRegistry();
  JobRegistry(const JobRegistry&) = delete;
  JobRegistry& operator=(const JobRegistry&) = delete;

  // Fails when the id is malformed or taken, when there are too many jobs, and once end_all() has been called.
  Result<> check_id(std::string_view id) const;
  // Makes a job and starts it. Fails as check_id() does.
  Result<> start(JobDescription description, std::unique_ptr<JobWork> work);

  // "Job not found" when there is none of that id; otherwise as the job's function. complete() and finalize() take
  // effect soon afterwards.
  Result<> pause(std::string_view id);
  Result<> resume(std::string_view id);
  Result<> cancel(std::string_view id);
  Result<> complete(std::string_view id);
  Result<> finalize(std::string_view id);
  Result<> dismiss(std::string_view id);

  // Null when there is none. Not to be kept over an await.
  const Job* find(std::string_view id) const;
  // Youngest first.
  const std::list<std::unique_ptr<Job>>& all() const { return jobs_; }

  // Cancels all jobs, waits until each is concluded, and dismisses them. No job starts from now on. Not cancellable.
  aio::Task<void> end_all();

 private:
  Result<Job*> lookup(std::string_view id) const;
  aio::Task<void> live(Job& job);
  void remove(const Job& job);

  aio::Reactor& reactor_;
  JobObserver& observer_;
  std::list<std::unique_ptr<Job>> jobs_;
  aio::Scope lives_;
  bool ending_ = false;
};

}  // namespace blockexport::jobs

// Job: a long operation that users see, with an id, a state, progress and an outcome.
//
// Owned by its JobRegistry, which runs its life as a task: the job works, waits for the finalization if the user asked
// for that, commits or aborts, and concludes. It stays until it is dismissed. The work itself is a task of its own, so
// that a cancellation reaches its waits and no others. Thread: the control reactor. Verbs take effect at once or are
// refused; the state follows when the work reaches a pause point or ends.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "aio/sync/scope.h"
#include "aio/sync/sync.h"
#include "aio/task/task.h"
#include "base/error.h"
#include "jobs/job_table.h"
#include "jobs/job_work.h"

namespace blockexport::jobs {

class Job;

// Receiver of each change of a job's state, at the moment of the change.
class JobObserver {
 public:
  virtual void status_changed(const Job& job) = 0;

 protected:
  ~JobObserver() = default;
};

struct JobDescription {
  std::string id;
  schema::JobType type;
  // False: a job that has succeeded stays pending until the verb `finalize`.
  bool auto_finalize = true;
  // False: a job that has ended stays concluded until the verb `dismiss`.
  bool auto_dismiss = true;
};

// Amount of work, in units of the job's own.
struct JobProgress {
  std::uint64_t current = 0;
  std::uint64_t total = 0;
};

class Job final : JobSteps {
 public:
  // The observer and the reactor outlive the job. It is `created`, and tells the observer.
  Job(aio::Reactor& reactor, JobObserver& observer, JobDescription description, std::unique_ptr<JobWork> work);

  const std::string& id() const { return description_.id; }
  schema::JobType type() const { return description_.type; }
  schema::JobStatus status() const { return status_; }
  const JobProgress& progress() const { return progress_; }
  // The cause of its failure; null while it has not failed. It is set when the work has ended, before the state is
  // `concluded`.
  const Error* error() const { return error_ ? &*error_ : nullptr; }
  bool auto_dismisses() const { return description_.auto_dismiss; }
  bool is_concluded() const { return status_ == schema::JobStatus::kConcluded; }

  // --- verbs ---

  // Takes effect at the next pause point.
  Result<> pause();
  Result<> resume();
  // The work is asked to give up; the job then aborts and concludes with an error. A second call changes nothing, and
  // so does one that comes while the job commits.
  Result<> cancel();
  Result<> complete();
  Result<> finalize();
  // The job is `null` afterwards: the caller destroys it.
  Result<> dismiss();

  // The life of the job until it is concluded. Call it once; the job outlives the task.
  aio::Task<void> live();

 private:
  aio::Task<IoResult> pause_point() override;
  void expect(std::uint64_t units) override { progress_.total += units; }
  void advance(std::uint64_t units) override { progress_.current += units; }
  void become_ready() override;
  void finish_progress() override { progress_.current = progress_.total; }

  void set_status(schema::JobStatus status);
  aio::Task<void> do_work();
  aio::Task<void> succeed();
  aio::Task<void> give_up();
  void fail_with(Error error);

  JobObserver& observer_;
  JobDescription description_;
  std::unique_ptr<JobWork> work_;
  schema::JobStatus status_ = schema::JobStatus::kUndefined;
  JobProgress progress_;
  std::optional<Error> error_;
  bool cancelled_ = false;
  bool user_paused_ = false;
  aio::Event resumed_;  // set unless the user has paused the job
  aio::Event decided_;  // the user has finalized or cancelled a pending job
  aio::Scope working_;  // the task of the work
};

}  // namespace blockexport::jobs

#include "jobs/job.h"

#include <cassert>
#include <cerrno>

namespace blockexport::jobs {

using schema::JobStatus;

namespace {

constexpr const char* kCancelledText = "Operation canceled";

}  // namespace

Job::Job(aio::Reactor& reactor, JobObserver& observer, JobDescription description, std::unique_ptr<JobWork> work)
    : observer_(observer),
      description_(std::move(description)),
      work_(std::move(work)),
      resumed_(reactor),
      decided_(reactor, aio::Event::Cancellation::kIgnored),
      working_(reactor) {
  resumed_.set();
  set_status(JobStatus::kCreated);
}

void Job::set_status(JobStatus status) {
  assert(may_follow(status_, status));
  status_ = status;
  observer_.status_changed(*this);
}

void Job::fail_with(Error error) {
  if (!error_) error_.emplace(std::move(error));
}

Result<> Job::pause() {
  TRY(check_verb(id(), status_, JobVerb::kPause));
  if (user_paused_) return fail("Job is already paused");
  user_paused_ = true;
  resumed_.reset();
  return {};
}

// The absence of a pause is reported first, whatever the state is.
Result<> Job::resume() {
  if (!user_paused_) return fail("Can't resume a job that was not paused");
  TRY(check_verb(id(), status_, JobVerb::kResume));
  user_paused_ = false;
  resumed_.set();
  return {};
}

Result<> Job::cancel() {
  TRY(check_verb(id(), status_, JobVerb::kCancel));
  if (cancelled_) return {};
  cancelled_ = true;
  user_paused_ = false;
  resumed_.set();
  decided_.set();
  working_.cancel();
  return {};
}

Result<> Job::complete() {
  TRY(check_verb(id(), status_, JobVerb::kComplete));
  return work_->complete();
}

Result<> Job::finalize() {
  TRY(check_verb(id(), status_, JobVerb::kFinalize));
  decided_.set();
  return {};
}

Result<> Job::dismiss() {
  TRY(check_verb(id(), status_, JobVerb::kDismiss));
  set_status(JobStatus::kNull);
  return {};
}

aio::Task<IoResult> Job::pause_point() {
  if (cancelled_) co_return fail(ECANCELED);
  if (!user_paused_) co_return IoResult();
  const JobStatus before = status_;
  set_status(before == JobStatus::kReady ? JobStatus::kStandby : JobStatus::kPaused);
  // The user may pause the job again before the work continues.
  while (user_paused_ && !cancelled_) (void)co_await resumed_.wait();
  set_status(before);
  if (cancelled_) co_return fail(ECANCELED);
  co_return IoResult();
}

void Job::become_ready() {
  if (status_ != JobStatus::kReady) set_status(JobStatus::kReady);
}

aio::Task<void> Job::do_work() {
  Result<> result = co_await work_->run(*this);
  if (!result) fail_with(std::move(result).error());
}

aio::Task<void> Job::live() {
  set_status(JobStatus::kRunning);
  working_.spawn("job", do_work());
  co_await working_.join();
  // The work of a cancelled job fails with an error that the cancellation caused.
  if (cancelled_) error_.emplace(kCancelledText);
  if (!error_) {
    co_await succeed();
  } else {
    co_await give_up();
  }
}

aio::Task<void> Job::succeed() {
  set_status(JobStatus::kWaiting);
  set_status(JobStatus::kPending);
  if (!description_.auto_finalize && !cancelled_) (void)co_await decided_.wait();
  if (!cancelled_) {
    Result<> prepared = co_await work_->prepare();
    if (!prepared) fail_with(std::move(prepared).error());
  }
  if (cancelled_) error_.emplace(kCancelledText);
  if (error_) {
    co_await give_up();
    co_return;
  }
  co_await work_->commit();
  co_await work_->clean();
  set_status(JobStatus::kConcluded);
}

aio::Task<void> Job::give_up() {
  set_status(JobStatus::kAborting);
  co_await work_->abort();
  co_await work_->clean();
  set_status(JobStatus::kConcluded);
}

}  // namespace blockexport::jobs

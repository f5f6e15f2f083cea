// StepWork: a job's work for tests: a number of steps with a pause point before each. RecordingObserver: the states of
// jobs, in the order of their changes.
//
// The test keeps the StepLog, which outlives the job. Not part of the daemon.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <vector>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "jobs/job.h"

namespace blockexport::jobs {

// Settings of a StepWork, and the calls that its job made, in their order.
struct StepLog {
  std::uint64_t steps = 3;
  std::uint64_t step_ns = 1'000'000;   // duration of a step, and of commit, abort and clean
  std::uint64_t held_at = UINT64_MAX;  // the step of that number does not end while the test keeps this
  std::optional<std::string> run_error = {};
  std::optional<std::string> prepare_error = {};
  bool becomes_ready = false;  // after the steps; then it works until it is completed

  std::uint64_t done = 0;
  std::vector<std::string> calls = {};
};

class StepWork final : public JobWork {
 public:
  explicit StepWork(StepLog& log) : log_(log) {}

  aio::Task<Result<>> run(JobSteps& steps) override {
    log_.calls.emplace_back("run");
    steps.expect(log_.steps);
    while (log_.done < log_.steps) {
      CO_TRY(co_await step(steps));
      ++log_.done;
      steps.advance(1);
    }
    while (log_.becomes_ready && !completed_) {
      steps.become_ready();
      CO_TRY(co_await step(steps));
    }
    if (log_.run_error) co_return fail(*log_.run_error);
    co_return Result<>();
  }
  aio::Task<Result<>> prepare() override {
    log_.calls.emplace_back("prepare");
    if (log_.prepare_error) co_return fail(*log_.prepare_error);
    co_return Result<>();
  }
  aio::Task<void> commit() override { return note("commit"); }
  aio::Task<void> abort() override { return note("abort"); }
  aio::Task<void> clean() override { return note("clean"); }
  Result<> complete() override {
    completed_ = true;
    return {};
  }

 private:
  aio::Task<Result<>> step(JobSteps& steps) {
    IoResult result = co_await steps.pause_point();
    aio::Reactor& reactor = co_await aio::current_reactor();
    while (result && (log_.step_ns > 0 || log_.done == log_.held_at)) {
      result = co_await reactor.sleep_until(reactor.now_ns() + log_.step_ns);
      if (log_.done != log_.held_at) break;
    }
    if (!result) co_return fail(Error::system("The step failed", result.error()));
    co_return Result<>();
  }
  // Waits as well: the end of a job may be long, and no cancellation reaches it.
  aio::Task<void> note(const char* call) {
    log_.calls.emplace_back(call);
    aio::Reactor& reactor = co_await aio::current_reactor();
    const IoResult waited = co_await reactor.sleep_until(reactor.now_ns() + log_.step_ns);
    assert(waited);
    (void)waited;
  }

  StepLog& log_;
  bool completed_ = false;
};

class RecordingObserver final : public JobObserver {
 public:
  void status_changed(const Job& job) override {
    changes_.push_back(job.id() + " " + std::string(schema::name_of(job.status())));
  }
  const std::vector<std::string>& changes() const { return changes_; }

 private:
  std::vector<std::string> changes_;
};

}  // namespace blockexport::jobs

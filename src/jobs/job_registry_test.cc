#include "jobs/job_registry.h"

#include <gtest/gtest.h>

#include <list>

#include "aio/testing/seeds.h"
#include "block/testing/reactor_test.h"
#include "jobs/testing/step_work.h"

namespace blockexport::jobs {
namespace {

using Strings = std::vector<std::string>;

class JobRegistryTest : public block::ReactorTest {
 protected:
  static constexpr std::uint64_t kWaitMaxNs = 20'000'000'000;

  void TearDown() override { run(registry_.end_all()); }

  Result<> start(StepLog& log, bool auto_finalize = true, bool auto_dismiss = false, const std::string& id = "j") {
    JobDescription description{.id = id, .type = schema::JobType::kCreate};
    description.auto_finalize = auto_finalize;
    description.auto_dismiss = auto_dismiss;
    return registry_.start(std::move(description), std::make_unique<StepWork>(log));
  }

  // Waits until the job has that state, or is gone for an empty one.
  void wait_for(std::string_view status, const std::string& id = "j") { run(wait_for_status(status, id)); }
  aio::Task<void> wait_for_status(std::string_view status, std::string id) {
    const std::uint64_t deadline_ns = reactor().now_ns() + kWaitMaxNs;
    while (reactor().now_ns() < deadline_ns) {
      const Job* job = registry_.find(id);
      if (job == nullptr ? status.empty() : schema::name_of(job->status()) == status) co_return;
      (void)co_await reactor().sleep_until(reactor().now_ns() + 100'000);
    }
    ADD_FAILURE() << "no job " << id << " in state " << status;
  }
  // Waits until the job is in the step of that number, at which the test holds it.
  void wait_for_step(const StepLog& log, std::uint64_t step) { run(wait_for_steps(log, step)); }
  aio::Task<void> wait_for_steps(const StepLog& log, std::uint64_t step) {
    const std::uint64_t deadline_ns = reactor().now_ns() + kWaitMaxNs;
    while (log.done < step && reactor().now_ns() < deadline_ns) {
      (void)co_await reactor().sleep_until(reactor().now_ns() + 100'000);
    }
    EXPECT_EQ(log.done, step);
  }

  std::string error_of(const Result<>& result) { return result ? "" : result.error().message(); }

  // The jobs refer to the logs until the test is torn down.
  StepLog& log_of(StepLog log = {}) { return logs_.emplace_back(std::move(log)); }

  std::list<StepLog> logs_;
  RecordingObserver observer_;
  JobRegistry registry_{reactor(), observer_};
};

TEST_F(JobRegistryTest, AJobThatSucceedsGoesThroughItsStatesInOrder) {
  StepLog& log = log_of();
  ASSERT_TRUE(start(log));
  wait_for("concluded");
  EXPECT_EQ(observer_.changes(), Strings({"j created", "j running", "j waiting", "j pending", "j concluded"}));
  EXPECT_EQ(log.calls, Strings({"run", "prepare", "commit", "clean"}));
  EXPECT_EQ(registry_.find("j")->error(), nullptr);
  EXPECT_EQ(registry_.find("j")->progress().current, 3);
  EXPECT_EQ(registry_.find("j")->progress().total, 3);
  ASSERT_TRUE(registry_.dismiss("j"));
  EXPECT_EQ(registry_.find("j"), nullptr);
  EXPECT_EQ(observer_.changes().back(), "j null");
}

TEST_F(JobRegistryTest, AJobThatFailsAbortsAndKeepsItsError) {
  StepLog& log = log_of({.run_error = "No more steps"});
  ASSERT_TRUE(start(log));
  wait_for("concluded");
  EXPECT_EQ(observer_.changes(), Strings({"j created", "j running", "j aborting", "j concluded"}));
  EXPECT_EQ(log.calls, Strings({"run", "abort", "clean"}));
  EXPECT_EQ(registry_.find("j")->error()->message(), "No more steps");
}

TEST_F(JobRegistryTest, AFailureToPrepareAbortsAPendingJob) {
  StepLog& log = log_of({.prepare_error = "Not now"});
  ASSERT_TRUE(start(log));
  wait_for("concluded");
  EXPECT_EQ(observer_.changes(),
            Strings({"j created", "j running", "j waiting", "j pending", "j aborting", "j concluded"}));
  EXPECT_EQ(log.calls, Strings({"run", "prepare", "abort", "clean"}));
  EXPECT_EQ(registry_.find("j")->error()->message(), "Not now");
}

TEST_F(JobRegistryTest, AJobThatDismissesItselfLeavesNothing) {
  StepLog& log = log_of();
  ASSERT_TRUE(start(log, true, true));
  wait_for("");
  EXPECT_EQ(observer_.changes().back(), "j null");
  EXPECT_TRUE(registry_.all().empty());
}

TEST_F(JobRegistryTest, APendingJobWaitsForItsFinalization) {
  StepLog& log = log_of();
  ASSERT_TRUE(start(log, false));
  wait_for("pending");
  EXPECT_EQ(error_of(registry_.dismiss("j")), "Job 'j' in state 'pending' cannot accept command verb 'dismiss'");
  EXPECT_EQ(error_of(registry_.pause("j")), "Job 'j' in state 'pending' cannot accept command verb 'pause'");
  EXPECT_EQ(log.calls, Strings({"run"}));
  ASSERT_TRUE(registry_.finalize("j"));
  wait_for("concluded");
  EXPECT_EQ(log.calls, Strings({"run", "prepare", "commit", "clean"}));
}

TEST_F(JobRegistryTest, APendingJobThatIsCancelledAborts) {
  StepLog& log = log_of();
  ASSERT_TRUE(start(log, false));
  wait_for("pending");
  ASSERT_TRUE(registry_.cancel("j"));
  wait_for("concluded");
  EXPECT_EQ(log.calls, Strings({"run", "abort", "clean"}));
  EXPECT_EQ(registry_.find("j")->error()->message(), "Operation canceled");
}

TEST_F(JobRegistryTest, AJobPausesAtEachPausePointAndGoesOn) {
  for (std::uint64_t point = 0; point < 3; ++point) {
    StepLog& log = log_of({.held_at = point});
    const std::string id = "j" + std::to_string(point);
    ASSERT_TRUE(start(log, true, false, id));
    wait_for_step(log, point);
    ASSERT_TRUE(registry_.pause(id));
    EXPECT_EQ(error_of(registry_.pause(id)), "Job is already paused");
    EXPECT_EQ(registry_.find(id)->status(), schema::JobStatus::kRunning);
    log.held_at = UINT64_MAX;
    if (point < 2) {
      wait_for("paused", id);
      EXPECT_EQ(log.done, point + 1);
      EXPECT_EQ(error_of(registry_.complete(id)),
                "Job '" + id + "' in state 'paused' cannot accept command verb 'complete'");
      ASSERT_TRUE(registry_.resume(id));
      EXPECT_EQ(error_of(registry_.resume(id)), "Can't resume a job that was not paused");
    }
    // Behind its last pause point a job ends although it is to pause.
    wait_for("concluded", id);
    EXPECT_EQ(log.done, 3);
    EXPECT_EQ(registry_.find(id)->error(), nullptr);
  }
}

TEST_F(JobRegistryTest, AJobIsCancelledAtEachPausePointPausedOrNot) {
  for (std::uint64_t point = 0; point < 3; ++point) {
    for (bool paused : {false, true}) {
      StepLog& log = log_of({.steps = 4, .held_at = point});
      const std::string id = "j" + std::to_string(point) + (paused ? "p" : "r");
      ASSERT_TRUE(start(log, true, false, id));
      wait_for_step(log, point);
      if (paused) {
        ASSERT_TRUE(registry_.pause(id));
        log.held_at = UINT64_MAX;
        wait_for("paused", id);
      }
      ASSERT_TRUE(registry_.cancel(id));
      ASSERT_TRUE(registry_.cancel(id));  // a second time changes nothing
      wait_for("concluded", id);
      EXPECT_EQ(log.done, paused ? point + 1 : point);
      EXPECT_EQ(log.calls, Strings({"run", "abort", "clean"}));
      EXPECT_EQ(registry_.find(id)->error()->message(), "Operation canceled");
    }
  }
}

TEST_F(JobRegistryTest, APauseBehindACancellationDoesNotHoldTheJob) {
  StepLog& log = log_of({.held_at = 0});
  ASSERT_TRUE(start(log));
  ASSERT_TRUE(registry_.pause("j"));
  log.held_at = UINT64_MAX;
  wait_for("paused");
  ASSERT_TRUE(registry_.cancel("j"));
  ASSERT_TRUE(registry_.pause("j"));
  wait_for("concluded");
  EXPECT_EQ(registry_.find("j")->error()->message(), "Operation canceled");
}

TEST_F(JobRegistryTest, AReadyJobStandsByAndCompletes) {
  StepLog& log = log_of({.becomes_ready = true});
  ASSERT_TRUE(start(log));
  wait_for("ready");
  ASSERT_TRUE(registry_.pause("j"));
  wait_for("standby");
  ASSERT_TRUE(registry_.resume("j"));
  wait_for("ready");
  ASSERT_TRUE(registry_.complete("j"));
  wait_for("concluded");
  EXPECT_EQ(observer_.changes(), Strings({"j created", "j running", "j ready", "j standby", "j ready", "j waiting",
                                          "j pending", "j concluded"}));
}

TEST_F(JobRegistryTest, AJobThatStandsByCompletesWhenItIsResumed) {
  StepLog& log = log_of({.becomes_ready = true});
  ASSERT_TRUE(start(log));
  wait_for("ready");
  ASSERT_TRUE(registry_.pause("j"));
  wait_for("standby");
  ASSERT_TRUE(registry_.complete("j"));
  EXPECT_EQ(registry_.find("j")->status(), schema::JobStatus::kStandby);
  ASSERT_TRUE(registry_.resume("j"));
  wait_for("concluded");
  EXPECT_EQ(registry_.find("j")->error(), nullptr);
}

TEST_F(JobRegistryTest, AnIdIsCheckedBeforeTheJobExists) {
  StepLog& log = log_of();
  EXPECT_EQ(error_of(start(log, true, false, "1x")), "Invalid job ID '1x'");
  EXPECT_EQ(error_of(start(log, true, false, "")), "Invalid job ID ''");
  ASSERT_TRUE(start(log));
  StepLog& other = log_of();
  EXPECT_EQ(error_of(start(other)), "Job ID 'j' already in use");
  EXPECT_TRUE(other.calls.empty());
  EXPECT_EQ(error_of(registry_.pause("k")), "Job not found");
  EXPECT_EQ(error_of(registry_.resume("k")), "Job not found");
  EXPECT_EQ(error_of(registry_.cancel("k")), "Job not found");
  EXPECT_EQ(error_of(registry_.complete("k")), "Job not found");
  EXPECT_EQ(error_of(registry_.finalize("k")), "Job not found");
  EXPECT_EQ(error_of(registry_.dismiss("k")), "Job not found");
}

TEST_F(JobRegistryTest, ThereIsALimitOfJobs) {
  StepLog& log = log_of({.steps = 0, .step_ns = 0});
  for (std::size_t i = 0; i < JobRegistry::kJobsMax; ++i) {
    ASSERT_TRUE(start(log, true, false, "j" + std::to_string(i)));
  }
  EXPECT_EQ(error_of(start(log, true, false, "more")), "There are 1024 jobs already");
  wait_for("concluded", "j0");
  ASSERT_TRUE(registry_.dismiss("j0"));
  EXPECT_TRUE(start(log, true, false, "more"));
}

TEST_F(JobRegistryTest, TheYoungestJobIsFirst) {
  StepLog& first = log_of();
  StepLog& second = log_of();
  ASSERT_TRUE(start(first, true, false, "a"));
  ASSERT_TRUE(start(second, true, false, "b"));
  EXPECT_EQ(registry_.all().front()->id(), "b");
  EXPECT_EQ(registry_.all().back()->id(), "a");
}

}  // namespace
}  // namespace blockexport::jobs

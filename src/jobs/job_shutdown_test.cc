// The end of all jobs at shutdown, whatever state each of them is in.
#include <gtest/gtest.h>

#include "aio/testing/interleaving.h"
#include "aio/testing/seeds.h"
#include "jobs/job_registry.h"
#include "jobs/testing/step_work.h"

namespace blockexport::jobs {
namespace {

struct Course {
  StepLog log;
  bool auto_finalize = true;
  bool auto_dismiss = false;
};

aio::Task<void> sleep(aio::Reactor& reactor, std::uint64_t time_ns) {
  (void)co_await reactor.sleep_until(reactor.now_ns() + time_ns);
}

// Jobs of each kind run for a while, verbs come at random moments, and then all jobs end.
aio::Task<void> run_and_end(aio::testing::Interleaving& all, JobRegistry& registry, std::vector<Course>& courses) {
  for (std::size_t i = 0; i < courses.size(); ++i) {
    JobDescription description{.id = "j" + std::to_string(i), .type = schema::JobType::kCreate};
    description.auto_finalize = courses[i].auto_finalize;
    description.auto_dismiss = courses[i].auto_dismiss;
    EXPECT_TRUE(registry.start(std::move(description), std::make_unique<StepWork>(courses[i].log)));
  }
  const std::uint64_t verbs = all.random().below(20);
  for (std::uint64_t i = 0; i < verbs; ++i) {
    co_await sleep(all.control(), all.random().below(1'000'000));
    const std::string id = "j" + std::to_string(all.random().below(courses.size()));
    // A verb that the state does not accept changes nothing.
    switch (all.random().below(6)) {
      case 0:
        (void)registry.pause(id);
        break;
      case 1:
        (void)registry.resume(id);
        break;
      case 2:
        (void)registry.cancel(id);
        break;
      case 3:
        (void)registry.complete(id);
        break;
      case 4:
        (void)registry.finalize(id);
        break;
      default:
        (void)registry.dismiss(id);
    }
  }
  co_await registry.end_all();
}

std::vector<Course> all_courses() {
  std::vector<Course> courses(7);
  courses[1].log.becomes_ready = true;
  courses[2].auto_finalize = false;
  courses[3].auto_dismiss = true;
  courses[4].log.run_error = "failed";
  courses[5].log.prepare_error = "failed";
  courses[6].log.steps = 100'000;
  return courses;
}

TEST(JobShutdownTest, JobsOfEachStateEndInOrderAndLeaveNothing) {
  for (std::uint64_t seed = 1; seed <= aio::testing::seeds_here(600); ++seed) {
    aio::testing::Interleaving all(1, {.seed = seed});
    RecordingObserver observer;
    JobRegistry registry(all.control(), observer);
    std::vector<Course> courses = all_courses();
    all.run(run_and_end(all, registry, courses));
    ASSERT_TRUE(registry.all().empty()) << "seed " << seed;
    for (std::size_t i = 0; i < courses.size(); ++i) {
      const std::vector<std::string>& calls = courses[i].log.calls;
      ASSERT_FALSE(calls.empty()) << "seed " << seed;
      EXPECT_EQ(calls.front(), "run") << "seed " << seed;
      EXPECT_EQ(calls.back(), "clean") << "seed " << seed;
      const auto outcomes = std::ranges::count_if(calls, [](const auto& c) { return c == "commit" || c == "abort"; });
      EXPECT_EQ(outcomes, 1) << "seed " << seed;
      std::string last;
      for (const std::string& change : observer.changes()) {
        if (change.starts_with("j" + std::to_string(i) + " ")) last = change;
      }
      EXPECT_TRUE(last.ends_with(" null")) << "seed " << seed << ": " << last;
    }
    if (testing::Test::HasFailure()) return;
  }
}

TEST(JobShutdownTest, AfterTheEndNoJobStarts) {
  aio::testing::Interleaving all(1, {.seed = 1});
  RecordingObserver observer;
  JobRegistry registry(all.control(), observer);
  all.run(registry.end_all());
  StepLog log;
  const Result<> started =
      registry.start({.id = "j", .type = schema::JobType::kCreate}, std::make_unique<StepWork>(log));
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message(), "The daemon is shutting down");
}

}  // namespace
}  // namespace blockexport::jobs

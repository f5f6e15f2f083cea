#include "jobs/job_table.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace blockexport::jobs {
namespace {

using schema::JobStatus;

// The cells of job_verbs.txt: (state, verb) → accepted.
std::map<std::pair<std::string, std::string>, bool> expected_cells() {
  std::ifstream file(BLOCKEXPORT_JOB_VERBS);
  std::map<std::pair<std::string, std::string>, bool> cells;
  std::vector<std::string> states;
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("#")) continue;
    std::istringstream words(line);
    std::string first;
    words >> first;
    std::string word;
    for (std::size_t i = 0; words >> word; ++i) {
      if (first == "verb") {
        states.push_back(word);
      } else {
        cells[{states.at(i), first}] = word == "yes";
      }
    }
  }
  return cells;
}

std::optional<JobStatus> status_of(const std::string& name) {
  for (JobStatus status : kAllJobStatuses) {
    if (schema::name_of(status) == name) return status;
  }
  return std::nullopt;
}

TEST(JobTableTest, EachCellOfStateAndVerbIsThatOfTheReference) {
  const auto cells = expected_cells();
  ASSERT_EQ(cells.size(), 9 * kAllJobVerbs.size());
  for (const auto& [cell, accepted] : cells) {
    const auto status = status_of(cell.first);
    ASSERT_TRUE(status) << cell.first;
    bool is_known = false;
    for (JobVerb verb : kAllJobVerbs) {
      if (name_of(verb) != cell.second) continue;
      is_known = true;
      EXPECT_EQ(accepts(*status, verb), accepted) << cell.first << " " << cell.second;
    }
    EXPECT_TRUE(is_known) << cell.second;
  }
}

TEST(JobTableTest, AJobThatDoesNotExistYetOrAnyMoreAcceptsNoVerb) {
  for (JobVerb verb : kAllJobVerbs) {
    EXPECT_FALSE(accepts(JobStatus::kUndefined, verb)) << name_of(verb);
    EXPECT_FALSE(accepts(JobStatus::kNull, verb)) << name_of(verb);
  }
}

TEST(JobTableTest, ARefusedVerbNamesTheJobItsStateAndTheVerb) {
  for (JobStatus status : kAllJobStatuses) {
    for (JobVerb verb : kAllJobVerbs) {
      const Result<> checked = check_verb("j0", status, verb);
      ASSERT_EQ(checked.has_value(), accepts(status, verb));
      if (checked) continue;
      EXPECT_EQ(checked.error().message(), "Job 'j0' in state '" + std::string(schema::name_of(status)) +
                                               "' cannot accept command verb '" + std::string(name_of(verb)) + "'");
    }
  }
}

TEST(JobTableTest, EveryPathThroughTheStatesEndsWithNull) {
  // The longest path without a pause: undefined, created, running, ready, waiting, pending, aborting, concluded, null.
  for (JobStatus status : kAllJobStatuses) {
    bool has_follower = false;
    for (JobStatus next : kAllJobStatuses) {
      if (!may_follow(status, next)) continue;
      has_follower = true;
      EXPECT_NE(next, JobStatus::kUndefined);
      EXPECT_FALSE(next == JobStatus::kNull && status != JobStatus::kConcluded && status != JobStatus::kCreated);
    }
    EXPECT_EQ(has_follower, status != JobStatus::kNull) << schema::name_of(status);
  }
}

TEST(JobTableTest, AJobConcludesOnlyAfterItsOutcomeIsKnown) {
  for (JobStatus status : kAllJobStatuses) {
    const bool is_decided = status == JobStatus::kPending || status == JobStatus::kAborting;
    EXPECT_EQ(may_follow(status, JobStatus::kConcluded), is_decided) << schema::name_of(status);
  }
}

}  // namespace
}  // namespace blockexport::jobs

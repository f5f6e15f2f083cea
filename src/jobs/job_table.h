// JobVerb, and the table of the life of a job: the verbs that a job accepts in each state, and the transitions between
// states.
//
// The states are those of QMP (schema::JobStatus). A user's command is a verb; the job checks it here before it acts.
// Pure functions; any thread. job_table_test.cc compares each cell with qemu-storage-daemon's answers.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "schema/job.h"

namespace blockexport::jobs {

enum class JobVerb : std::uint8_t { kCancel, kPause, kResume, kSetSpeed, kComplete, kFinalize, kDismiss, kChange };

inline constexpr std::array kAllJobVerbs = {JobVerb::kCancel,   JobVerb::kPause,    JobVerb::kResume,
                                            JobVerb::kSetSpeed, JobVerb::kComplete, JobVerb::kFinalize,
                                            JobVerb::kDismiss,  JobVerb::kChange};

inline constexpr std::array kAllJobStatuses = {
    schema::JobStatus::kUndefined, schema::JobStatus::kCreated, schema::JobStatus::kRunning,
    schema::JobStatus::kPaused,    schema::JobStatus::kReady,   schema::JobStatus::kStandby,
    schema::JobStatus::kWaiting,   schema::JobStatus::kPending, schema::JobStatus::kAborting,
    schema::JobStatus::kConcluded, schema::JobStatus::kNull};

// The verb as QMP's messages name it: "cancel", "set-speed", ...
std::string_view name_of(JobVerb verb);

// True if a job in that state accepts the verb.
bool accepts(schema::JobStatus status, JobVerb verb);

// The same as a result; the error names the job, its state and the verb.
Result<> check_verb(std::string_view job_id, schema::JobStatus status, JobVerb verb);

// True if a job may go from one state directly to the other.
bool may_follow(schema::JobStatus from, schema::JobStatus to);

}  // namespace blockexport::jobs

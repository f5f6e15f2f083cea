#include "jobs/job_table.h"

#include <fmt/format.h>

namespace blockexport::jobs {
namespace {

using schema::JobStatus;

// A set of states, a bit for each.
using Statuses = std::uint16_t;

constexpr Statuses only(JobStatus status) {
  return static_cast<Statuses>(1u << static_cast<unsigned>(status));
}

template <class... Rest>
constexpr Statuses set_of(JobStatus first, Rest... rest) {
  return static_cast<Statuses>((only(first) | ... | only(rest)));
}

constexpr bool has(Statuses statuses, JobStatus status) {
  return (statuses & only(status)) != 0;
}

// From its creation until it has done its work.
constexpr Statuses kWorking =
    set_of(JobStatus::kCreated, JobStatus::kRunning, JobStatus::kPaused, JobStatus::kReady, JobStatus::kStandby);

constexpr Statuses accepting(JobVerb verb) {
  switch (verb) {
    case JobVerb::kCancel:
      return kWorking | set_of(JobStatus::kWaiting, JobStatus::kPending);
    case JobVerb::kPause:
    case JobVerb::kResume:
    case JobVerb::kSetSpeed:
      return kWorking;
    case JobVerb::kComplete:
      return set_of(JobStatus::kReady, JobStatus::kStandby);
    case JobVerb::kFinalize:
      return only(JobStatus::kPending);
    case JobVerb::kDismiss:
      return only(JobStatus::kConcluded);
    case JobVerb::kChange:
      return set_of(JobStatus::kRunning, JobStatus::kPaused, JobStatus::kReady, JobStatus::kStandby);
  }
  return 0;
}

constexpr Statuses followers(JobStatus status) {
  switch (status) {
    case JobStatus::kUndefined:
      return only(JobStatus::kCreated);
    case JobStatus::kCreated:
      return set_of(JobStatus::kRunning, JobStatus::kAborting, JobStatus::kNull);
    case JobStatus::kRunning:
      return set_of(JobStatus::kPaused, JobStatus::kReady, JobStatus::kWaiting, JobStatus::kAborting);
    case JobStatus::kPaused:
      return only(JobStatus::kRunning);
    case JobStatus::kReady:
      return set_of(JobStatus::kStandby, JobStatus::kWaiting, JobStatus::kAborting);
    case JobStatus::kStandby:
      return only(JobStatus::kReady);
    case JobStatus::kWaiting:
      return set_of(JobStatus::kPending, JobStatus::kAborting);
    case JobStatus::kPending:
      return set_of(JobStatus::kAborting, JobStatus::kConcluded);
    case JobStatus::kAborting:
      return only(JobStatus::kConcluded);
    case JobStatus::kConcluded:
      return only(JobStatus::kNull);
    case JobStatus::kNull:
      return 0;
  }
  return 0;
}

}  // namespace

std::string_view name_of(JobVerb verb) {
  switch (verb) {
    case JobVerb::kCancel:
      return "cancel";
    case JobVerb::kPause:
      return "pause";
    case JobVerb::kResume:
      return "resume";
    case JobVerb::kSetSpeed:
      return "set-speed";
    case JobVerb::kComplete:
      return "complete";
    case JobVerb::kFinalize:
      return "finalize";
    case JobVerb::kDismiss:
      return "dismiss";
    case JobVerb::kChange:
      return "change";
  }
  return "";
}

bool accepts(JobStatus status, JobVerb verb) {
  return has(accepting(verb), status);
}

Result<> check_verb(std::string_view job_id, JobStatus status, JobVerb verb) {
  if (accepts(status, verb)) return {};
  return fail(fmt::format("Job '{}' in state '{}' cannot accept command verb '{}'", job_id, schema::name_of(status),
                          name_of(verb)));
}

bool may_follow(JobStatus from, JobStatus to) {
  return has(followers(from), to);
}

}  // namespace blockexport::jobs

// Transmission: counters of its answered requests.

#include "aio/reactor/reactor.h"
#include "export/nbd/transmission/request_verb.h"
#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd {
namespace {

using exports::ErrorClass;
using exports::Verb;

ErrorClass class_of(NbdError error) {
  switch (error) {
    case NbdError::kNotPermitted:
      return ErrorClass::kNotPermitted;
    case NbdError::kNoMemory:
      return ErrorClass::kNoMemory;
    case NbdError::kInvalid:
      return ErrorClass::kInvalid;
    case NbdError::kNoSpace:
      return ErrorClass::kNoSpace;
    case NbdError::kOverflow:
      return ErrorClass::kOverflow;
    case NbdError::kNotSupported:
      return ErrorClass::kNotSupported;
    case NbdError::kShutdown:
      return ErrorClass::kShutdown;
    case NbdError::kNone:
    case NbdError::kIo:
      break;
  }
  return ErrorClass::kIo;
}

// The length of a BLOCK_STATUS may be that of its payload, and a FLUSH has none.
std::uint64_t counted_bytes(Verb verb, const Request& request) {
  return verb == Verb::kExtents || verb == Verb::kFlush ? 0 : request.length;
}

}  // namespace

void Transmission::count(const Request& request, NbdError error) {
  const std::optional<Verb> verb = verb_of(request);
  if (!verb) return;
  const bool failed = error != NbdError::kNone;
  if (engine_.in_batch()) {
    if (failed) {
      meter_.failed_in_batch(*verb, class_of(error));
    } else {
      meter_.succeeded_in_batch(*verb, counted_bytes(*verb, request));
    }
    return;
  }
  const std::uint64_t now_ns = context_.reactor.now_ns();
  if (failed) {
    meter_.failed(*verb, class_of(error), engine_.received_ns(), now_ns);
  } else {
    meter_.succeeded(*verb, counted_bytes(*verb, request), engine_.received_ns(), now_ns);
  }
}

void Transmission::answered_run(const WriteRun& run) {
  meter_.succeeded_in_batch(Verb::kWrite, run.length(), run.requests());
  trace_run(run);
}

void Transmission::enter(exports::Phase phase) {
  states_.enter(phase);
  if (context_.client_counters != nullptr) context_.client_counters->phase.store(phase, std::memory_order_relaxed);
}

}  // namespace blockexport::nbd

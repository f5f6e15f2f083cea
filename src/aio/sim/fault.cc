#include "aio/sim/fault.h"

namespace blockexport::aio {

bool concerns(const Fault& fault, const FaultyCall& call) {
  if (fault.count == 0 || fault.immediate != call.immediate) return false;
  if (!fault.path.empty() && fault.path != call.path) return false;
  if (fault.kind) return *fault.kind == call.kind;
  return !call.unlocks && call.kind != OperationKind::kPoll && call.kind != OperationKind::kCall &&
         call.kind != OperationKind::kClose;
}

std::optional<Fault> take_fault(std::span<Fault> faults, const FaultyCall& call) {
  for (Fault& fault : faults) {
    if (!concerns(fault, call)) continue;
    if (fault.after > 0) {
      --fault.after;
      continue;
    }
    --fault.count;
    return fault;
  }
  return std::nullopt;
}

}  // namespace blockexport::aio

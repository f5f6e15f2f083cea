// Transmission: trace events of its requests.

#include <fmt/format.h>

#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd {

// A request may be tried several times before it can begin; its begin is traced once.
void Transmission::write_begin(const Request& request) {
  if (begin_is_traced_) return;
  begin_is_traced_ = true;
  context_.trace.write(TraceEvent::kNbdRequestBegin,
                       fmt::format("{} cookie {} command {} flags {:#x} offset {} length {}", context_.peer,
                                   request.cookie, request.command, request.flags, request.offset, request.length));
}

// Each request of a run has a begin and an end; the first one's begin was traced when it was tried.
void Transmission::write_run_events(const WriteRun& run) {
  for (std::size_t i = 0; i < run.requests(); ++i) {
    const Request request = run.request(i);
    trace_begin(request);
    trace_end(request);
    begin_is_traced_ = false;
  }
}

void Transmission::write_end(const Request& request, NbdError error) {
  context_.trace.write(TraceEvent::kNbdRequestEnd, fmt::format("{} cookie {} error {}", context_.peer, request.cookie,
                                                               static_cast<std::uint32_t>(error)));
}

}  // namespace blockexport::nbd

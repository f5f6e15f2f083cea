#include "control/core/client_events.h"

#include "export/export.h"

namespace blockexport::control {

schema::OperationCounts to_operation_counts(const std::array<exports::OwnedCounter, exports::kVerbs>& counters) {
  const auto of = [&counters](exports::Verb verb) { return counters[static_cast<std::size_t>(verb)].load(); };
  return {.read = of(exports::Verb::kRead),
          .write = of(exports::Verb::kWrite),
          .write_zeroes = of(exports::Verb::kWriteZeroes),
          .trim = of(exports::Verb::kDiscard),
          .flush = of(exports::Verb::kFlush),
          .cache = of(exports::Verb::kPrefetch),
          .block_status = of(exports::Verb::kExtents)};
}

void ClientEvents::client_came(const exports::Export& used, const exports::ServedClient& client) {
  if (!is_enabled_) return;
  const exports::ClientDescription& about = client.description();
  events_.emit(schema::export_client_connected_event({.client = static_cast<std::int64_t>(about.number),
                                                      .server = about.server,
                                                      .export_ = used.id(),
                                                      .peer = about.peer,
                                                      .identity = about.identity}));
}

void ClientEvents::client_went(const exports::Export& used, const exports::ServedClient& client) {
  if (!is_enabled_) return;
  const exports::ClientDescription& about = client.description();
  events_.emit(schema::export_client_left_event({.client = static_cast<std::int64_t>(about.number),
                                                 .server = about.server,
                                                 .export_ = used.id(),
                                                 .peer = about.peer,
                                                 .identity = about.identity,
                                                 .operations = to_operation_counts(client.counters().operations),
                                                 .bytes = to_operation_counts(client.counters().bytes)}));
}

}  // namespace blockexport::control

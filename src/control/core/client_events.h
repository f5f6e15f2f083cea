// ClientEvents: emits EXPORT_CLIENT_CONNECTED and EXPORT_CLIENT_LEFT, from enable() on.
//
// Programs that know qemu-storage-daemon do not expect them. So they are enabled by a configuration file, or by the
// first query-export-clients. Owned by Control; thread: the control reactor.
#pragma once

#include "export/served_client.h"
#include "qmp/event_queue.h"
#include "schema/operation.h"

namespace blockexport::control {

// The counters as the schema has them.
schema::OperationCounts to_operation_counts(const std::array<exports::OwnedCounter, exports::kVerbs>& counters);

class ClientEvents final : public exports::ClientObserver {
 public:
  explicit ClientEvents(qmp::EventQueue& events) : events_(events) {}
  void enable() { is_enabled_ = true; }
  void client_came(const exports::Export& used, const exports::ServedClient& client) override;
  void client_went(const exports::Export& used, const exports::ServedClient& client) override;

 private:
  qmp::EventQueue& events_;
  bool is_enabled_ = false;
};

}  // namespace blockexport::control

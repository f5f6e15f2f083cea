// Snapshot: the values of all metrics at one moment, as plain data without references; collect() takes it.
//
// The page of metrics is written from it in pieces, while exports and clients come and go. Thread: any; collect():
// the control reactor.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/metrics/reactor_load.h"
#include "export/engine/operation_counters.h"
#include "export/nbd/server/server_counters.h"
#include "http/server.h"

namespace blockexport::control {

class Control;

// Most exports for which latencies are shown by default: each has 14 series for each operation.
inline constexpr std::size_t kLatencyExportsMax = 200;
// Most series of single clients.
inline constexpr std::size_t kClientSeriesMax = 1000;

struct MetricsSettings {
  bool shows_clients = false;
  std::optional<bool> shows_latencies = {};  // nothing: up to kLatencyExportsMax exports
};

struct ExportValues {
  std::string id;
  std::uint64_t clients = 0;
  std::uint64_t in_flight = 0;
  exports::RequestTotals totals = {};
};

struct ClientValues {
  std::uint64_t number = 0;
  std::string peer;
  std::string export_id;
  std::uint64_t in_flight = 0;
  std::array<std::uint64_t, exports::kVerbs> operations{};
  std::array<std::uint64_t, exports::kVerbs> bytes{};
};

struct NodeVerbValues {
  std::uint64_t operations = 0;  // the failed ones included
  std::uint64_t failed = 0;
  std::uint64_t bytes = 0;
  std::uint64_t elapsed_ns = 0;
};
// Operations of a node that are counted, by the first five of exports::Verb.
inline constexpr std::size_t kNodeVerbs = 5;

struct NodeValues {
  std::string name;
  std::array<NodeVerbValues, kNodeVerbs> verbs{};
};

struct ServerValues {
  std::string id;
  std::uint64_t clients = 0;
  nbd::ServerCounters counters = {};
};

struct CertificateValues {
  std::string credentials;  // id of the object
  std::string file;
  std::int64_t not_after_seconds = 0;
};

struct Snapshot {
  std::vector<ExportValues> exports = {};
  std::vector<ClientValues> clients = {};
  std::uint64_t dropped_series = 0;  // of clients, above kClientSeriesMax
  std::vector<NodeValues> nodes = {};
  std::vector<ServerValues> servers = {};
  std::vector<CertificateValues> certificates = {};
  std::vector<ReactorValues> reactors = {};
  std::uint64_t handshakes = 0;
  std::uint64_t budget_used_bytes = 0;
  std::uint64_t budget_limit_bytes = 0;
  http::ServerCounters http = {};
  std::string backend = {};
  bool shows_latencies = false;
  bool shows_clients = false;
};

// `loads` remembers the readings of earlier calls.
Snapshot collect(Control& control, const MetricsSettings& settings, const http::ServerCounters& http,
                 ReactorLoads& loads);

}  // namespace blockexport::control

#include "control/metrics/metrics_page.h"

#include <algorithm>
#include <array>
#include <map>

#include "control/core/version.h"
#include "http/request.h"

#ifndef BLOCKEXPORT_COMMIT
#define BLOCKEXPORT_COMMIT "unknown"
#endif

namespace blockexport::control {
namespace {

using exports::kErrorClasses;
using exports::kLatencyBuckets;
using exports::kVerbs;

// Items (exports, nodes, clients) of one family that are written in one piece.
constexpr std::size_t kItemsPerPiece = 64;

// By exports::Verb.
constexpr std::array<std::string_view, kVerbs> kOperations{"read",  "write",        "write_zeroes", "trim",
                                                           "flush", "block_status", "cache"};
// By exports::ErrorClass.
constexpr std::array<std::string_view, kErrorClasses> kErrors{"EPERM",  "EIO",       "ENOMEM",  "EINVAL",
                                                              "ENOSPC", "EOVERFLOW", "ENOTSUP", "ESHUTDOWN"};
// By exports::LimitKind: the names in docs/limits.md.
constexpr std::array<std::string_view, exports::kLimitKinds> kLimits{"memory", "kRequestsInFlightMax"};

constexpr std::array<std::uint64_t, kLatencyBuckets> latency_limits() {
  std::array<std::uint64_t, kLatencyBuckets> limits{};
  std::uint64_t limit_ns = exports::kLatencyBucketNs;
  for (std::uint64_t& limit : limits) {
    limit = limit_ns;
    limit_ns *= 4;
  }
  return limits;
}
constexpr std::array<std::uint64_t, kLatencyBuckets> kLatencyLimits = latency_limits();

struct Family {
  std::string_view name;
  MetricType type;
  std::string_view help;
  std::size_t (*count)(const Snapshot&);
  void (*write)(const Snapshot&, std::size_t item, SampleWriter& writer);
};

std::size_t one(const Snapshot&) {
  return 1;
}
std::size_t exports_of(const Snapshot& snapshot) {
  return snapshot.exports.size();
}
std::size_t nodes_of(const Snapshot& snapshot) {
  return snapshot.nodes.size();
}
std::size_t servers_of(const Snapshot& snapshot) {
  return snapshot.servers.size();
}
std::size_t reactors_of(const Snapshot& snapshot) {
  return snapshot.reactors.size();
}
std::size_t clients_of(const Snapshot& snapshot) {
  return snapshot.clients.size();
}

// Calls write(op, counts) for each operation that the export has ever had.
template <class Write>
void each_operation(const ExportValues& values, Write write) {
  for (std::size_t verb = 0; verb < kVerbs; ++verb) {
    if (values.totals.verbs[verb].operations > 0) write(kOperations[verb], values.totals.verbs[verb]);
  }
}
template <class Write>
void each_operation(const NodeValues& values, Write write) {
  for (std::size_t verb = 0; verb < kNodeVerbs; ++verb) {
    if (values.verbs[verb].operations > 0) write(kOperations[verb], values.verbs[verb]);
  }
}

void export_operations(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const ExportValues& values = snapshot.exports[item];
  each_operation(values, [&](std::string_view op, const auto& counts) {
    writer.value({{"export", values.id}, {"op", op}}, counts.operations);
  });
}
void export_bytes(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const ExportValues& values = snapshot.exports[item];
  each_operation(values, [&](std::string_view op, const auto& counts) {
    if (op != "flush" && op != "block_status") writer.value({{"export", values.id}, {"op", op}}, counts.bytes);
  });
}
void export_seconds(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const ExportValues& values = snapshot.exports[item];
  each_operation(values, [&](std::string_view op, const auto& counts) {
    writer.seconds({{"export", values.id}, {"op", op}}, counts.elapsed_ns);
  });
}
void export_errors(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const ExportValues& values = snapshot.exports[item];
  each_operation(values, [&](std::string_view op, const auto& counts) {
    for (std::size_t i = 0; i < kErrorClasses; ++i) {
      if (counts.errors[i] == 0) continue;
      writer.value({{"export", values.id}, {"op", op}, {"errno", kErrors[i]}}, counts.errors[i]);
    }
  });
}
void export_latencies(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  if (!snapshot.shows_latencies) return;
  const ExportValues& values = snapshot.exports[item];
  each_operation(values, [&](std::string_view op, const auto& counts) {
    writer.histogram({{"export", values.id}, {"op", op}}, kLatencyLimits, counts.latencies, counts.elapsed_ns);
  });
}
void export_in_flight(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  writer.value({{"export", snapshot.exports[item].id}}, snapshot.exports[item].in_flight);
}
void export_clients(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  writer.value({{"export", snapshot.exports[item].id}}, snapshot.exports[item].clients);
}
void export_limit_waits(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const ExportValues& values = snapshot.exports[item];
  for (std::size_t i = 0; i < kLimits.size(); ++i) {
    if (values.totals.limit_waits[i] == 0) continue;
    writer.value({{"export", values.id}, {"limit", kLimits[i]}}, values.totals.limit_waits[i]);
  }
}
void export_limit_wait_seconds(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const ExportValues& values = snapshot.exports[item];
  for (std::size_t i = 0; i < kLimits.size(); ++i) {
    if (values.totals.limit_waits[i] == 0) continue;
    writer.seconds({{"export", values.id}, {"limit", kLimits[i]}}, values.totals.limit_wait_ns[i]);
  }
}
void export_fence_waits(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const ExportValues& values = snapshot.exports[item];
  if (values.totals.fence_waits > 0) writer.value({{"export", values.id}}, values.totals.fence_waits);
}

void client_operations(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const ClientValues& values = snapshot.clients[item];
  const std::string number = std::to_string(values.number);
  for (std::size_t verb = 0; verb < kVerbs; ++verb) {
    if (values.operations[verb] == 0) continue;
    writer.value({{"client", number}, {"peer", values.peer}, {"export", values.export_id}, {"op", kOperations[verb]}},
                 values.operations[verb]);
  }
}
void client_bytes(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const ClientValues& values = snapshot.clients[item];
  const std::string number = std::to_string(values.number);
  for (std::size_t verb = 0; verb < kVerbs; ++verb) {
    if (values.bytes[verb] == 0) continue;
    writer.value({{"client", number}, {"peer", values.peer}, {"export", values.export_id}, {"op", kOperations[verb]}},
                 values.bytes[verb]);
  }
}
void client_in_flight(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const ClientValues& values = snapshot.clients[item];
  writer.value({{"client", std::to_string(values.number)}, {"peer", values.peer}, {"export", values.export_id}},
               values.in_flight);
}
void dropped_series(const Snapshot& snapshot, std::size_t, SampleWriter& writer) {
  if (snapshot.shows_clients) writer.value({}, snapshot.dropped_series);
}

void node_operations(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const NodeValues& values = snapshot.nodes[item];
  each_operation(values, [&](std::string_view op, const NodeVerbValues& counts) {
    writer.value({{"node", values.name}, {"op", op}}, counts.operations);
  });
}
void node_bytes(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const NodeValues& values = snapshot.nodes[item];
  each_operation(values, [&](std::string_view op, const NodeVerbValues& counts) {
    if (op != "flush") writer.value({{"node", values.name}, {"op", op}}, counts.bytes);
  });
}
void node_seconds(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const NodeValues& values = snapshot.nodes[item];
  each_operation(values, [&](std::string_view op, const NodeVerbValues& counts) {
    writer.seconds({{"node", values.name}, {"op", op}}, counts.elapsed_ns);
  });
}
void node_errors(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const NodeValues& values = snapshot.nodes[item];
  each_operation(values, [&](std::string_view op, const NodeVerbValues& counts) {
    if (counts.failed > 0) writer.value({{"node", values.name}, {"op", op}}, counts.failed);
  });
}

void server_clients(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  writer.value({{"server", snapshot.servers[item].id}}, snapshot.servers[item].clients);
}
void server_accepted(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  writer.value({{"server", snapshot.servers[item].id}}, snapshot.servers[item].counters.accepted);
}
void handshake_failures(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  const ServerValues& values = snapshot.servers[item];
  for (std::size_t i = 0; i < nbd::kHandshakeFailures; ++i) {
    writer.value({{"server", values.id}, {"reason", nbd::kHandshakeFailureNames[i]}},
                 values.counters.handshake_failures[i]);
  }
}
void handshakes_in_progress(const Snapshot& snapshot, std::size_t, SampleWriter& writer) {
  writer.value({}, snapshot.handshakes);
}

std::uint64_t failures(const Snapshot& snapshot, nbd::HandshakeFailure reason) {
  std::uint64_t sum = 0;
  for (const ServerValues& values : snapshot.servers) {
    sum += values.counters.handshake_failures[static_cast<std::size_t>(reason)];
  }
  return sum;
}
void limit_hits(const Snapshot& snapshot, std::size_t, SampleWriter& writer) {
  std::uint64_t slot_waits = 0;
  for (const ServerValues& values : snapshot.servers) slot_waits += values.counters.slot_waits;
  writer.value({{"limit", "max-connections"}}, slot_waits);
  writer.value({{"limit", "handshake-max-seconds"}}, failures(snapshot, nbd::HandshakeFailure::kTimeout));
  writer.value({{"limit", "kHandshakesMax"}}, failures(snapshot, nbd::HandshakeFailure::kDisplaced));
  writer.value({{"limit", "http::kConnectionsMax"}}, snapshot.http.cut_connections);
  writer.value({{"limit", "http::kExchangeMaxNs"}}, snapshot.http.late_requests);
}
void memory_budget(const Snapshot& snapshot, std::size_t, SampleWriter& writer) {
  writer.value({{"state", "used"}}, snapshot.budget_used_bytes);
  writer.value({{"state", "limit"}}, snapshot.budget_limit_bytes);
}
void tls_handshakes(const Snapshot& snapshot, std::size_t, SampleWriter& writer) {
  std::map<nbd::TlsKind, std::uint64_t> sums;
  for (const ServerValues& values : snapshot.servers) {
    for (const auto& [kind, count] : values.counters.tls_handshakes) sums[kind] += count;
  }
  for (const auto& [kind, count] : sums) {
    writer.value({{"creds", kind.credentials}, {"version", kind.version}, {"cipher", kind.cipher}}, count);
  }
}
void certificates(const Snapshot& snapshot, std::size_t, SampleWriter& writer) {
  for (const CertificateValues& values : snapshot.certificates) {
    const auto seconds = static_cast<std::uint64_t>(std::max<std::int64_t>(values.not_after_seconds, 0));
    writer.value({{"creds", values.credentials}, {"file", values.file}}, seconds);
  }
}
void reactor_busy(const Snapshot& snapshot, std::size_t item, SampleWriter& writer) {
  writer.ratio({{"reactor", snapshot.reactors[item].name}}, snapshot.reactors[item].busy_ratio);
}
void io_backend(const Snapshot& snapshot, std::size_t, SampleWriter& writer) {
  writer.value({{"backend", snapshot.backend}}, 1);
}
void build(const Snapshot&, std::size_t, SampleWriter& writer) {
  writer.value({{"version", kProgramVersion}, {"commit", BLOCKEXPORT_COMMIT}}, 1);
}
void refused_hosts(const Snapshot& snapshot, std::size_t, SampleWriter& writer) {
  writer.value({}, snapshot.http.refused_hosts);
}

constexpr MetricType kCounter = MetricType::kCounter;
constexpr MetricType kGauge = MetricType::kGauge;

constexpr Family kFamilies[] = {
    {"build_info", kGauge, "The program; the value is 1.", one, build},
    {"io_backend_info", kGauge, "The interface of the kernel in use; the value is 1.", one, io_backend},
    {"export_operations", kCounter, "Requests of clients that were answered, failed ones included.", exports_of,
     export_operations},
    {"export_bytes", kCounter, "Bytes of requests that succeeded.", exports_of, export_bytes},
    {"export_operation_seconds", kCounter, "Time from the receipt of requests to their replies.", exports_of,
     export_seconds},
    {"export_errors", kCounter, "Requests that were answered with an error.", exports_of, export_errors},
    {"export_operation_latency_seconds", MetricType::kHistogram, "Time from the receipt of a request to its reply.",
     exports_of, export_latencies},
    {"export_in_flight", kGauge, "Requests that wait for storage.", exports_of, export_in_flight},
    {"export_clients", kGauge, "Clients that use the export.", exports_of, export_clients},
    {"export_limit_waits", kCounter, "Pauses of clients because of a limit.", exports_of, export_limit_waits},
    {"export_limit_wait_seconds", kCounter, "Time of these pauses.", exports_of, export_limit_wait_seconds},
    {"export_fence_waits", kCounter, "Pauses of clients until the writes of a lost client had ended.", exports_of,
     export_fence_waits},
    {"client_operations", kCounter, "Requests of one client that were answered, failed ones included.", clients_of,
     client_operations},
    {"client_bytes", kCounter, "Bytes of requests of one client that succeeded.", clients_of, client_bytes},
    {"client_in_flight", kGauge, "Requests of one client that wait for storage.", clients_of, client_in_flight},
    {"dropped_series", kGauge, "Series of clients that are left out because there are too many.", one, dropped_series},
    {"node_operations", kCounter, "Requests to a node that have ended, failed ones included.", nodes_of,
     node_operations},
    {"node_bytes", kCounter, "Bytes of requests to a node that succeeded.", nodes_of, node_bytes},
    {"node_operation_seconds", kCounter, "Time of requests to a node.", nodes_of, node_seconds},
    {"node_errors", kCounter, "Requests to a node that failed.", nodes_of, node_errors},
    {"server_clients", kGauge, "Clients of an NBD server that have chosen an export.", servers_of, server_clients},
    {"server_accepted", kCounter, "Connections that an NBD server has accepted.", servers_of, server_accepted},
    {"handshake_failures", kCounter, "Connections that ended in their handshake, without NBD_OPT_ABORT.", servers_of,
     handshake_failures},
    {"handshakes_in_progress", kGauge, "Connections in their handshake.", one, handshakes_in_progress},
    {"limit_hits", kCounter, "Times that a limit had an effect.", one, limit_hits},
    {"memory_budget_bytes", kGauge, "Memory of the buffers of all connections.", one, memory_budget},
    {"tls_handshakes", kCounter, "TLS handshakes with NBD clients that succeeded.", one, tls_handshakes},
    {"tls_certificate_not_after_seconds", kGauge, "Expiry of a certificate, in seconds since 1970.", one, certificates},
    {"reactor_busy_ratio", kGauge, "Share of the time in which a reactor did not wait.", reactors_of, reactor_busy},
    {"http_refused_hosts", kCounter, "HTTP requests for the name of another host.", one, refused_hosts},
};

}  // namespace

bool MetricsPage::add_piece() {
  if (family_ == std::size(kFamilies)) {
    writer_.end();
    return false;
  }
  const Family& family = kFamilies[family_];
  if (item_ == 0) writer_.begin(family.name, family.type, family.help);
  const std::size_t count = family.count(snapshot_);
  for (std::size_t written = 0; item_ < count && written < kItemsPerPiece; ++item_, ++written) {
    family.write(snapshot_, item_, writer_);
  }
  if (item_ >= count) {
    ++family_;
    item_ = 0;
  }
  return true;
}

std::string_view content_type_of(MetricsFormat format) {
  return format == MetricsFormat::kOpenMetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                               : "text/plain; version=0.0.4; charset=utf-8";
}

// A client that accepts everything gets the older format, which every reader knows.
MetricsFormat format_for(std::string_view accept) {
  const int open = http::quality_of(accept, "application", "openmetrics-text");
  const int plain = http::quality_of(accept, "text", "plain");
  const bool is_named = accept.find("application/openmetrics-text") != std::string_view::npos;
  return is_named && open > 0 && open >= plain ? MetricsFormat::kOpenMetrics : MetricsFormat::kPrometheus;
}

}  // namespace blockexport::control

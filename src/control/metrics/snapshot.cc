#include "control/metrics/snapshot.h"

#include <algorithm>

#include "control/core/control.h"
#include "control/core/named_reactors.h"

namespace blockexport::control {
namespace {

// Series of one client: two for each operation, and its requests in flight.
constexpr std::size_t kSeriesPerClient = 2 * exports::kVerbs + 1;

ClientValues values_of(const exports::Export& used, const exports::ServedClient& client) {
  const exports::ClientCounters& counters = client.counters();
  ClientValues values{.number = client.description().number,
                      .peer = client.description().peer,
                      .export_id = used.id(),
                      .in_flight = counters.in_flight.load()};
  for (std::size_t verb = 0; verb < exports::kVerbs; ++verb) {
    values.operations[verb] = counters.operations[verb].load();
    values.bytes[verb] = counters.bytes[verb].load();
  }
  return values;
}

void collect_exports(Control& control, Snapshot& snapshot) {
  const std::vector<exports::Export*> all = control.exports().list();
  snapshot.exports.reserve(all.size());
  for (exports::Export* one : all) {
    ExportValues values{.id = one->id(), .totals = one->counters().totals()};
    for (const exports::ServedClient* client : one->clients()) {
      ++values.clients;
      values.in_flight += client->counters().in_flight.load();
      if (!snapshot.shows_clients) continue;
      if ((snapshot.clients.size() + 1) * kSeriesPerClient <= kClientSeriesMax) {
        snapshot.clients.push_back(values_of(*one, *client));
      } else {
        snapshot.dropped_series += kSeriesPerClient;
      }
    }
    snapshot.exports.push_back(std::move(values));
  }
}

NodeVerbValues values_of(const block::VerbStatistics& counted) {
  return {.operations = counted.operations() + counted.failed(),
          .failed = counted.failed(),
          .bytes = counted.bytes(),
          .elapsed_ns = counted.total_time_ns()};
}

// Nodes without a name of their user get a new generated one each time.
void collect_nodes(Control& control, Snapshot& snapshot) {
  for (const block::GraphNode& entry : control.graph().nodes()) {
    if (entry.node->name().starts_with('#')) continue;
    const block::NodeStatistics counted = entry.node->statistics();
    snapshot.nodes.push_back(
        {.name = entry.node->name(),
         .verbs = {values_of(counted.read), values_of(counted.write), values_of(counted.write_zeroes),
                   values_of(counted.discard), values_of(counted.flush)}});
  }
}

void collect_servers(Control& control, Snapshot& snapshot) {
  const std::map<std::string, nbd::Server*> running = control.servers().all();
  for (const auto& [id, counters] : control.servers().counters()) {
    ServerValues values{.id = id, .counters = counters};
    if (auto found = running.find(id); found != running.end()) {
      const nbd::ServerState& state = found->second->state();
      values.clients = state.client_count();
      snapshot.handshakes += state.handshakes.size();
    }
    snapshot.servers.push_back(std::move(values));
  }
}

void collect_certificates(Control& control, Snapshot& snapshot) {
  for (const auto& object : control.objects().all()) {
    const net::TlsCredentialsReference credentials = object->tls_credentials();
    if (credentials == nullptr) continue;
    for (const net::TlsExpiry& expiry : credentials->expiries()) {
      snapshot.certificates.push_back(
          {.credentials = object->id(), .file = expiry.file, .not_after_seconds = expiry.unix_seconds});
    }
  }
}

std::vector<ReactorReading> read_reactors(Control& control) {
  std::vector<ReactorReading> readings;
  for (NamedReactor& one : named_reactors(control)) {
    const aio::Reactor& reactor = one.data_reactor->reactor;
    readings.push_back({.name = std::move(one.name), .made_ns = reactor.made_ns(), .busy_ns = reactor.busy_ns()});
  }
  return readings;
}

}  // namespace

Snapshot collect(Control& control, const MetricsSettings& settings, const http::ServerCounters& http,
                 ReactorLoads& loads) {
  Snapshot snapshot{.budget_used_bytes = control.budget().used_bytes(),
                    .budget_limit_bytes = aio::ProcessBudget::kBytesDefault,
                    .http = http,
                    .backend = std::string(control.reactor().backend_name()),
                    .shows_clients = settings.shows_clients};
  collect_exports(control, snapshot);
  collect_nodes(control, snapshot);
  collect_servers(control, snapshot);
  collect_certificates(control, snapshot);
  // All reactors use the same clock.
  snapshot.reactors = loads.take(read_reactors(control), control.reactor().now_ns());
  snapshot.shows_latencies = settings.shows_latencies.value_or(snapshot.exports.size() <= kLatencyExportsMax);
  return snapshot;
}

}  // namespace blockexport::control

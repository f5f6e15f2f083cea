// The page of metrics, from values that no daemon had.
#include "control/metrics/metrics_page.h"

#include <gtest/gtest.h>

#include <set>

namespace blockexport::control {
namespace {

std::string page_of(const Snapshot& snapshot, MetricsFormat format = MetricsFormat::kPrometheus) {
  std::string text;
  MetricsPage page(snapshot, format, text);
  while (page.add_piece()) {
  }
  return text;
}

bool has_line(const std::string& text, const std::string& line) {
  return text.contains("\n" + line + "\n");
}

exports::VerbCounts<std::uint64_t>& counts_of(ExportValues& values, exports::Verb verb) {
  return values.totals.verbs[static_cast<std::size_t>(verb)];
}

TEST(MetricsPageTest, AnExportShowsTheOperationsThatItHasHad) {
  Snapshot snapshot{.shows_latencies = true};
  ExportValues disk{.id = "disk \"0\"", .clients = 2, .in_flight = 3};
  auto& reads = counts_of(disk, exports::Verb::kRead);
  reads.operations = 5;
  reads.bytes = 20'480;
  reads.elapsed_ns = 1'500'000;
  reads.errors[static_cast<std::size_t>(exports::ErrorClass::kIo)] = 1;
  reads.latencies[2] = 5;
  counts_of(disk, exports::Verb::kFlush).operations = 1;
  snapshot.exports.push_back(disk);
  const std::string text = page_of(snapshot);
  const std::string name = "{export=\"disk \\\"0\\\"\"";
  EXPECT_TRUE(has_line(text, "blockexport_export_operations_total" + name + ",op=\"read\"} 5")) << text;
  EXPECT_TRUE(has_line(text, "blockexport_export_operations_total" + name + ",op=\"flush\"} 1"));
  EXPECT_TRUE(has_line(text, "blockexport_export_bytes_total" + name + ",op=\"read\"} 20480"));
  EXPECT_TRUE(has_line(text, "blockexport_export_operation_seconds_total" + name + ",op=\"read\"} 0.0015"));
  EXPECT_TRUE(has_line(text, "blockexport_export_errors_total" + name + ",op=\"read\",errno=\"EIO\"} 1"));
  EXPECT_TRUE(
      has_line(text, "blockexport_export_operation_latency_seconds_bucket" + name + ",op=\"read\",le=\"0.000064\"} 0"));
  EXPECT_TRUE(
      has_line(text, "blockexport_export_operation_latency_seconds_bucket" + name + ",op=\"read\",le=\"0.000256\"} 5"));
  EXPECT_TRUE(has_line(text, "blockexport_export_clients" + name + "} 2"));
  EXPECT_TRUE(has_line(text, "blockexport_export_in_flight" + name + "} 3"));
  EXPECT_FALSE(text.contains("op=\"write\"")) << text;
  EXPECT_FALSE(text.contains("bytes_total" + name + ",op=\"flush\""));
}

TEST(MetricsPageTest, TheLinesOfAFamilyStandTogetherHoweverManyExportsThereAre) {
  Snapshot snapshot;
  for (int i = 0; i < 300; ++i) {
    ExportValues values{.id = std::to_string(i)};
    counts_of(values, exports::Verb::kRead).operations = 1;
    snapshot.exports.push_back(values);
  }
  const std::string text = page_of(snapshot);
  std::set<std::string> described;
  std::size_t samples = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.starts_with("# TYPE ")) EXPECT_TRUE(described.insert(line).second) << line;
    if (line.starts_with("blockexport_export_operations_total{")) ++samples;
  }
  EXPECT_EQ(samples, 300u);
  EXPECT_FALSE(text.contains("_bucket"));
}

TEST(MetricsPageTest, FailuresOfHandshakesAreHitsOfTheirLimits) {
  Snapshot snapshot;
  ServerValues server{.id = "default", .clients = 1};
  server.counters.accepted = 9;
  server.counters.slot_waits = 4;
  server.counters.failed(nbd::HandshakeFailure::kTimeout);
  server.counters.tls_handshakes[{"tls0", "TLS1.3", "AES-256-GCM"}] = 3;
  snapshot.servers.push_back(server);
  const std::string text = page_of(snapshot);
  EXPECT_TRUE(has_line(text, "blockexport_server_accepted_total{server=\"default\"} 9")) << text;
  EXPECT_TRUE(has_line(text, "blockexport_handshake_failures_total{server=\"default\",reason=\"timeout\"} 1"));
  EXPECT_TRUE(has_line(text, "blockexport_limit_hits_total{limit=\"handshake-max-seconds\"} 1"));
  EXPECT_TRUE(has_line(text, "blockexport_limit_hits_total{limit=\"max-connections\"} 4"));
  EXPECT_TRUE(
      has_line(text, "blockexport_tls_handshakes_total{creds=\"tls0\",version=\"TLS1.3\",cipher=\"AES-256-GCM\"} 3"));
}

TEST(MetricsPageTest, AReactorShowsItsLoad) {
  const Snapshot snapshot{.reactors = {{.name = "main", .busy_ratio = 0},
                                       {.name = "iothread io0", .busy_ratio = 1.0 / 3},
                                       {.name = "reactor1", .busy_ratio = 1}}};
  const std::string text = page_of(snapshot);
  EXPECT_TRUE(has_line(text, "blockexport_reactor_busy_ratio{reactor=\"main\"} 0")) << text;
  EXPECT_TRUE(has_line(text, "blockexport_reactor_busy_ratio{reactor=\"iothread io0\"} 0.333333")) << text;
  EXPECT_TRUE(has_line(text, "blockexport_reactor_busy_ratio{reactor=\"reactor1\"} 1")) << text;
}

TEST(MetricsPageTest, TheFormatIsTheOneThatTheClientPrefers) {
  EXPECT_EQ(format_for(""), MetricsFormat::kPrometheus);
  EXPECT_EQ(format_for("*/*"), MetricsFormat::kPrometheus);
  EXPECT_EQ(format_for("text/plain;version=0.0.4"), MetricsFormat::kPrometheus);
  EXPECT_EQ(format_for("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"),
            MetricsFormat::kOpenMetrics);
  EXPECT_EQ(format_for("application/openmetrics-text;q=0.1,text/plain"), MetricsFormat::kPrometheus);
  EXPECT_TRUE(page_of(Snapshot{}, MetricsFormat::kOpenMetrics).ends_with("# EOF\n"));
}

}  // namespace
}  // namespace blockexport::control

// The text of metrics: escapes, numbers, and the differences between the two formats.
#include "control/metrics/sample_writer.h"

#include <gtest/gtest.h>

#include <array>

namespace blockexport::control {
namespace {

std::string escaped(std::string_view value) {
  std::string out;
  append_label_value(out, value);
  return out;
}

TEST(SampleWriterTest, EscapesWhatWouldEndALabel) {
  EXPECT_EQ(escaped("plain name-1"), "plain name-1");
  EXPECT_EQ(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
  EXPECT_EQ(escaped("\xc3\xa9"), "\xc3\xa9");
  EXPECT_EQ(escaped("a\xff"
                    "b"),
            "a\xef\xbf\xbd"
            "b");
  EXPECT_EQ(escaped(std::string_view("\0", 1)), "\xef\xbf\xbd");
}

TEST(SampleWriterTest, WritesSecondsWithoutLossAndWithoutZeros) {
  EXPECT_EQ(seconds_text(0), "0");
  EXPECT_EQ(seconds_text(16'000), "0.000016");
  EXPECT_EQ(seconds_text(1'500'000'000), "1.5");
  EXPECT_EQ(seconds_text(1), "0.000000001");
  EXPECT_EQ(seconds_text(20'000'000'000), "20");
}

TEST(SampleWriterTest, AFamilyIsDescribedBeforeItsFirstSampleOnly) {
  std::string out;
  SampleWriter writer(out, MetricsFormat::kPrometheus);
  writer.begin("empty", MetricType::kGauge, "Nothing.");
  writer.begin("reads", MetricType::kCounter, "Reads.");
  writer.value({{"export", "a"}, {"op", "read"}}, 7);
  writer.seconds({}, 2'000'000'000);
  writer.end();
  EXPECT_EQ(out,
            "# HELP blockexport_reads_total Reads.\n# TYPE blockexport_reads_total counter\n"
            "blockexport_reads_total{export=\"a\",op=\"read\"} 7\nblockexport_reads_total 2\n");
}

TEST(SampleWriterTest, OpenMetricsNamesACounterWithoutItsSuffixAndEndsThePage) {
  std::string out;
  SampleWriter writer(out, MetricsFormat::kOpenMetrics);
  writer.begin("reads", MetricType::kCounter, "Reads.");
  writer.value({}, 7);
  writer.end();
  EXPECT_EQ(out,
            "# HELP blockexport_reads Reads.\n# TYPE blockexport_reads counter\nblockexport_reads_total 7\n# EOF\n");
}

TEST(SampleWriterTest, TheBucketsOfAHistogramAreSums) {
  std::string out;
  SampleWriter writer(out, MetricsFormat::kPrometheus);
  writer.begin("latency_seconds", MetricType::kHistogram, "Time.");
  writer.histogram({{"op", "read"}}, std::array<std::uint64_t, 2>{16'000, 64'000},
                   std::array<std::uint64_t, 3>{1, 2, 3}, 1'000);
  EXPECT_EQ(out,
            "# HELP blockexport_latency_seconds Time.\n# TYPE blockexport_latency_seconds histogram\n"
            "blockexport_latency_seconds_bucket{op=\"read\",le=\"0.000016\"} 1\n"
            "blockexport_latency_seconds_bucket{op=\"read\",le=\"0.000064\"} 3\n"
            "blockexport_latency_seconds_bucket{op=\"read\",le=\"+Inf\"} 6\n"
            "blockexport_latency_seconds_sum{op=\"read\"} 0.000001\n"
            "blockexport_latency_seconds_count{op=\"read\"} 6\n");
}

}  // namespace
}  // namespace blockexport::control

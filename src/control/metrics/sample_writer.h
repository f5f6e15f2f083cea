// SampleWriter: writes metrics in the text format of Prometheus (0.0.4), or as OpenMetrics 1.0.
//
// One metric family at a time, whose lines stand together. The description of a family is written before its first
// sample, so that a family without samples leaves no trace. Appends to a text of the caller. Thread: any.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace blockexport::control {

enum class MetricsFormat : std::uint8_t { kPrometheus, kOpenMetrics };
enum class MetricType : std::uint8_t { kCounter, kGauge, kHistogram };

// The value may be any bytes; it is escaped, and bytes that are no UTF-8 are replaced.
struct Label {
  std::string_view name;
  std::string_view value;
};
using Labels = std::initializer_list<Label>;

class SampleWriter {
 public:
  SampleWriter(std::string& out, MetricsFormat format) : out_(out), format_(format) {}

  // Begins a family. `name` is without the program's prefix, and for a counter without "_total". The texts outlive the
  // family.
  void begin(std::string_view name, MetricType type, std::string_view help);
  // One sample of a counter or gauge.
  void value(Labels labels, std::uint64_t number);
  // The same of a time, which is written in seconds.
  void seconds(Labels labels, std::uint64_t nanoseconds);
  // A number from 0 to 1, with six digits.
  void ratio(Labels labels, double number);
  // A histogram. Bucket i holds `counts[i]` observations of at most `limits_ns[i]`, and more than the bucket before;
  // the last of `counts` has no limit.
  void histogram(Labels labels, std::span<const std::uint64_t> limits_ns, std::span<const std::uint64_t> counts,
                 std::uint64_t sum_ns);
  // The end of the page.
  void end();

 private:
  void describe();
  void open(std::string_view suffix, Labels labels);
  void add_label(const Label& label);
  void close(std::string_view number);

  std::string& out_;
  const MetricsFormat format_;
  std::string_view name_;
  std::string_view help_;
  MetricType type_ = MetricType::kGauge;
  bool is_described_ = false;
  bool has_labels_ = false;
};

// Appends a label's value as it stands between its quotes.
void append_label_value(std::string& out, std::string_view value);

// "1.5", "0.000016": the number of seconds, without superfluous digits.
std::string seconds_text(std::uint64_t nanoseconds);

}  // namespace blockexport::control

#include "control/metrics/sample_writer.h"

#include <fmt/format.h>

#include <iterator>

#include "json/utf8.h"

namespace blockexport::control {
namespace {

constexpr std::string_view kPrefix = "blockexport_";
constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr unsigned kNanosecondDigits = 9;

std::string_view type_name(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kHistogram:
      return "histogram";
  }
  __builtin_unreachable();
}

}  // namespace

void append_label_value(std::string& out, std::string_view value) {
  while (!value.empty()) {
    const json::Utf8Sequence next = json::decode_utf8(value);
    const std::string_view bytes = value.substr(0, next.length);
    value.remove_prefix(next.length);
    if (!next.valid || next.codepoint == 0) {
      json::append_utf8(out, json::kReplacementCharacter);
    } else if (next.codepoint == '\\' || next.codepoint == '"') {
      out += '\\';
      out += bytes;
    } else if (next.codepoint == '\n') {
      out += "\\n";
    } else {
      out += bytes;
    }
  }
}

std::string seconds_text(std::uint64_t nanoseconds) {
  std::string text = fmt::to_string(nanoseconds / kNanosecondsPerSecond);
  std::uint64_t rest = nanoseconds % kNanosecondsPerSecond;
  if (rest == 0) return text;
  unsigned digits = kNanosecondDigits;
  for (; rest % 10 == 0; rest /= 10) --digits;
  fmt::format_to(std::back_inserter(text), ".{:0{}}", rest, digits);
  return text;
}

void SampleWriter::begin(std::string_view name, MetricType type, std::string_view help) {
  name_ = name;
  type_ = type;
  help_ = help;
  is_described_ = false;
}

// OpenMetrics names a counter's family without the suffix of its samples.
void SampleWriter::describe() {
  is_described_ = true;
  const bool has_suffix = type_ == MetricType::kCounter && format_ == MetricsFormat::kPrometheus;
  const std::string_view suffix = has_suffix ? "_total" : "";
  fmt::format_to(std::back_inserter(out_), "# HELP {0}{1}{2} {3}\n# TYPE {0}{1}{2} {4}\n", kPrefix, name_, suffix,
                 help_, type_name(type_));
}

void SampleWriter::open(std::string_view suffix, Labels labels) {
  if (!is_described_) describe();
  out_ += kPrefix;
  out_ += name_;
  out_ += suffix;
  has_labels_ = false;
  for (const Label& label : labels) add_label(label);
}

void SampleWriter::add_label(const Label& label) {
  out_ += has_labels_ ? ',' : '{';
  has_labels_ = true;
  out_ += label.name;
  out_ += "=\"";
  append_label_value(out_, label.value);
  out_ += '"';
}

void SampleWriter::close(std::string_view number) {
  out_ += has_labels_ ? "} " : " ";
  out_ += number;
  out_ += '\n';
}

void SampleWriter::value(Labels labels, std::uint64_t number) {
  open(type_ == MetricType::kCounter ? "_total" : "", labels);
  close(fmt::format_int(number).c_str());
}

void SampleWriter::seconds(Labels labels, std::uint64_t nanoseconds) {
  open(type_ == MetricType::kCounter ? "_total" : "", labels);
  close(seconds_text(nanoseconds));
}

void SampleWriter::ratio(Labels labels, double number) {
  constexpr std::uint64_t kMillionth = kNanosecondsPerSecond / 1'000'000;
  open("", labels);
  close(seconds_text(static_cast<std::uint64_t>(number * 1e6) * kMillionth));
}

void SampleWriter::histogram(Labels labels, std::span<const std::uint64_t> limits_ns,
                             std::span<const std::uint64_t> counts, std::uint64_t sum_ns) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    sum += counts[i];
    open("_bucket", labels);
    add_label({.name = "le", .value = i < limits_ns.size() ? seconds_text(limits_ns[i]) : "+Inf"});
    close(fmt::format_int(sum).c_str());
  }
  open("_sum", labels);
  close(seconds_text(sum_ns));
  open("_count", labels);
  close(fmt::format_int(sum).c_str());
}

void SampleWriter::end() {
  if (format_ == MetricsFormat::kOpenMetrics) out_ += "# EOF\n";
}

}  // namespace blockexport::control

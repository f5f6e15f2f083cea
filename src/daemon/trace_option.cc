#include "daemon/trace_option.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "base/print.h"
#include "base/similar_text.h"
#include "json/option_list.h"
#include "schema/hints.h"

namespace blockexport::daemon {
namespace {

constexpr std::array<std::string_view, 3> kParameters{"enable", "events", "file"};

std::string unknown_event(std::string_view pattern) {
  if (pattern.starts_with('-')) pattern.remove_prefix(1);
  std::string hint = suggest_similar(pattern, Trace::kNames);
  return fmt::format("trace event '{}' does not exist{}{}", pattern, hint.empty() ? "" : "\n", hint);
}

void print_events() {
  for (std::string_view name : Trace::kNames) print(stdout, "{}\n", name);
}

// Applies a file with one pattern per line; lines that begin with '#' are comments. False: the file cannot be read.
bool apply_file(const std::string& path, Trace& trace, const Log& log) {
  std::ifstream file(path);
  if (!file) {
    log.error_in_file(path, errno_text(Errno::last()));
    return false;
  }
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line.starts_with('#') || trace.apply(line)) continue;
    log.warning_in_file(fmt::format("{}:{}", path, number), unknown_event(line));
  }
  return true;
}

}  // namespace

Result<std::optional<int>> run_trace_option(const StartOption& option, Trace& trace, const Log& log) {
  json::OptionList list = json::parse_option_list(option.argument.view(), "enable");
  for (const json::Option& each : list.options) {
    if (each.short_form) log.warning_in_option(option.as_typed, json::deprecation_note(each));
    if (std::ranges::find(kParameters, each.key) == kParameters.end()) {
      return fail(Error(fmt::format("Invalid parameter '{}'", each.key))
                      .with_hint(schema::hint_for_option(each.key, kParameters, "", "")));
    }
  }
  if (const json::Option* enable = list.find("enable"); enable != nullptr && !enable->value.empty()) {
    if (enable->value == "help" || enable->value == "?") {
      print_events();
      return 0;
    }
    if (!trace.apply(enable->value)) log.warning_in_option(option.as_typed, unknown_event(enable->value));
  }
  if (const json::Option* events = list.find("events"); events != nullptr) {
    if (!apply_file(events->value, trace, log)) return 1;
  }
  if (const json::Option* file = list.find("file"); file != nullptr) TRY(trace.write_to_file(file->value));
  return std::nullopt;
}

}  // namespace blockexport::daemon

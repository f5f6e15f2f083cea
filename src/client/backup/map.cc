#include "client/backup/map.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <utility>

#include "base/print.h"
#include "client/backup/export_client.h"
#include "json/writer.h"

namespace blockexport::backup {
namespace {

// `, "description": "TEXT"`, or nothing.
std::string description_member(const std::string& description) {
  if (description.empty()) return {};
  std::string text = ", \"description\": ";
  json::write_string(description, text);
  return text;
}

class MapPrinter {
 public:
  MapPrinter(const MapOptions& options, std::uint64_t size_bytes) : options_(options), size_bytes_(size_bytes) {}

  void add(const MapExtent& extent) {
    if (totals_.contains(extent.flags) || totals_.size() < kTotalledFlagsMax) {
      totals_[extent.flags] += extent.length;
    } else {
      other_bytes_ += extent.length;
    }
    if (options_.totals_only) return;
    const std::string description = describe_flags(options_.context, extent.flags);
    if (!options_.is_json) {
      print(stdout, "{:>10}  {:>10}  {:>3}  {}\n", extent.offset, extent.length, extent.flags, description);
      return;
    }
    print(stdout, "{}{{ \"offset\": {}, \"length\": {}, \"type\": {}{}}}", separator(), extent.offset, extent.length,
          extent.flags, description_member(description));
  }

  void finish() {
    if (options_.is_json) {
      if (options_.totals_only) print_json_totals();
      print(stdout, "{}\n]\n", is_first_ ? "[" : "");
      return;
    }
    if (!options_.totals_only) print(stdout, "\n");
    for (const auto& [flags, bytes] : totals_) {
      print(stdout, "{:>10}  {:>5.1f}%  {:>3}  {}\n", bytes, percent(bytes), flags,
            describe_flags(options_.context, flags));
    }
    if (other_bytes_ > 0) print(stdout, "{:>10}  {:>5.1f}%    -  others\n", other_bytes_, percent(other_bytes_));
  }

 private:
  void print_json_totals() {
    for (const auto& [flags, bytes] : totals_) {
      print(stdout, "{}{{ \"size\": {}, \"percent\": {:g}, \"type\": {}{} }}", separator(), bytes, percent(bytes),
            flags, description_member(describe_flags(options_.context, flags)));
    }
    if (other_bytes_ > 0) {
      print(stdout, "{}{{ \"size\": {}, \"percent\": {:g}, \"type\": null, \"description\": \"others\" }}", separator(),
            other_bytes_, percent(other_bytes_));
    }
  }
  // The text before the next element.
  std::string_view separator() { return std::exchange(is_first_, false) ? "[\n" : ",\n"; }
  double percent(std::uint64_t bytes) const {
    return 100.0 * static_cast<double>(bytes) / static_cast<double>(size_bytes_);
  }

  const MapOptions& options_;
  std::uint64_t size_bytes_;
  bool is_first_ = true;
  std::map<std::uint64_t, std::uint64_t> totals_;
  std::uint64_t other_bytes_ = 0;
};

}  // namespace

Result<> print_map(const MapOptions& options) {
  const std::vector<std::string> contexts{options.context};
  TRY_ASSIGN(auto client, connect_export(options.uri));
  TRY(client->select(contexts));
  const ExportInformation& information = client->information();
  MapPrinter printer(options, information.size_bytes);
  ExtentJoiner joiner;
  StatusQuery query;
  for (std::uint64_t offset = 0; offset < information.size_bytes;) {
    query.offset = offset;
    query.length = std::min(information.size_bytes - offset, information.status_bytes_max);
    TRY(query_status(*client, query, contexts, static_cast<int>(options.timeout_seconds) * 1000));
    for (const StatusEntry& entry : query.contexts.front().entries()) {
      if (auto joined = joiner.add({.offset = offset, .length = entry.length, .flags = entry.flags})) {
        printer.add(*joined);
      }
      offset += entry.length;
    }
    // Nobody reads what is printed, or the disk is full: main() reports it.
    if (std::ferror(stdout) != 0) return {};
  }
  if (auto joined = joiner.finish()) printer.add(*joined);
  printer.finish();
  return {};
}

}  // namespace blockexport::backup

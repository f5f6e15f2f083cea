#include "client/image/check_verb.h"

#include <fmt/format.h>

#include "base/print.h"
#include "client/image/image_graph.h"
#include "drivers/qcow2/check/check.h"
#include "json/writer.h"

namespace blockexport::image {
namespace {

using drivers::qcow2::CheckOptions;
using drivers::qcow2::CheckRepair;
using drivers::qcow2::CheckReport;

CheckRepair repair_of(const std::string& text) {
  if (text.empty()) return CheckRepair::kNone;
  return text == "all" ? CheckRepair::kAll : CheckRepair::kLeaks;
}

void set_unless_zero(json::Object& object, const char* name, std::uint64_t number) {
  if (number != 0) object.set(name, static_cast<std::int64_t>(number));
}

void print_json(const ImageOptions& options, const std::string& format, const CheckReport& report) {
  json::Object object;
  set_unless_zero(object, "image-end-offset", report.image_end_offset);
  set_unless_zero(object, "total-clusters", report.total_clusters);
  set_unless_zero(object, "corruptions", report.corruptions);
  set_unless_zero(object, "corruptions-fixed", report.corruptions_fixed);
  object.set("check-errors", static_cast<std::int64_t>(report.check_errors));
  set_unless_zero(object, "leaks", report.leaks);
  set_unless_zero(object, "leaks-fixed", report.leaks_fixed);
  set_unless_zero(object, "fragmented-clusters", report.fragmented_clusters);
  set_unless_zero(object, "compressed-clusters", report.compressed_clusters);
  set_unless_zero(object, "allocated-clusters", report.allocated_clusters);
  object.set("filename", options.image.text);
  object.set("format", format);
  std::string text;
  json::write_pretty(object, text);
  print(stdout, "{}\n", text);
}

void print_fixed(const CheckReport& report) {
  if (report.corruptions_fixed == 0 && report.leaks_fixed == 0) return;
  print(stdout,
        "The following inconsistencies were found and repaired:\n\n    {} leaked clusters\n    {} corruptions\n\n"
        "Double checking the fixed image now...\n",
        report.leaks_fixed, report.corruptions_fixed);
}

void print_damage(const CheckReport& report) {
  if (report.is_clean()) print(stdout, "No errors were found on the image.\n");
  if (report.corruptions != 0) {
    print(stdout,
          "\n{} errors were found on the image.\n"
          "Data may be corrupted, or further writes to the image may corrupt it.\n",
          report.corruptions);
  }
  if (report.leaks != 0) {
    print(stdout,
          "\n{} leaked clusters were found on the image.\n"
          "This means waste of disk space, but no harm to data.\n",
          report.leaks);
  }
  if (report.check_errors != 0) {
    print(stdout, "\n{} internal errors have occurred during the check.\n", report.check_errors);
  }
}

double percent(std::uint64_t part, std::uint64_t whole) {
  return 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

void print_text(const CheckReport& report) {
  print_fixed(report);
  print_damage(report);
  if (report.total_clusters != 0 && report.allocated_clusters != 0) {
    print(stdout, "{}/{} = {:.2f}% allocated, {:.2f}% fragmented, {:.2f}% compressed clusters\n",
          report.allocated_clusters, report.total_clusters, percent(report.allocated_clusters, report.total_clusters),
          percent(report.fragmented_clusters, report.allocated_clusters),
          percent(report.compressed_clusters, report.allocated_clusters));
  }
  if (report.image_end_offset != 0) print(stdout, "Image end offset: {}\n", report.image_end_offset);
}

int exit_code_of(const CheckReport& report) {
  if (report.check_errors != 0) return 1;
  if (report.corruptions != 0) return kExitCorrupt;
  return report.leaks != 0 ? kExitLeaks : 0;
}

}  // namespace

Result<int> check(const ImageOptions& options) {
  const CheckOptions check_options{.repair = repair_of(options.repair)};
  Access access = options.force_share ? Access::kReadShared : Access::kRead;
  if (check_options.repair != CheckRepair::kNone) {
    if (options.force_share) return fail("A repair writes to the image, so it cannot share it with another writer");
    access = Access::kWrite;
  }
  TRY_ASSIGN(const auto images, ImageGraph::create(options.objects));
  std::string format;
  TRY_ASSIGN(block::Node* const file, images->open_file_of(options.image, access, format));
  if (format != "qcow2") {
    print(stderr, "blockexport: This image format does not support checks\n");
    return kExitNoCheck;
  }
  auto report = images->run(drivers::qcow2::check_image(*file, check_options));
  if (!report) return fail(std::move(report.error()).with_prefix(fmt::format("'{}': ", options.image.text)));
  for (const std::string& finding : report->findings) print(stderr, "{}\n", finding);
  if (report->findings_left_out != 0) print(stderr, "... and {} more\n", report->findings_left_out);
  if (options.wants_json()) {
    print_json(options, format, *report);
  } else if (!options.is_quiet) {
    print_text(*report);
  }
  return exit_code_of(*report);
}

}  // namespace blockexport::image

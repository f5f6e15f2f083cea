#include "client/image/info_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/printable.h"
#include "json/writer.h"
#include "schema/codec.h"

namespace blockexport::image {
namespace {

constexpr std::size_t kShownBytesMax = 4096;
constexpr std::int64_t kSecondsPerHour = 3600;
constexpr std::int64_t kNsPerMs = 1'000'000;

std::string shown(std::string_view name) {
  return std::string(printable(name, kShownBytesMax));
}

std::string date_text(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  if (localtime_r(&time, &parts) == nullptr) return "?";
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

// Members of the JSON of a driver's part, one in each line. The nesting is that of the schema.
void add_value(std::string& text, const json::Value& value, unsigned indent);

void add_named(std::string& text, std::string name, const json::Value& value, unsigned indent) {
  std::ranges::replace(name, '-', ' ');
  text += fmt::format("{:{}}{}:", "", 4 * indent, name);
  add_value(text, value, indent + 1);
}

void add_value(std::string& text, const json::Value& value, unsigned indent) {
  if (const json::Object* object = value.as_object()) {
    text += '\n';
    for (const auto& [name, member] : *object) add_named(text, name, member, indent);
  } else if (const json::Array* list = value.as_array()) {
    text += '\n';
    for (std::size_t i = 0; i < list->size(); ++i) add_named(text, fmt::format("[{}]", i), (*list)[i], indent);
  } else if (const std::string* word = value.as_string()) {
    text += fmt::format(" {}\n", shown(*word));
  } else {
    text += fmt::format(" {}\n", json::to_string(value));
  }
}

std::string backing_text(const schema::ImageInfo& info) {
  std::string text;
  if (info.backing_filename) {
    text = "backing file: " + shown(*info.backing_filename);
    if (info.full_backing_filename && *info.full_backing_filename != *info.backing_filename) {
      text += fmt::format(" (actual path: {})", shown(*info.full_backing_filename));
    }
    text += '\n';
  }
  if (info.backing_filename_format)
    text += fmt::format("backing file format: {}\n", shown(*info.backing_filename_format));
  return text;
}

}  // namespace

std::string snapshots_text(const std::vector<schema::SnapshotInfo>& snapshots) {
  std::string text = fmt::format("Snapshot list:\n{:<10}{:<17}{:>8}{:>20}{:>13}{:>11}\n", "ID", "TAG", "VM SIZE",
                                 "DATE", "VM CLOCK", "ICOUNT");
  for (const schema::SnapshotInfo& one : snapshots) {
    const std::int64_t seconds = one.vm_clock_sec;
    const std::string clock = fmt::format("{:02}:{:02}:{:02}.{:03}", seconds / kSecondsPerHour, seconds / 60 % 60,
                                          seconds % 60, one.vm_clock_nsec / kNsPerMs);
    text += fmt::format("{:<9} {:<16} {:>8}{:>20}{:>13}{:>11}\n", shown(one.id), shown(one.name),
                        size_text(one.vm_state_size), date_text(one.date_sec), clock,
                        one.icount ? fmt::format("{}", *one.icount) : "");
  }
  return text;
}

std::string size_text(std::int64_t bytes) {
  constexpr std::array<std::string_view, 7> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto size = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; size >= 1000 && unit + 1 < kUnits.size(); ++unit) size /= 1024;
  return fmt::format("{:.3g} {}", size, kUnits[unit]);
}

std::string info_text(const schema::ImageInfo& info) {
  std::string text = fmt::format("image: {}\nfile format: {}\nvirtual size: {} ({} bytes)\ndisk size: {}\n",
                                 shown(info.filename), info.format, size_text(info.virtual_size), info.virtual_size,
                                 info.actual_size ? size_text(*info.actual_size) : "unavailable");
  if (info.encrypted.value_or(false)) text += "encrypted: yes\n";
  if (info.cluster_size) text += fmt::format("cluster_size: {}\n", *info.cluster_size);
  if (info.dirty_flag.value_or(false)) text += "cleanly shut down: no\n";
  text += backing_text(info);
  if (info.snapshots) text += snapshots_text(*info.snapshots);
  if (info.format_specific) {
    const json::Value specific = schema::encode(*info.format_specific);
    const json::Object* object = specific.as_object();
    const json::Value* data = object == nullptr ? nullptr : object->find("data");
    if (data != nullptr) {
      text += "Format specific information:";
      add_value(text, *data, 1);
    }
  }
  return text;
}

}  // namespace blockexport::image

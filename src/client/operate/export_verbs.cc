#include "client/operate/export_verbs.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "base/absolute_path.h"
#include "base/clock.h"
#include "base/print.h"
#include "base/printable.h"
#include "client/backup/progress.h"
#include "client/monitor/monitor_client.h"
#include "client/monitor/reply.h"
#include "client/operate/inventory.h"
#include "client/serve/image_probe.h"

namespace blockexport::operate {
namespace {

using monitor::escaped;
using monitor::MonitorClient;

constexpr long kPollNs = 20'000'000;

bool is_letter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool is_id(std::string_view text) {
  if (text.empty() || text.size() > kAddedIdBytesMax || !is_letter(text.front())) return false;
  return std::ranges::all_of(
      text, [](char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'; });
}

// A file of a format that the user names may be readable for the daemon alone: then the daemon tells what it is.
Result<serve::ServedImage> look_at(const AddOptions& options) {
  if (options.format.empty()) return serve::probe_image(options.image);
  serve::ServedImage image{.path = absolute_path(options.image), .detected_format = {}};
  struct stat status{};
  image.is_device = stat(image.path.c_str(), &status) == 0 && S_ISBLK(status.st_mode);
  return image;
}

Result<std::string> chosen_id(const AddOptions& options) {
  std::string id = options.id.empty() ? id_of_file(options.image) : options.id;
  if (is_id(id)) return id;
  if (options.id.empty()) {
    return fail(Error(fmt::format("The name of the file '{}' is no ID", printable(options.image)))
                    .with_hint("Choose one with --id, and with --export-name any name for clients."));
  }
  return fail(fmt::format("'{}' is no ID: it begins with a letter and has up to {} letters, digits, '-', '.' and '_'",
                          printable(id), kAddedIdBytesMax));
}

// Waits until the export is gone. False: it still waits for clients when the time is over.
Result<bool> wait_until_gone(MonitorClient& client, const DelOptions& options) {
  const SystemClock clock;
  const std::uint64_t deadline_ns = clock.now_ns() + std::uint64_t{options.monitor.timeout_seconds} * 1'000'000'000;
  const bool waits_for_clients = options.mode == "hide" || options.mode == "soft";
  for (;;) {
    TRY_ASSIGN(const json::Value exports, client.execute("query-block-exports", {}));
    const auto is_it = [&](const json::Value& one) {
      const json::Object* const entry = one.as_object();
      return entry != nullptr && monitor::text_of(*entry, "id") == options.id;
    };
    if (!std::ranges::any_of(monitor::elements_of(exports), is_it)) return true;
    if (waits_for_clients || clock.now_ns() >= deadline_ns) return false;
    const timespec pause{.tv_sec = 0, .tv_nsec = kPollNs};
    nanosleep(&pause, nullptr);
  }
}

void print_result(const monitor::MonitorOptions& options, json::Object value, const std::string& sentence) {
  if (options.is_json) {
    monitor::print_json(std::move(value));
  } else {
    print(stdout, "{}\n", sentence);
  }
}

// Removes the node, if nothing else uses it. Nothing: it stays, and that is no error.
bool remove_node(MonitorClient& client, const std::string& name) {
  return client.execute("blockdev-del", {{"node-name", name}}).has_value();
}

}  // namespace

std::string id_of_file(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  return is_id(name) ? std::string(name) : std::string();
}

std::optional<std::uint64_t> parse_size(std::string_view text, std::uint64_t present_bytes) {
  const bool is_added = text.starts_with('+');
  if (is_added) text.remove_prefix(1);
  unsigned shift = 0;
  if (text.size() > 1) {
    const std::size_t place = std::string_view("kKmMgGtTpPeE").find(text.back());
    if (place != std::string_view::npos) {
      shift = 10 * (static_cast<unsigned>(place) / 2 + 1);
      text.remove_suffix(1);
    }
  }
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (number > INT64_MAX >> shift) return std::nullopt;
  number <<= shift;
  if (!is_added) return number;
  if (present_bytes > INT64_MAX - number) return std::nullopt;
  return present_bytes + number;
}

Result<> add_export(const AddOptions& options) {
  TRY_ASSIGN(const std::string id, chosen_id(options));
  TRY_ASSIGN(const serve::ServedImage image, look_at(options));
  TRY_ASSIGN(const std::string format, serve::chosen_format(options.format, image));
  const std::string name = options.export_name.empty() ? id : options.export_name;
  const monitor::MonitorOptions& monitor = options.monitor;
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(monitor.path, monitor.timeout_seconds));
  json::Object file{{"driver", image.is_device ? "host_device" : "file"}, {"filename", image.path}};
  TRY(client.execute("blockdev-add", {{"driver", format},
                                      {"node-name", id},
                                      {"read-only", !options.is_writable},
                                      {"discard", "unmap"},
                                      {"file", std::move(file)}}));
  json::Object wanted{
      {"type", "nbd"}, {"id", id}, {"node-name", id}, {"name", name}, {"writable", options.is_writable}};
  if (!options.description.empty()) wanted.set("description", options.description);
  Result<json::Value> added = client.execute("block-export-add", std::move(wanted));
  if (!added) {
    (void)remove_node(client, id);
    return fail(std::move(added.error()));
  }
  print_result(monitor, {{"id", id}, {"node-name", id}, {"name", name}, {"driver", format}},
               fmt::format("{} is exported as '{}'", escaped(image.path), escaped(name)));
  return {};
}

Result<> delete_export(const DelOptions& options) {
  const monitor::MonitorOptions& monitor = options.monitor;
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(monitor.path, monitor.timeout_seconds));
  TRY_ASSIGN(const ExportState state, find_export(client, options.id));
  TRY(client.execute("block-export-del", {{"id", options.id}, {"mode", options.mode}}));
  TRY_ASSIGN(const bool is_gone, wait_until_gone(client, options));
  bool has_node = true;
  if (is_gone && !options.keeps_node && state.node.name == options.id) {
    has_node = !remove_node(client, options.id);
  }
  std::string sentence = fmt::format("'{}' is removed", escaped(options.id));
  if (!is_gone) sentence = fmt::format("'{}' goes when its last client has gone", escaped(options.id));
  if (has_node) sentence += fmt::format("; the node '{}' stays", escaped(state.node.name));
  print_result(monitor, {{"id", options.id}, {"removed", is_gone}, {"node-removed", !has_node}}, sentence);
  return {};
}

Result<> resize_export(const ResizeOptions& options) {
  const monitor::MonitorOptions& monitor = options.monitor;
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(monitor.path, monitor.timeout_seconds));
  TRY_ASSIGN(const ExportState state, find_export(client, options.id));
  const std::optional<std::uint64_t> size_bytes = parse_size(options.size, state.node.size_bytes.value_or(0));
  if (!size_bytes) return fail(fmt::format("'{}' is no size, such as 10G or +1G", printable(options.size)));
  TRY(client.execute("block_resize", {{"node-name", state.node.name}, {"size", *size_bytes}}));
  print_result(monitor, {{"id", options.id}, {"node-name", state.node.name}, {"virtual-size", *size_bytes}},
               fmt::format("'{}' has {} now, of which clients learn when they connect", escaped(options.id),
                           backup::size_text(*size_bytes)));
  return {};
}

}  // namespace blockexport::operate

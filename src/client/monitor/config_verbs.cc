#include "client/monitor/config_verbs.h"

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

#include "base/print.h"
#include "base/printable.h"
#include "json/value.h"
#include "json/writer.h"

namespace blockexport::monitor {
namespace {

// A member of that name as text, with control bytes escaped; "" if there is none.
std::string text_of(const json::Value& value, std::string_view name) {
  const json::Value* member = value.as_object() != nullptr ? value.as_object()->find(name) : nullptr;
  if (member == nullptr) return {};
  const std::string* text = member->as_string();
  std::string plain;
  if (text != nullptr) {
    append_printable(plain, *text, false);
  } else {
    json::write(*member, plain);
  }
  return plain;
}

const json::Array* list_in(const json::Value& reply, std::string_view name) {
  const json::Value* list = reply.as_object() != nullptr ? reply.as_object()->find(name) : nullptr;
  return list != nullptr ? list->as_array() : nullptr;
}

void print_json(const json::Value& value) {
  std::string text;
  json::write(value, text);
  print(stdout, "{}\n", text);
}

std::string origin_of(const json::Value& object) {
  const std::string origin = text_of(object, "origin");
  if (origin != "file") return origin;
  return fmt::format("{}:{}", text_of(object, "file"), text_of(object, "line"));
}

Error wrong_reply() {
  return Error("The daemon's reply has another form than expected");
}

}  // namespace

Result<> show_configuration(const MonitorOptions& options) {
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(options.path, options.timeout_seconds));
  TRY_ASSIGN(const json::Value reply, client.execute("query-config", {}));
  if (options.is_json) {
    print_json(reply);
    return {};
  }
  const json::Array* objects = list_in(reply, "objects");
  if (objects == nullptr) return fail(wrong_reply());
  for (const json::Value& one : *objects) {
    const std::string drift = text_of(one, "drift");
    print(stdout, "{}.{}  {}{}\n", text_of(one, "section"), text_of(one, "id"), origin_of(one),
          drift.empty() ? "" : "  drift: " + drift);
  }
  const std::string error = text_of(reply, "last-error");
  if (!error.empty()) print(stdout, "the last reload failed: {}\n", error);
  return {};
}

Result<> reload_configuration(const ReloadOptions& options) {
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(options.monitor.path, options.monitor.timeout_seconds));
  TRY_ASSIGN(const json::Value reply,
             client.execute("config-reload",
                            json::Object{{"dry-run", options.is_dry_run}, {"disruptive", options.is_disruptive}}));
  if (options.monitor.is_json) {
    print_json(reply);
    return {};
  }
  const json::Array* differences = list_in(reply, "differences");
  if (differences == nullptr) return fail(wrong_reply());
  for (const json::Value& one : *differences) {
    std::string line = fmt::format("{} {}.{}", text_of(one, "action"), text_of(one, "section"), text_of(one, "id"));
    if (const std::string names = text_of(one, "options"); !names.empty()) line += "  " + names;
    const std::string clients = text_of(one, "clients");
    if (!clients.empty() && clients != "0") line += fmt::format("  {} clients", clients);
    print(stdout, "{}\n", line);
  }
  if (differences->empty()) print(stdout, "no differences\n");
  return {};
}

}  // namespace blockexport::monitor

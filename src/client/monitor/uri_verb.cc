#include "client/monitor/uri_verb.h"

#include <fmt/format.h>

#include <cstdio>
#include <string_view>
#include <utility>

#include "base/print.h"
#include "base/printable.h"
#include "json/value.h"
#include "json/writer.h"

namespace blockexport::monitor {
namespace {

// A member of that name that is a string, with control bytes escaped; "" if there is none.
std::string text_of(const json::Object& object, std::string_view name) {
  const json::Value* value = object.find(name);
  const std::string* text = value != nullptr ? value->as_string() : nullptr;
  std::string escaped;
  if (text != nullptr) append_printable(escaped, *text, false);
  return escaped;
}

bool is_of(const json::Value& uri, const std::string& server) {
  const json::Object* object = uri.as_object();
  return object != nullptr && (server.empty() || text_of(*object, "server") == server);
}

Error no_uri(const UriOptions& options) {
  const std::string server = options.server.empty() ? "" : fmt::format(" of the server '{}'", options.server);
  if (options.export_name.empty()) return Error(fmt::format("There is no export with a URI{}", server));
  return Error(fmt::format("The export '{}' has no URI{}", options.export_name, server))
      .with_hint(
          "It does not exist, or is in the view of no server, or its server listens on addresses without a URI. "
          "`blockexport uri` without a name lists all.");
}

}  // namespace

Result<> print_uris(const UriOptions& options) {
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(options.monitor.path, options.monitor.timeout_seconds));
  json::Object arguments;
  if (!options.export_name.empty()) arguments.set("export", options.export_name);
  TRY_ASSIGN(const json::Value answer, client.execute("query-nbd-uris", std::move(arguments)));
  const json::Array* all = answer.as_array();
  if (all == nullptr) return fail("The daemon answered query-nbd-uris with something else than a list");
  json::Array wanted;
  for (const json::Value& uri : *all) {
    if (is_of(uri, options.server)) wanted.push_back(uri);
  }
  if (options.monitor.is_json) {
    std::string text;
    json::write_pretty(json::Value(std::move(wanted)), text);
    print(stdout, "{}\n", text);
    return {};
  }
  if (wanted.empty()) return fail(no_uri(options));
  for (const json::Value& value : wanted) {
    const json::Object& uri = *value.as_object();
    if (!options.export_name.empty()) {
      print(stdout, "{}\n", text_of(uri, "uri"));
    } else {
      print(stdout, "{}  {}  {}\n", text_of(uri, "uri"), text_of(uri, "export"), text_of(uri, "server"));
    }
  }
  return {};
}

}  // namespace blockexport::monitor

#include "client/monitor/qmp_verb.h"

#include <fmt/format.h>

#include "base/print.h"
#include "client/monitor/schema_types.h"
#include "json/keyval.h"
#include "json/parser.h"
#include "json/writer.h"

namespace blockexport::monitor {
namespace {

Result<json::Object> parse_json(const std::string& text) {
  TRY_ASSIGN(json::Value value, json::parse(text));
  if (value.as_object() == nullptr) return fail("The arguments are no JSON object");
  return std::move(*value.as_object());
}

// The words as one tree of strings.
Result<json::Object> parse_words(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    if (word.find('=') == std::string::npos) {
      return fail(fmt::format("'{}' is neither NAME=VALUE nor a JSON object", word));
    }
    // A word is one argument, whatever commas its value has.
    for (const char c : word) text.append(c == ',' ? 2 : 1, c);
    text += ',';
  }
  TRY_ASSIGN(json::Keyval parsed, json::parse_keyval(text));
  return std::move(parsed.options);
}

}  // namespace

Result<> run_qmp(const QmpOptions& options) {
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(options.monitor.path, options.monitor.timeout_seconds));
  json::Object arguments;
  const std::vector<std::string>& words = options.words;
  if (words.size() == 1 && words.front().starts_with('{')) {
    TRY_ASSIGN(arguments, parse_json(words.front()));
  } else if (!words.empty()) {
    TRY_ASSIGN(const json::Value schema, client.execute("query-qmp-schema", {}));
    const SchemaTypes types(schema);
    if (words.size() == 1 && words.front() == "help") {
      TRY_ASSIGN(const std::string text, types.describe(options.command));
      print(stdout, "{}", text);
      return {};
    }
    TRY_ASSIGN(const json::Object tree, parse_words(words));
    TRY_ASSIGN(arguments, types.arguments_of(options.command, tree));
  }
  TRY_ASSIGN(const json::Value value, client.execute(options.command, std::move(arguments)));
  std::string text;
  json::write_pretty(value, text);
  print(stdout, "{}\n", text);
  return {};
}

}  // namespace blockexport::monitor

#include "client/operate/complete.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "base/print.h"
#include "client/monitor/monitor_client.h"
#include "client/monitor/reply.h"
#include "client/operate/inventory.h"

namespace blockexport::operate {
namespace {

using monitor::MonitorClient;

Result<std::vector<std::string>> words_of(const CompleteOptions& options) {
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(options.monitor.path, kCompleteTimeoutSeconds));
  std::vector<std::string> words;
  if (options.kind == "exports") {
    TRY_ASSIGN(const json::Value exports, client.execute("query-block-exports", {}));
    for (const ExportState& state : exports_in(exports, {})) words.push_back(state.id);
  } else if (options.kind == "nodes") {
    TRY_ASSIGN(const std::vector<NodeState> nodes, query_nodes(client));
    for (const NodeState& node : nodes) words.push_back(node.name);
  } else {
    TRY_ASSIGN(const json::Value clients, client.execute("query-export-clients", {}));
    for (const json::Value& one : monitor::elements_of(clients)) {
      const json::Object* const entry = one.as_object();
      const auto number = entry != nullptr ? monitor::count_of(*entry, "client") : std::nullopt;
      if (number) words.push_back(fmt::format("{}", *number));
    }
  }
  return words;
}

bool is_plain(const std::string& word) {
  return !word.empty() &&
         std::ranges::none_of(word, [](char byte) { return static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f; });
}

}  // namespace

void print_completions(const CompleteOptions& options) {
  const Result<std::vector<std::string>> words = words_of(options);
  if (!words) return;
  std::size_t printed = 0;
  for (const std::string& word : *words) {
    if (!is_plain(word)) continue;
    if (printed++ == kCompletionWordsMax) return;
    print(stdout, "{}\n", word);
  }
}

}  // namespace blockexport::operate

#include "client/operate/top.h"

#include <string>
#include <utility>

#include "base/clock.h"
#include "client/monitor/monitor_client.h"
#include "client/operate/client_state.h"
#include "client/operate/inventory.h"
#include "client/operate/terminal.h"
#include "client/operate/top_table.h"
#include "json/writer.h"

namespace blockexport::operate {
namespace {

using monitor::MonitorClient;

Result<TopSample> take_sample(const monitor::MonitorOptions& options) {
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(options.path, options.timeout_seconds));
  TRY_ASSIGN(const json::Value reply, execute_if_known(client, "query-export-clients", {}));
  return TopSample{.time_ns = SystemClock().now_ns(), .clients = clients_in(reply)};
}

std::string text_of(const TopOptions& options, const TopTable& table, const Terminal& terminal) {
  if (options.monitor.is_json) return json::to_string(json::Value(top_value(table))) + "\n";
  std::string text = top_text(table, terminal.columns(), terminal.rows());
  if (!terminal.is_screen()) text += "\n";
  return text;
}

}  // namespace

Result<> show_top(const TopOptions& options) {
  TRY_ASSIGN(TopSample before, take_sample(options.monitor));
  TRY_ASSIGN(Terminal terminal, Terminal::open());
  TopTable table = top_table(before, before);
  // On a screen something is to be seen at once.
  if (terminal.is_screen() && !options.monitor.is_json) (void)terminal.show(text_of(options, table, terminal));
  for (std::uint32_t shown = 0; options.count == 0 || shown < options.count;) {
    const Terminal::Wake wake = terminal.wait(std::uint64_t{options.interval_seconds} * 1'000'000'000);
    if (wake == Terminal::Wake::kEnd) return {};
    if (wake == Terminal::Wake::kTime) {
      TRY_ASSIGN(TopSample after, take_sample(options.monitor));
      table = top_table(before, after);
      before = std::move(after);
      ++shown;
    } else if (options.monitor.is_json) {
      continue;
    }
    if (!terminal.show(text_of(options, table, terminal))) return {};
  }
  return {};
}

}  // namespace blockexport::operate

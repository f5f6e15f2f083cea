#include "client/operate/top_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <tuple>

#include "client/backup/progress.h"
#include "client/monitor/reply.h"
#include "client/operate/table.h"

namespace blockexport::operate {
namespace {

using monitor::escaped;

// Counters only grow; a smaller one belongs to another daemon.
double rate(std::uint64_t before, std::uint64_t after, double seconds) {
  return after > before && seconds > 0 ? static_cast<double>(after - before) / seconds : 0;
}

TopRates rates_of(const ClientState& before, const ClientState& after, double seconds) {
  TopRates rates{.read_bytes = rate(before.read_bytes, after.read_bytes, seconds),
                 .write_bytes = rate(before.write_bytes, after.write_bytes, seconds),
                 .operations = rate(before.operations, after.operations, seconds)};
  rates.all_bytes = rates.read_bytes + rates.write_bytes + rate(before.other_bytes, after.other_bytes, seconds);
  return rates;
}

void add(TopRates& sum, const TopRates& rates) {
  sum.read_bytes += rates.read_bytes;
  sum.write_bytes += rates.write_bytes;
  sum.all_bytes += rates.all_bytes;
  sum.operations += rates.operations;
}

std::string bytes_text(double rate) {
  return rate > 0 ? backup::size_text(static_cast<std::uint64_t>(rate)) + "/s" : "-";
}

std::string number_text(double rate) {
  return rate > 0 ? fmt::format("{:.0f}", rate) : "-";
}

json::Object value_of(const TopRates& rates) {
  return {{"bytes-per-second", rates.all_bytes},
          {"read-bytes-per-second", rates.read_bytes},
          {"write-bytes-per-second", rates.write_bytes},
          {"operations-per-second", rates.operations}};
}

// The line without what is right of the last column. A character may have several bytes.
std::string cut(std::string_view line, std::size_t columns) {
  std::size_t seen = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if ((static_cast<unsigned char>(line[i]) & 0xc0) != 0x80 && ++seen > columns) return std::string(line.substr(0, i));
  }
  return std::string(line);
}

std::string fit(const std::string& text, std::size_t columns, std::size_t rows) {
  std::string fitted;
  std::size_t count = 0;
  for (std::size_t begin = 0; begin < text.size() && (rows == 0 || count < rows); ++count) {
    const std::size_t end = text.find('\n', begin);
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    fitted += (columns == 0 ? std::string(line) : cut(line, columns)) + "\n";
    begin = end + 1;
  }
  return fitted;
}

}  // namespace

TopTable top_table(const TopSample& before, const TopSample& after) {
  TopTable table;
  if (after.time_ns > before.time_ns) table.seconds = static_cast<double>(after.time_ns - before.time_ns) / 1e9;
  std::map<std::uint64_t, const ClientState*> earlier;
  for (const ClientState& state : before.clients) earlier.emplace(state.number, &state);
  std::map<std::string, TopExport> exports;
  const ClientState nothing;
  for (const ClientState& state : after.clients) {
    const auto found = earlier.find(state.number);
    const TopRates rates = rates_of(found != earlier.end() ? *found->second : nothing, state, table.seconds);
    TopExport& sum = exports[state.export_id];
    sum.id = state.export_id;
    ++sum.clients;
    sum.in_flight += state.in_flight;
    add(sum.rates, rates);
    add(table.rates, rates);
    table.clients.push_back({.state = state, .rates = rates});
  }
  for (auto& [id, sum] : exports) table.exports.push_back(std::move(sum));
  const auto order = [](const TopRates& rates) { return std::tuple(-rates.all_bytes, -rates.operations); };
  std::ranges::sort(table.exports, {}, [&](const TopExport& one) {
    return std::tuple_cat(order(one.rates), std::tuple(std::string_view(one.id)));
  });
  std::ranges::sort(table.clients, {}, [&](const TopClient& one) {
    return std::tuple_cat(order(one.rates), std::tuple(one.state.number));
  });
  return table;
}

std::string top_text(const TopTable& table, std::size_t columns, std::size_t rows) {
  std::string text = fmt::format("{} clients of {} exports, read {}, write {}, {} operations/s\n\n",
                                 table.clients.size(), table.exports.size(), bytes_text(table.rates.read_bytes),
                                 bytes_text(table.rates.write_bytes), number_text(table.rates.operations));
  std::vector<TableRow> exports{{"EXPORT", "CLIENTS", "READ", "WRITE", "OPERATIONS/S", "IN FLIGHT"}};
  for (const TopExport& one : table.exports) {
    exports.push_back({escaped(one.id), fmt::format("{}", one.clients), bytes_text(one.rates.read_bytes),
                       bytes_text(one.rates.write_bytes), number_text(one.rates.operations),
                       fmt::format("{}", one.in_flight)});
  }
  std::vector<TableRow> clients{
      {"CLIENT", "EXPORT", "READ", "WRITE", "OPERATIONS/S", "IN FLIGHT", "OLDEST", "PEER", "IDENTITY"}};
  for (const TopClient& one : table.clients) {
    const ClientState& state = one.state;
    clients.push_back({fmt::format("{}", state.number), escaped(state.export_id), bytes_text(one.rates.read_bytes),
                       bytes_text(one.rates.write_bytes), number_text(one.rates.operations),
                       fmt::format("{}", state.in_flight),
                       state.oldest_request_ms ? fmt::format("{} ms", *state.oldest_request_ms) : "-",
                       escaped(state.peer), escaped(state.identity)});
  }
  text += table_text(exports, "<>>>>>") + "\n" + table_text(clients, "><>>>>><<");
  return fit(text, columns, rows);
}

json::Object top_value(const TopTable& table) {
  json::Array exports;
  for (const TopExport& one : table.exports) {
    json::Object value{{"export", one.id}, {"clients", one.clients}, {"in-flight", one.in_flight}};
    for (const auto& [name, member] : value_of(one.rates)) value.set(name, member);
    exports.push_back(std::move(value));
  }
  json::Array clients;
  for (const TopClient& one : table.clients) {
    json::Object value{{"client", one.state.number},
                       {"export", one.state.export_id},
                       {"peer", one.state.peer},
                       {"in-flight", one.state.in_flight}};
    if (!one.state.identity.empty()) value.set("identity", one.state.identity);
    for (const auto& [name, member] : value_of(one.rates)) value.set(name, member);
    clients.push_back(std::move(value));
  }
  json::Object value{{"seconds", table.seconds}};
  for (const auto& [name, member] : value_of(table.rates)) value.set(name, member);
  value.set("exports", std::move(exports));
  value.set("clients", std::move(clients));
  return value;
}

}  // namespace blockexport::operate

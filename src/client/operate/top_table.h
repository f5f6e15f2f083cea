// TopTable: rates of clients and exports between two samples of their counters, and their text. Pure functions; any
// thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/operate/client_state.h"
#include "json/value.h"

namespace blockexport::operate {

// The counters of one moment.
struct TopSample {
  std::uint64_t time_ns = 0;  // of a monotonic clock
  std::vector<ClientState> clients = {};
};

// Rates per second.
struct TopRates {
  double read_bytes = 0;
  double write_bytes = 0;
  double all_bytes = 0;
  double operations = 0;
};

struct TopClient {
  ClientState state = {};
  TopRates rates = {};
};

struct TopExport {
  std::string id = {};
  std::uint64_t clients = 0;
  std::uint64_t in_flight = 0;
  TopRates rates = {};
};

// Those with most bytes first; of equally many, by operations and then by number or ID.
struct TopTable {
  double seconds = 0;  // between the samples
  TopRates rates = {};
  std::vector<TopExport> exports = {};
  std::vector<TopClient> clients = {};
};

// A client that has come in between counts from zero, if `before` is a sample of the same daemon.
TopTable top_table(const TopSample& before, const TopSample& after);

// Lines, each with its end. `columns`, `rows`: of the terminal; 0: without limit.
std::string top_text(const TopTable& table, std::size_t columns, std::size_t rows);
json::Object top_value(const TopTable& table);

}  // namespace blockexport::operate

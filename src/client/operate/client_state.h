// ClientState: a client of an export as query-export-clients tells. Plain values and pure functions; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "json/value.h"

namespace blockexport::operate {

struct ClientState {
  std::uint64_t number = 0;
  std::string server = {};
  std::string export_id = {};
  std::string peer = {};
  std::string identity = {};  // empty: it has proven none
  std::uint64_t since_s = 0;  // since 1970
  std::string phase = {};
  std::string tls_version = {};  // empty: no TLS
  bool is_writable = false;
  std::uint64_t in_flight = 0;
  std::optional<std::uint64_t> oldest_request_ms = {};
  std::uint64_t operations = 0;   // of all kinds
  std::uint64_t read_bytes = 0;   // reads alone
  std::uint64_t write_bytes = 0;  // writes of data and of zeroes
  std::uint64_t other_bytes = 0;  // trims and reads ahead
};

// From the reply, whose numbers are untrusted; entries without a number are left out.
std::vector<ClientState> clients_in(const json::Value& reply);

}  // namespace blockexport::operate

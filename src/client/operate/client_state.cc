#include "client/operate/client_state.h"

#include <string_view>

#include "client/monitor/reply.h"

namespace blockexport::operate {
namespace {

using monitor::count_of;
using monitor::text_of;

std::uint64_t count_or_zero(const json::Object* object, std::string_view name) {
  return object != nullptr ? count_of(*object, name).value_or(0) : 0;
}

}  // namespace

std::vector<ClientState> clients_in(const json::Value& reply) {
  std::vector<ClientState> states;
  for (const json::Value& one : monitor::elements_of(reply)) {
    const json::Object* const entry = one.as_object();
    const std::optional<std::uint64_t> number = entry != nullptr ? count_of(*entry, "client") : std::nullopt;
    if (!number) continue;
    ClientState state{.number = *number,
                      .server = std::string(text_of(*entry, "server")),
                      .export_id = std::string(text_of(*entry, "export")),
                      .peer = std::string(text_of(*entry, "peer")),
                      .identity = std::string(text_of(*entry, "identity")),
                      .since_s = count_of(*entry, "since").value_or(0),
                      .phase = std::string(text_of(*entry, "phase")),
                      .is_writable = monitor::flag_of(*entry, "writable"),
                      .in_flight = count_of(*entry, "in-flight").value_or(0),
                      .oldest_request_ms = count_of(*entry, "oldest-request-ms")};
    if (const json::Object* const tls = monitor::object_of(*entry, "tls")) state.tls_version = text_of(*tls, "version");
    if (const json::Object* const operations = monitor::object_of(*entry, "operations")) {
      for (const auto& [name, value] : *operations) state.operations += count_of(*operations, name).value_or(0);
    }
    const json::Object* const bytes = monitor::object_of(*entry, "bytes");
    state.read_bytes = count_or_zero(bytes, "read");
    state.write_bytes = count_or_zero(bytes, "write") + count_or_zero(bytes, "write-zeroes");
    state.other_bytes = count_or_zero(bytes, "trim") + count_or_zero(bytes, "cache");
    states.push_back(std::move(state));
  }
  return states;
}

}  // namespace blockexport::operate

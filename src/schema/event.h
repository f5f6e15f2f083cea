// make_event(): the JSON message of an event; the generated builders call it. The sender adds the timestamp. Thread:
// any.
#pragma once

#include <optional>
#include <string_view>

#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::schema {

// {"event": name, "data": data}, without data for an event that has none.
json::Value make_event(std::string_view name, std::optional<json::Value> data);

}  // namespace blockexport::schema

// make_event: the message of an event, which the generated builders fill. The timestamp is the sender's to add.
// Thread: any.
#pragma once

#include <optional>
#include <string_view>

#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::schema {

// {"event": name, "data": data}, without data for an event that has none.
json::Value make_event(std::string_view name, std::optional<json::Value> data);

}  // namespace blockexport::schema

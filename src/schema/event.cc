#include "schema/event.h"

namespace blockexport::schema {

json::Value make_event(std::string_view name, std::optional<json::Value> data) {
  json::Object message;
  message.insert("event", name);
  if (data) message.insert("data", std::move(*data));
  return message;
}

}  // namespace blockexport::schema

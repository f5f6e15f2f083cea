#include "client/monitor/reply.h"

#include <cstdio>

#include "base/print.h"
#include "base/printable.h"
#include "json/writer.h"

namespace blockexport::monitor {

std::string_view text_of(const json::Object& object, std::string_view name) {
  const json::Value* value = object.find(name);
  const std::string* text = value != nullptr ? value->as_string() : nullptr;
  return text != nullptr ? std::string_view(*text) : std::string_view();
}

std::optional<std::uint64_t> count_of(const json::Object& object, std::string_view name) {
  const json::Value* value = object.find(name);
  if (value == nullptr) return std::nullopt;
  if (const std::uint64_t* const count = value->as_unsigned()) return *count;
  const std::int64_t* const count = value->as_integer();
  if (count == nullptr || *count < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*count);
}

bool flag_of(const json::Object& object, std::string_view name) {
  const json::Value* value = object.find(name);
  const bool* flag = value != nullptr ? value->as_bool() : nullptr;
  return flag != nullptr && *flag;
}

const json::Object* object_of(const json::Object& object, std::string_view name) {
  const json::Value* value = object.find(name);
  return value != nullptr ? value->as_object() : nullptr;
}

std::span<const json::Value> list_of(const json::Object& object, std::string_view name) {
  const json::Value* value = object.find(name);
  return value != nullptr ? elements_of(*value) : std::span<const json::Value>();
}

std::span<const json::Value> elements_of(const json::Value& value) {
  const json::Array* list = value.as_array();
  return list != nullptr ? std::span<const json::Value>(*list) : std::span<const json::Value>();
}

std::string escaped(std::string_view text) {
  std::string out;
  append_printable(out, text, false);
  return out;
}

void print_json(const json::Value& value) {
  std::string text;
  json::write_pretty(value, text);
  print(stdout, "{}\n", text);
}

}  // namespace blockexport::monitor

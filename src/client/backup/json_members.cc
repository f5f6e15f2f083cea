#include "client/backup/json_members.h"

#include <algorithm>

#include "json/parser.h"
#include "json/writer.h"

namespace blockexport::backup {
namespace {

// A manifest has some twenty members in three levels.
constexpr json::Limits kSmallObject{.message_bytes_max = 64 << 10, .tokens_max = 1024, .nesting_max = 8};

}  // namespace

std::optional<std::uint64_t> count_in(const json::Object& object, std::string_view name) {
  const json::Value* value = object.find(name);
  const std::int64_t* integer = value != nullptr ? value->as_integer() : nullptr;
  if (integer == nullptr || *integer < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*integer);
}

std::optional<std::string> text_in(const json::Object& object, std::string_view name, std::size_t bytes_max) {
  const json::Value* value = object.find(name);
  const std::string* text = value != nullptr ? value->as_string() : nullptr;
  if (text == nullptr || text->size() > bytes_max) return std::nullopt;
  return *text;
}

std::optional<Sha256> sum_in(const json::Object& object, std::string_view name) {
  const auto text = text_in(object, name, 64);
  return text ? sha256_from_hex(*text) : std::nullopt;
}

const json::Object* object_in(const json::Object& object, std::string_view name) {
  const json::Value* value = object.find(name);
  return value != nullptr ? value->as_object() : nullptr;
}

std::optional<json::Object> parse_small_object(std::string_view text) {
  auto parsed = json::parse(text, kSmallObject);
  if (!parsed) return std::nullopt;
  json::Object* object = parsed->as_object();
  if (object == nullptr) return std::nullopt;
  return std::move(*object);
}

bool is_kept_by_json(std::string_view text) {
  std::string written;
  json::write_string(text, written);
  const auto parsed = json::parse(written);
  const std::string* read = parsed ? parsed->as_string() : nullptr;
  return read != nullptr && *read == text;
}

}  // namespace blockexport::backup

#include "client/monitor/schema_types.h"

#include <fmt/format.h>

#include <charconv>
#include <vector>

#include "base/similar_text.h"

namespace blockexport::monitor {
namespace {

std::string_view text_of(const json::Object& object, std::string_view name) {
  const json::Value* const value = object.find(name);
  const std::string* const text = value != nullptr ? value->as_string() : nullptr;
  return text != nullptr ? std::string_view(*text) : std::string_view();
}

std::vector<const json::Object*> objects_of(const json::Object& object, std::string_view name) {
  std::vector<const json::Object*> found;
  const json::Value* const value = object.find(name);
  const json::Array* const list = value != nullptr ? value->as_array() : nullptr;
  if (list == nullptr) return found;
  for (const json::Value& one : *list) {
    if (const json::Object* const element = one.as_object()) found.push_back(element);
  }
  return found;
}

// A suffix of a size as command lines have it; 0: none.
unsigned shift_of(char suffix) {
  const std::size_t place = std::string_view("kKmMgGtTpPeE").find(suffix);
  return place == std::string_view::npos ? 0 : 10 * (static_cast<unsigned>(place) / 2 + 1);
}

Result<json::Value> integer_of(const std::string& text, const std::string& path) {
  const bool is_negative = text.starts_with('-');
  const char* const begin = text.data() + (is_negative ? 1 : 0);
  const char* end = text.data() + text.size();
  unsigned shift = 0;
  if (!is_negative && end - begin > 1) {
    shift = shift_of(end[-1]);
    if (shift != 0) --end;
  }
  std::uint64_t number = 0;
  const auto [at, error] = std::from_chars(begin, end, number);
  const bool is_number = begin != end && error == std::errc() && at == end;
  if (!is_number || number > UINT64_MAX >> shift || (is_negative && number > INT64_MAX)) {
    return fail(fmt::format("{}: '{}' is no integer", path, text));
  }
  if (is_negative) return json::Value(-static_cast<std::int64_t>(number));
  return json::Value(number << shift);
}

Result<json::Value> scalar_of(std::string_view json_type, const std::string& text, const std::string& path) {
  if (json_type == "int") return integer_of(text, path);
  if (json_type == "number") {
    double number = 0;
    const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && at == text.data() + text.size()) return json::Value(number);
    return fail(fmt::format("{}: '{}' is no number", path, text));
  }
  if (json_type == "boolean") {
    if (text == "on" || text == "true" || text == "yes") return json::Value(true);
    if (text == "off" || text == "false" || text == "no") return json::Value(false);
    return fail(fmt::format("{}: '{}' is neither on nor off", path, text));
  }
  if (json_type == "null" && text.empty()) return json::Value(json::Null());
  return json::Value(text);
}

}  // namespace

SchemaTypes::SchemaTypes(const json::Value& schema) {
  const json::Array* const list = schema.as_array();
  if (list == nullptr) return;
  for (const json::Value& one : *list) {
    if (const json::Object* const entry = one.as_object()) types_.emplace(text_of(*entry, "name"), entry);
  }
}

const json::Object* SchemaTypes::find(std::string_view name) const {
  const auto found = types_.find(name);
  return found == types_.end() ? nullptr : found->second;
}

Result<const json::Object*> SchemaTypes::arguments_type(std::string_view command) const {
  const json::Object* const entry = find(command);
  if (entry == nullptr || text_of(*entry, "meta-type") != "command") {
    std::vector<std::string_view> names;
    for (const auto& [name, type] : types_) {
      if (text_of(*type, "meta-type") == "command") names.push_back(name);
    }
    Error error(fmt::format("The daemon has no command '{}'", command));
    if (const auto similar = most_similar(command, names)) {
      error = std::move(error).with_hint(fmt::format("Did you mean '{}'?", *similar));
    }
    return fail(std::move(error));
  }
  const json::Object* const arguments = find(text_of(*entry, "arg-type"));
  if (arguments == nullptr) return fail("The daemon's schema lacks the arguments of the command");
  return arguments;
}

Result<json::Object> SchemaTypes::arguments_of(std::string_view command, const json::Object& words) const {
  TRY_ASSIGN(const json::Object* const type, arguments_type(command));
  TRY_ASSIGN(json::Value arguments, convert_object(*type, words, "", 0));
  return std::move(*arguments.as_object());
}

Result<json::Value> SchemaTypes::convert(std::string_view type, const json::Value& value, const std::string& path,
                                         unsigned depth) const {
  const json::Object* const entry = find(type);
  if (entry == nullptr || depth > kDepthMax) return fail("The daemon's schema cannot be understood");
  const std::string_view kind = text_of(*entry, "meta-type");
  if (kind == "alternate") return convert_alternate(*entry, value, path, depth);
  if (const json::Array* const list = value.as_array()) {
    json::Array converted;
    if (kind != "array") return fail(fmt::format("{} is no list", path));
    for (std::size_t i = 0; i < list->size(); ++i) {
      TRY_ASSIGN(json::Value element,
                 convert(text_of(*entry, "element-type"), (*list)[i], fmt::format("{}.{}", path, i), depth + 1));
      converted.push_back(std::move(element));
    }
    return json::Value(std::move(converted));
  }
  if (const json::Object* const object = value.as_object()) {
    if (kind != "object") return fail(fmt::format("{} has no members", path));
    return convert_object(*entry, *object, path, depth);
  }
  if (kind == "array") return fail(fmt::format("{} is a list: write {}.0=..., {}.1=...", path, path, path));
  if (kind == "object") return fail(fmt::format("{} has members: write {}.NAME=...", path, path));
  const std::string* const text = value.as_string();
  if (text == nullptr || kind != "builtin") return value;
  return scalar_of(text_of(*entry, "json-type"), *text, path);
}

Result<json::Value> SchemaTypes::convert_object(const json::Object& type, const json::Object& words,
                                                const std::string& path, unsigned depth) const {
  std::vector<const json::Object*> members = objects_of(type, "members");
  const std::string_view tag = text_of(type, "tag");
  const json::Value* const chosen = tag.empty() ? nullptr : words.find(tag);
  if (chosen != nullptr && chosen->as_string() != nullptr) {
    for (const json::Object* variant : objects_of(type, "variants")) {
      if (text_of(*variant, "case") != *chosen->as_string()) continue;
      if (const json::Object* const branch = find(text_of(*variant, "type"))) {
        for (const json::Object* member : objects_of(*branch, "members")) members.push_back(member);
      }
    }
  }
  json::Object converted;
  for (const auto& [name, value] : words) {
    const json::Object* found = nullptr;
    for (const json::Object* member : members) {
      if (text_of(*member, "name") == name) found = member;
    }
    if (found == nullptr) {
      converted.set(name, value);
      continue;
    }
    TRY_ASSIGN(json::Value member, convert(text_of(*found, "type"), value,
                                           path.empty() ? name : fmt::format("{}.{}", path, name), depth + 1));
    converted.set(name, std::move(member));
  }
  return json::Value(std::move(converted));
}

Result<json::Value> SchemaTypes::convert_alternate(const json::Object& type, const json::Value& value,
                                                   const std::string& path, unsigned depth) const {
  const std::string_view wanted = value.as_object() != nullptr ? "object" : value.as_array() != nullptr ? "array" : "";
  const json::Object* scalar = nullptr;
  for (const json::Object* member : objects_of(type, "members")) {
    const json::Object* const entry = find(text_of(*member, "type"));
    if (entry == nullptr) continue;
    const std::string_view kind = text_of(*entry, "meta-type");
    if (!wanted.empty() && kind == wanted) return convert(text_of(*member, "type"), value, path, depth + 1);
    if (!wanted.empty() || kind == "object" || kind == "array") continue;
    // A word is a string or a name where the alternate takes one.
    const bool is_text = kind == "enum" || text_of(*entry, "json-type") == "string";
    if (is_text) return value;
    if (text_of(*entry, "json-type") != "null") scalar = member;
  }
  if (scalar == nullptr) return value;
  return convert(text_of(*scalar, "type"), value, path, depth + 1);
}

std::string SchemaTypes::name_of(std::string_view type, unsigned depth) const {
  const json::Object* const entry = find(type);
  if (entry == nullptr || depth > kDepthMax) return "?";
  const std::string_view kind = text_of(*entry, "meta-type");
  if (kind == "builtin") return std::string(text_of(*entry, "json-type"));
  if (kind == "array") return fmt::format("list of {}", name_of(text_of(*entry, "element-type"), depth + 1));
  if (kind == "object") return "object";
  std::string text;
  if (kind == "enum") {
    for (const json::Object* member : objects_of(*entry, "members")) {
      text += fmt::format("{}{}", text.empty() ? "" : "|", text_of(*member, "name"));
    }
    return text;
  }
  for (const json::Object* member : objects_of(*entry, "members")) {
    text += fmt::format("{}{}", text.empty() ? "" : " or ", name_of(text_of(*member, "type"), depth + 1));
  }
  return text;
}

void SchemaTypes::describe_members(const json::Object& type, std::string& text) const {
  for (const json::Object* member : objects_of(type, "members")) {
    const bool is_optional = member->find("default") != nullptr;
    text += fmt::format("  {}{}{}={}\n", is_optional ? "[" : "", text_of(*member, "name"), is_optional ? "]" : "",
                        name_of(text_of(*member, "type"), 0));
  }
}

Result<std::string> SchemaTypes::describe(std::string_view command) const {
  TRY_ASSIGN(const json::Object* const type, arguments_type(command));
  std::string text;
  describe_members(*type, text);
  const std::string_view tag = text_of(*type, "tag");
  for (const json::Object* variant : objects_of(*type, "variants")) {
    const json::Object* const branch = find(text_of(*variant, "type"));
    if (branch == nullptr || objects_of(*branch, "members").empty()) continue;
    text += fmt::format("with {}={}:\n", tag, text_of(*variant, "case"));
    describe_members(*branch, text);
  }
  return text.empty() ? "  no arguments\n" : text;
}

}  // namespace blockexport::monitor

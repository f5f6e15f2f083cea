// parse_toml(): the only file that includes toml++. It is built without exceptions, and the parser returns its error.
#include <cmath>
#include <cstring>

// Deepest nesting of arrays and inline tables that the parser, which recurses, accepts.
#define TOML_MAX_NESTED_VALUES 32
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_HEADER_ONLY 1
// toml++ asserts before some checks of its own what input can violate ("[+x]", for example), and with NDEBUG it lets
// the compiler assume the assertion. Without both, the check behind it finds the error.
#define TOML_ASSERT(condition) static_assert(true)
#include <fmt/format.h>
#pragma push_macro("NDEBUG")
#undef NDEBUG
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

#include "configuration/source_document.h"
#include "configuration/toml_dots.h"

namespace blockexport::configuration {
namespace {

json::Position position_of(const toml::source_region& region) {
  return {.line = region.begin.line, .column = region.begin.column};
}

class Conversion {
 public:
  explicit Conversion(SourceDocument& document) : document_(document) {}

  json::Object object(toml::table& table, const std::string& path, std::size_t depth) {
    json::Object made;
    for (auto&& [key, node] : table) {
      const std::string inner = path_key(path, key.str());
      document_.positions.emplace(inner, position_of(key.source()));
      made.set(std::string(key.str()), value(node, inner, depth + 1));
    }
    return made;
  }

 private:
  json::Value value(toml::node& node, const std::string& path, std::size_t depth) {
    if (depth > kConfigurationDepthMax) {
      return refuse(node, fmt::format("Tables and arrays are nested more than {} deep", kConfigurationDepthMax));
    }
    if (toml::table* table = node.as_table()) return object(*table, path, depth);
    if (toml::array* array = node.as_array()) return list(*array, path, depth);
    if (auto* text = node.as_string()) {
      json::Value copy(std::string_view(text->get()));
      explicit_bzero(text->get().data(), text->get().size());
      return copy;
    }
    if (auto* number = node.as_integer()) return number->get();
    if (auto* truth = node.as_boolean()) return truth->get();
    if (auto* number = node.as_floating_point()) {
      if (std::isfinite(number->get())) return number->get();
      return refuse(node, "No option takes a number that is not finite");
    }
    return refuse(node, "No option takes a date or a time");
  }

  json::Array list(toml::array& array, const std::string& path, std::size_t depth) {
    json::Array made;
    for (std::size_t i = 0; i < array.size(); ++i) {
      const std::string inner = path_key(path, fmt::format("{}", i));
      document_.positions.emplace(inner, position_of(array[i].source()));
      made.push_back(value(array[i], inner, depth + 1));
    }
    return made;
  }

  json::Value refuse(const toml::node& node, std::string message) {
    document_.errors.push_back({.position = position_of(node.source()), .message = std::move(message)});
    return {};
  }

  SourceDocument& document_;
};

// The definition of a key in the text before the second one, which the parser has refused. `name`: the last part of the
// key; the first definition of that name in the text is found by the keys of all tables.
std::optional<json::Position> find_key(toml::table& table, std::string_view name, std::size_t depth) {
  std::optional<json::Position> last;
  auto take = [&last](std::optional<json::Position> found) {
    const bool is_later = found && (!last || found->line > last->line);
    if (is_later) last = found;
  };
  for (auto&& [key, node] : table) {
    if (key.str() == name) take(position_of(key.source()));
    if (toml::table* inner = node.as_table(); inner != nullptr && depth < kConfigurationDepthMax) {
      take(find_key(*inner, name, depth + 1));
    }
  }
  return last;
}

// The part of a message such as "cannot redefine existing string 'disk.name'" that names a member.
std::optional<std::string_view> redefined_name(std::string_view message) {
  const std::size_t start = message.find("cannot redefine existing ");
  if (start == std::string_view::npos) return std::nullopt;
  const std::size_t open = message.find('\'', start);
  const std::size_t close = open == std::string_view::npos ? open : message.find('\'', open + 1);
  if (close == std::string_view::npos) return std::nullopt;
  const std::string_view path = message.substr(open + 1, close - open - 1);
  const std::size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? path : path.substr(dot + 1);
}

DocumentError syntax_error(const toml::parse_error& error, std::string_view text) {
  const std::string_view message = error.description();
  DocumentError made{.position = position_of(error.source()), .message = std::string(message)};
  const std::optional<std::string_view> name = redefined_name(message);
  if (!name) return made;
  std::size_t end = 0;
  for (std::size_t line = 1; line < made.position.line && end != std::string_view::npos; ++line) {
    end = text.find('\n', end == 0 ? 0 : end + 1);
  }
  toml::parse_result before = toml::parse(text.substr(0, end == std::string_view::npos ? text.size() : end));
  if (before) made.other_position = find_key(before.table(), *name, 0);
  return made;
}

}  // namespace

SourceDocument parse_toml(std::string_view text) {
  SourceDocument document;
  if (auto place = find_too_many_dots(text)) {
    document.errors.push_back(
        {.position = *place, .message = fmt::format("A line has more than {} dots outside of strings", kLineDotsMax)});
    return document;
  }
  toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    document.errors.push_back(syntax_error(parsed.error(), text));
    return document;
  }
  document.root = Conversion(document).object(parsed.table(), {}, 0);
  return document;
}

}  // namespace blockexport::configuration

// parse_json(): the value of json::Parser, and the positions of its members by a second pass over the tokens.
#include <fmt/format.h>

#include <charconv>
#include <map>
#include <vector>

#include "configuration/source_document.h"
#include "json/parser.h"

namespace blockexport::configuration {
namespace {

// Follows the tokens of a valid text. The nesting is bounded by that of the parser.
class Positions {
 public:
  Positions(std::string_view text, SourceDocument& document)
      : rest_(text), lexer_(text.size() + 1), document_(document) {}

  void value(const json::Value& value, const std::string& path) {
    if (const json::Object* object = value.as_object()) {
      next();  // {
      members(*object, path);
    } else if (const json::Array* array = value.as_array()) {
      next();  // [
      for (std::size_t i = 0; i < array->size(); ++i) {
        const std::string inner = path_key(path, fmt::format("{}", i));
        document_.positions.emplace(inner, ahead().position);
        this->value((*array)[i], inner);
        next();  // the comma, or the end
      }
      if (array->empty()) next();
    } else {
      next();
    }
  }

 private:
  // A name that occurs twice has been refused by the parser, so the tokens have the order of the members.
  void members(const json::Object& object, const std::string& path) {
    for (const auto& [name, value] : object) {
      const std::string inner = path_key(path, name);
      document_.positions.emplace(inner, ahead().position);
      next();  // the name
      next();  // the colon
      this->value(value, inner);
      next();  // the comma, or the end
    }
    if (object.empty()) next();
  }

  const json::Token& ahead() {
    if (token_.kind == json::TokenKind::kNone) token_ = lexer_.next(rest_);
    if (token_.kind == json::TokenKind::kNone) token_ = lexer_.finish();
    return token_;
  }
  void next() {
    (void)ahead();
    token_ = {};
  }

  std::string_view rest_;
  json::Lexer lexer_;
  json::Token token_;
  SourceDocument& document_;
};

// The place of the first of the first two members that have one name in one object; the parser has found such a pair.
std::optional<json::Position> first_of_duplicates(std::string_view text) {
  json::Lexer lexer(text.size() + 1);
  std::vector<std::map<std::string_view, json::Position>> open;
  json::Token last;
  for (std::string_view rest = text;;) {
    const json::Token token = lexer.next(rest);
    if (token.kind == json::TokenKind::kNone) return std::nullopt;
    if (token.kind == json::TokenKind::kLeftBrace) open.emplace_back();
    if (token.kind == json::TokenKind::kRightBrace && !open.empty()) open.pop_back();
    if (token.kind == json::TokenKind::kColon && last.kind == json::TokenKind::kString && !open.empty()) {
      auto [place, is_new] = open.back().emplace(last.text, last.position);
      if (!is_new) return place->second;
    }
    last = token;
  }
}

// The number that `text` begins with, which is removed together with the colon behind it; nullopt without both.
std::optional<std::size_t> take_number(std::string_view& text) {
  const std::size_t colon = text.find(':');
  std::size_t number = 0;
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  if (std::from_chars(text.data(), text.data() + colon, number).ec != std::errc()) return std::nullopt;
  text.remove_prefix(colon + 1);
  return number;
}

// An error of the parser: "LINE:COLUMN: MESSAGE".
DocumentError syntax_error(std::string_view message, std::string_view text) {
  std::string_view rest = message;
  const std::optional<std::size_t> line = take_number(rest);
  const std::optional<std::size_t> column = line ? take_number(rest) : std::nullopt;
  DocumentError made{.position = {1, 1}, .message = std::string(message)};
  if (column && rest.starts_with(' ')) {
    made = {.position = {*line, *column}, .message = std::string(rest.substr(1))};
  }
  if (message.ends_with("duplicate key")) made.other_position = first_of_duplicates(text);
  return made;
}

}  // namespace

std::string path_key(std::string_view around, std::string_view name) {
  std::string key(around);
  if (!key.empty()) key += '\x1f';
  return key += name;
}

SourceDocument parse_json(std::string_view text) {
  SourceDocument document;
  auto parsed = json::parse(text, {.nesting_max = kConfigurationDepthMax});
  if (!parsed) {
    document.errors.push_back(syntax_error(parsed.error().message(), text));
  } else if (json::Object* root = parsed->as_object()) {
    Positions(text, document).value(*parsed, {});
    document.root = std::move(*root);
  } else {
    document.errors.push_back({.position = {1, 1}, .message = "The file must contain an object"});
  }
  return document;
}

}  // namespace blockexport::configuration

// SourceDocument: the content of one configuration file as a JSON value, with the position of each member.
//
// Made by parse_toml() or parse_json(). Plain values; thread: any, one at a time.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "json/lexer.h"
#include "json/value.h"

namespace blockexport::configuration {

// Deepest nesting of tables and arrays in a file.
inline constexpr std::size_t kConfigurationDepthMax = 32;

// A path of members' names and elements' numbers as one text, which is a key of SourceDocument::positions.
std::string path_key(std::string_view around, std::string_view name);

struct DocumentError {
  json::Position position;
  std::string message;
  // The place of an earlier definition that the message is about.
  std::optional<json::Position> other_position = {};
};

struct SourceDocument {
  json::Object root;
  // By path_key(): position of the member's name, or of the element.
  std::unordered_map<std::string, json::Position> positions;
  // Errors of the syntax, or values that configurations cannot have.
  std::vector<DocumentError> errors;
};

// Parses a file; wipes copies of strings as far as possible, because they may be secrets. Any bytes are allowed.
SourceDocument parse_toml(std::string_view text);
SourceDocument parse_json(std::string_view text);

}  // namespace blockexport::configuration

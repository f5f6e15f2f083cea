#include "json/option_text.h"

#include <algorithm>

namespace blockexport::json {

bool is_help_word(std::string_view word) {
  return word == "help" || word == "?";
}

std::string take_option_value(std::string_view& text) {
  std::string value;
  // The string never reallocates, which would leave a copy of a secret behind.
  value.reserve(text.size());
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    value += text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (!text.starts_with(',')) break;
    value += ',';
    text.remove_prefix(1);
  }
  return value;
}

}  // namespace blockexport::json

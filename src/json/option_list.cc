#include "json/option_list.h"

#include <algorithm>

namespace blockexport::json {
namespace {

// Up to a single comma, which is removed too; two of them are one.
std::string take_value(std::string_view& text) {
  std::string value;
  while (!text.empty()) {
    char c = text.front();
    text.remove_prefix(1);
    if (c == ',') {
      if (text.empty() || text.front() != ',') break;
      text.remove_prefix(1);
    }
    value += c;
  }
  return value;
}

}  // namespace

const Option* OptionList::find(std::string_view key) const {
  auto found = std::find_if(options.rbegin(), options.rend(), [&](const Option& option) { return option.key == key; });
  return found == options.rend() ? nullptr : &*found;
}

OptionList parse_option_list(std::string_view text, std::string_view implied_key) {
  OptionList list;
  bool first = true;
  while (!text.empty()) {
    std::size_t end = text.find_first_of("=,");
    bool has_equals = end != std::string_view::npos && text[end] == '=';
    Option option;
    if (has_equals) {
      option.key = text.substr(0, end);
      text.remove_prefix(end + 1);
      option.value = take_value(text);
    } else if (first && !implied_key.empty()) {
      option.key = implied_key;
      option.value = take_value(text);
    } else {
      option.key = take_value(text);
      option.short_form = true;
      if (option.key == "help" || option.key == "?") {
        list.help = true;
        continue;
      }
      bool negated = option.key.starts_with("no");
      if (negated) option.key.erase(0, 2);
      option.value = negated ? "off" : "on";
    }
    if (first && (option.value == "help" || option.value == "?")) list.help = true;
    first = false;
    list.options.push_back(std::move(option));
  }
  return list;
}

}  // namespace blockexport::json

#include "json/option_list.h"

#include <algorithm>

#include "json/option_text.h"

namespace blockexport::json {
namespace {

// The only key that itself begins with "no"; its short forms are "nodelay" for on and "delay" for off.
constexpr std::string_view kNoDelay = "nodelay";
constexpr std::string_view kDelay = "delay";

Option option_of_flag(std::string_view flag) {
  if (flag == kNoDelay) return {.key = std::string(kNoDelay), .value = "on", .short_form = true};
  if (flag == kDelay) return {.key = std::string(kNoDelay), .value = "off", .short_form = true};
  if (flag.starts_with("no")) return {.key = std::string(flag.substr(2)), .value = "off", .short_form = true};
  return {.key = std::string(flag), .value = "on", .short_form = true};
}

std::string flag_of_option(const Option& option) {
  const bool is_on = option.value == "on";
  if (option.key == kNoDelay) return std::string(is_on ? kNoDelay : kDelay);
  return is_on ? option.key : "no" + option.key;
}

}  // namespace

const Option* OptionList::find(std::string_view key) const {
  auto found =
      std::find_if(options.rbegin(), options.rend(), [key](const Option& option) { return option.key == key; });
  return found == options.rend() ? nullptr : &*found;
}

OptionList parse_option_list(std::string_view text, std::string_view implied_key) {
  OptionList list;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find_first_of("=,"));
    const bool is_bare = word.size() == text.size() || text[word.size()] == ',';
    if (!is_bare) {
      text.remove_prefix(word.size() + 1);
      list.options.push_back({.key = std::string(word), .value = take_option_value(text)});
    } else if (!implied_key.empty()) {
      list.options.push_back({.key = std::string(implied_key), .value = take_option_value(text)});
      list.help = is_help_word(list.options.back().value);
    } else if (is_help_word(word)) {
      list.help = true;
      break;
    } else {
      list.options.push_back(option_of_flag(word));
      text.remove_prefix(std::min(word.size() + 1, text.size()));
    }
    implied_key = {};
  }
  return list;
}

std::string deprecation_note(const Option& option) {
  return "short-form boolean option '" + flag_of_option(option) + "' deprecated\nPlease use " + option.key + "=" +
         option.value + " instead";
}

}  // namespace blockexport::json

#include "json/qemu_opts.h"

#include <algorithm>
#include <ranges>

#include "json/option_text.h"

namespace blockexport::json {
namespace {

QemuOpt flag_option(std::string_view flag) {
  QemuOpt option{.name = std::string(flag), .value = "on", .flag = std::string(flag)};
  // The one name that itself begins with "no".
  if (flag == "nodelay") return option;
  if (flag == "delay") {
    option.name = "nodelay";
    option.value = "off";
  } else if (flag.starts_with("no")) {
    option.name = flag.substr(2);
    option.value = "off";
  }
  return option;
}

template <class Options>
const std::string* value_of(Options&& options, std::string_view name) {
  auto found = std::ranges::find(options, name, &QemuOpt::name);
  return found == std::ranges::end(options) ? nullptr : &found->value;
}

}  // namespace

const std::string* QemuOpts::first(std::string_view name) const {
  return value_of(options, name);
}

const std::string* QemuOpts::last(std::string_view name) const {
  return value_of(std::views::reverse(options), name);
}

QemuOpts parse_qemu_opts(std::string_view text, std::string_view implied_name) {
  QemuOpts result;
  bool implied = !implied_name.empty();
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find_first_of("=,"));
    const bool bare = word.size() == text.size() || text[word.size()] == ',';
    if (!bare) {
      text.remove_prefix(word.size() + 1);
      result.options.push_back({.name = std::string(word), .value = take_option_value(text), .flag = {}});
    } else if (implied) {
      result.options.push_back({.name = std::string(implied_name), .value = take_option_value(text), .flag = {}});
    } else if (is_help_word(word)) {
      result.help_wanted = true;
      break;
    } else {
      result.options.push_back(flag_option(word));
      text.remove_prefix(std::min(word.size() + 1, text.size()));
    }
    implied = false;
  }
  return result;
}

std::string deprecation_note(const QemuOpt& option) {
  if (option.flag.empty()) return {};
  return "short-form boolean option '" + option.flag + "' deprecated\nPlease use " + option.name + "=" + option.value +
         " instead";
}

}  // namespace blockexport::json

#include "daemon/secret_option.h"

namespace blockexport::daemon {

std::string_view secret_in_object_option(std::string_view argument) {
  if (argument.find("secret") == std::string_view::npos) return argument.substr(0, 0);
  if (argument.starts_with('{'))
    return argument.find("data") == std::string_view::npos ? argument.substr(0, 0) : argument;
  for (std::size_t begin = 0; begin < argument.size();) {
    // A pair ends at a single comma; ",," is a comma of the value.
    std::size_t end = begin;
    while (end < argument.size() && (argument[end] != ',' || argument.substr(end).starts_with(",,"))) {
      end += argument[end] == ',' ? 2 : 1;
    }
    const std::string_view pair = argument.substr(begin, end - begin);
    if (constexpr std::string_view kKey = "data="; pair.starts_with(kKey)) return pair.substr(kKey.size());
    begin = end + 1;
  }
  return argument.substr(0, 0);
}

}  // namespace blockexport::daemon

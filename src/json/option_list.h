// OptionList: the older, flat option grammar of --chardev and --trace: "socket,id=c,path=/x,server=on,wait=off".
//
// A pure function, any thread. It cannot fail: which keys there are and what their values mean is for the caller to
// judge, in the order they stand, so that notes and errors come in that order too.
//
//   element   key=value, separated by ','; ",," in a value is one comma
//   first     without '=' it is the value of the implied key
//   flag      an element of no '=': "x" means x=on, "nox" means x=off; out of use, see deprecation_note()
//   help      a flag "help" or "?", or one of them as the implied value; what stands behind the flag does not count
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace blockexport::json {

struct Option {
  std::string key;
  std::string value;
  bool short_form = false;  // was written as a flag
};

struct OptionList {
  std::vector<Option> options;
  bool help = false;

  // The last option of that key, or null.
  const Option* find(std::string_view key) const;
};

// `implied_key` is empty for an option that has none.
OptionList parse_option_list(std::string_view text, std::string_view implied_key);

// The two lines to warn with of an option in short form.
std::string deprecation_note(const Option& option);

}  // namespace blockexport::json

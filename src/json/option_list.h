// OptionList: parser of the older, flat option grammar (QemuOpts) of --chardev and --trace:
// "socket,id=c,path=/x,server=on,wait=off".
//
// A pure function, any thread. It cannot fail: the caller checks keys and values, in their order in the text, so that
// notes and errors come in that order too.
//
//   element   key=value, separated by ','; ",," in a value is one comma
//   first     without '=' it is the value of the implied key
//   flag      an element of no '=': "x" means x=on, "nox" means x=off; deprecated, see deprecation_note()
//   help      a flag "help" or "?", or one of them as the implied value; elements after the flag are ignored
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace blockexport::json {

struct Option {
  std::string key;
  std::string value;
  bool short_form = false;  // written as a flag
};

struct OptionList {
  std::vector<Option> options;
  bool help = false;

  // The last option of that key, or null.
  const Option* find(std::string_view key) const;
};

// `implied_key` is empty for an option that has none.
OptionList parse_option_list(std::string_view text, std::string_view implied_key);

// The two lines of the warning about an option in short form.
std::string deprecation_note(const Option& option);

}  // namespace blockexport::json

// OptionList: the older grammar of --chardev and --trace: "socket,id=c,path=/x,server=on,wait=off".
//
// A flat list; the first element may leave its key out; a bare flag means "on", or with "no" in front "off", which is
// out of use and reported. What the keys mean is the caller's business. Thread: any.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace blockexport::json {

struct Option {
  std::string key;
  std::string value;
  bool short_form = false;  // was written without '='
};

struct OptionList {
  std::vector<Option> options;
  bool help = false;

  // The last option of that key, or null.
  const Option* find(std::string_view key) const;
};

// `implied_key` is empty for an option that has none.
OptionList parse_option_list(std::string_view text, std::string_view implied_key);

}  // namespace blockexport::json

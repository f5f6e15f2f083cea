// Keyval: the command line's "driver=file,filename=a,,b,children.0.node=x" as a tree of objects, arrays and strings.
//
// Pairs are separated by commas; ",," is a comma inside a value; dots in a key descend, and a number in a key is an
// index into an array. The first pair may leave its key out where the option has an implied one. Thread: any.
#pragma once

#include <string_view>

#include "base/error.h"
#include "json/value.h"

namespace blockexport::json {

struct Keyval {
  Object options;
  bool help = false;  // an element "help" or "?" was among them
};

// `implied_key` is empty for an option that has none. Errors name the key as it was typed.
Result<Keyval> parse_keyval(std::string_view text, std::string_view implied_key);

}  // namespace blockexport::json

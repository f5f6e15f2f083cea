// Keyval parser: turns an option text such as "driver=file,filename=a,,b,children.0.driver=x" into a tree of objects
// and arrays.
//
// A pure function, any thread; used for the command line. All leaves are strings, which the schema's decoder
// interprets.
//
//   element   key=value, separated by ','; a last ',' is allowed; ",," in a value is one comma
//   key       fragments joined by '.': names as QAPI has them, or decimal list indexes (not as the first)
//   first     an element of no '=' may stand first when there is an implied key: it is that key's value
//   help      an element "help" or "?" asks for help
#pragma once

#include <cstddef>
#include <string_view>

#include "base/error.h"
#include "json/value.h"

namespace blockexport::json {

// Bytes of one fragment of a key.
inline constexpr std::size_t kKeyFragmentMax = 127;
// Fragments of one key.
inline constexpr std::size_t kKeyFragmentsMax = 1024;

struct Keyval {
  Object options;
  // The text asks for help. Then indexes have not been converted to arrays, nor checked.
  bool help = false;
};

// Errors name the key, up to the faulty fragment: "Expected '=' after parameter 'a'", "Invalid parameter 'a..b'",
// "Parameter 'a.0' missing", "Parameters 'a.*' used inconsistently", "Parameter fragment '...' is too long". Of two
// values for one key the last wins.
Result<Keyval> parse_keyval(std::string_view text, std::string_view implied_key = {});

}  // namespace blockexport::json

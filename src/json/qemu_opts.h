// QemuOpts: the older, flat option grammar, which --chardev still has.
//
// A pure function, any thread. It cannot fail: which names there are and what their values mean is for the caller to
// judge, in the order they stand, so that notes and errors come in that order too.
//
//   element   name=value, separated by ','; ",," in a value is one comma
//   first     without '=' it is the value of the implied name
//   flag      an element of no '=': "x" means x=on, "nox" means x=off (deprecated: see deprecation_note)
//   help      a flag "help" or "?": asks for help; what stands behind it does not count
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace blockexport::json {

struct QemuOpt {
  std::string name;
  std::string value;
  std::string flag;  // as it was written, when it was one; otherwise empty
};

struct QemuOpts {
  std::vector<QemuOpt> options;
  bool help_wanted = false;

  // The value of the first or last option of that name, or null.
  const std::string* first(std::string_view name) const;
  const std::string* last(std::string_view name) const;
};

QemuOpts parse_qemu_opts(std::string_view text, std::string_view implied_name);

// What to warn of when a flag was written as such; two lines. Empty for any other option.
std::string deprecation_note(const QemuOpt& option);

}  // namespace blockexport::json

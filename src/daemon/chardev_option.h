// The option --chardev, whose grammar is older than the schema.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/log.h"
#include "chardev/chardev.h"
#include "json/option_list.h"

namespace blockexport::daemon {

struct ChardevOption {
  std::string id;
  chardev::Options options;
  std::optional<std::string> tls_creds = {};  // of a socket
  std::optional<std::string> tls_authz = {};
};

// Warns through `log`, with the option `as_typed`, about forms that are out of use. Errors: no id, an unknown backend
// or parameter, wrong values.
Result<ChardevOption> read_chardev_option(const json::OptionList& list, std::string_view as_typed, const Log& log);

// What "--chardev help" and "--chardev BACKEND,help" print.
void print_chardev_backends();
void print_chardev_options();

}  // namespace blockexport::daemon

// Parser of the option --chardev, whose grammar is older than the schema. Main thread.
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
  std::optional<std::string> tls_creds = {};  // for a socket
  std::optional<std::string> tls_authz = {};
};

// Logs warnings about deprecated forms, which quote the option `as_typed`. Errors: no id, an unknown backend or
// parameter, wrong values.
Result<ChardevOption> read_chardev_option(const json::OptionList& list, std::string_view as_typed, const Log& log);

// The output of "--chardev help" and of "--chardev BACKEND,help".
void print_chardev_backends();
void print_chardev_options();

}  // namespace blockexport::daemon

// check(): the errors of a decoded configuration that need neither files nor the daemon: malformed ids, references to
// nothing, circles, names used twice, contradictory options.
//
// Pure function; thread: any.
#pragma once

#include <map>
#include <set>
#include <string>

#include "configuration/reading.h"

namespace blockexport::configuration {

// Objects that configuration files have not made, and to which they may refer.
struct Surroundings {
  std::map<std::string, std::string> objects = {};  // type by ID
  std::set<std::string> chardevs = {};
  std::set<std::string> nodes = {};
  std::set<std::string> servers = {};
};

// Adds the errors of the section daemon to `configuration.findings`. They are also among those of check().
void check_process(ReadConfiguration& configuration);

// Adds the errors to `configuration.findings`, which is empty before: the content has been decoded.
void check(ReadConfiguration& configuration, const Surroundings& surroundings);

}  // namespace blockexport::configuration

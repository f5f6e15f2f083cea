// The options --config and --check-config: reading of the configuration before the process serves, its options of the
// process, and the report of a check.
//
// Main thread, before the loop runs.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "configuration/check.h"
#include "daemon/command_line.h"

namespace blockexport::daemon {

// Exit code of --check-config when the files contain errors.
inline constexpr int kConfigurationErrorExit = 2;

// The file of --config, read and decoded but not checked; nullopt without the option. Its options of the process are
// put into `line`, unless the line has them itself.
std::optional<configuration::ReadConfiguration> read_configuration_of(CommandLine& line);

// "FILE:LINE:COLUMN: " of the option that an error of give_up_rights() is about; empty when the line has the option.
std::string place_of_rights(const configuration::ReadConfiguration& read, const CommandLine& line,
                            std::string_view message);

// The options of the log with those of a configuration; `given`: the names of those that the line has itself. Without a
// level it is info, as if the user had asked for it.
LogOptions with_configuration(LogOptions on_line, const std::set<std::string>& given,
                              const schema::LogConfiguration& log);

// The objects that the other options of the line will make, as far as files may refer to them.
configuration::Surroundings surroundings_of(const CommandLine& line);

// --check-config without the parts that need a Control: prints all errors to standard error, or nothing. Returns the
// exit code.
int report_check(configuration::ReadConfiguration& read, const CommandLine& line);

}  // namespace blockexport::daemon

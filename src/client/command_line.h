// run_command_line(): parses and executes the command line of `blockexport`. Main thread.
#pragma once

namespace blockexport::client {

// Exit codes.
inline constexpr int kExitFine = 0;
inline constexpr int kExitFailed = 1;  // the command failed, or the checked credentials have a fault
inline constexpr int kExitUsage = 2;   // the command line is invalid

int run_command_line(int argument_count, char** arguments);

}  // namespace blockexport::client

// The command line of `blockexport`: what it may say, and carrying it out.
#pragma once

namespace blockexport::client {

// Exit codes.
inline constexpr int kExitFine = 0;
inline constexpr int kExitFailed = 1;  // it could not be done, or what was checked has a fault
inline constexpr int kExitUsage = 2;   // the command line cannot be

int run_command_line(int argument_count, char** arguments);

}  // namespace blockexport::client

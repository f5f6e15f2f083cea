// run_command_line(): parses and executes the command line of `blockexport`. Main thread.
#pragma once

namespace blockexport::client {

// Returns an exit code of client/exit_code.h.
int run_command_line(int argument_count, char** arguments);

}  // namespace blockexport::client

// answer_help(): help for one option of the command line: "--blockdev help" lists the drivers, "--blockdev file,help"
// the options of one.
//
// The help is generated from the schema. --chardev and --trace have grammars and help of their own. Main thread.
#pragma once

#include "daemon/command_line.h"

namespace blockexport::daemon {

// Prints the help that `option` requests to standard output. False when it requests none, or has a syntax error.
bool answer_help(const StartOption& option);

}  // namespace blockexport::daemon

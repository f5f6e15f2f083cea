// Help for one option of the command line: "--blockdev help" lists the drivers, "--blockdev file,help" the options of
// one.
//
// What is printed comes from the schema. --chardev and --trace have grammars and help of their own. Main thread.
#pragma once

#include "daemon/command_line.h"

namespace blockexport::daemon {

// Prints the help that `option` asks for, to standard output. False when it asks for none, or is not well-formed.
bool answer_help(const StartOption& option);

}  // namespace blockexport::daemon

#include <signal.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <initializer_list>

#include "base/standard_descriptors.h"
#include "client/command_line.h"
#include "client/exit_code.h"

// The client tool `blockexport`. Credentials are written completely or not at all, so neither a full disk (SIGXFSZ) nor
// a closed pipe (SIGPIPE) may end the process half-way.
int main(int argument_count, char** arguments) {
  blockexport::open_standard_descriptors();
  for (int number : {SIGPIPE, SIGXFSZ}) signal(number, SIG_IGN);
  int exit_code = blockexport::client::run_command_line(argument_count, arguments);
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
  // A reader that has closed the pipe needs no message.
  if (errno != EPIPE) std::fprintf(stderr, "blockexport: cannot write to standard output: %s\n", std::strerror(errno));
  return blockexport::client::kExitFailed;
}

#include <signal.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <initializer_list>

#include "base/standard_descriptors.h"
#include "client/command_line.h"

// Files of credentials are made whole or not at all, so that neither a full disk nor a reader of the output that has
// gone may end the process half-way.
int main(int argument_count, char** arguments) {
  blockexport::open_standard_descriptors();
  for (int number : {SIGPIPE, SIGXFSZ}) signal(number, SIG_IGN);
  int exit_code = blockexport::client::run_command_line(argument_count, arguments);
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
  // Who has closed the pipe wants to hear no more.
  if (errno != EPIPE) std::fprintf(stderr, "blockexport: cannot write to standard output: %s\n", std::strerror(errno));
  return blockexport::client::kExitFailed;
}

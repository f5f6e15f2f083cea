#include "client/command_line.h"

int main(int argument_count, char** arguments) {
  return blockexport::client::run_command_line(argument_count, arguments);
}

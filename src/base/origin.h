// Origin: the maker of an object of the control plane: an option of the command line, a configuration file, or a
// command.
//
// A plain value; thread: any.
#pragma once

namespace blockexport {

enum class Origin {
  kCommand,      // a QMP command
  kCommandLine,  // an option
  kFile,         // a configuration file
};

}  // namespace blockexport

// The exit codes of the tool, and those of results: an error is printed to standard error, with its hint. Main thread.
#pragma once

#include "base/error.h"

namespace blockexport::client {

inline constexpr int kExitFine = 0;
inline constexpr int kExitFailed = 1;  // the command failed, or the checked credentials have a fault
inline constexpr int kExitUsage = 2;   // the command line is invalid

// Prints the error; returns kExitFailed.
int report(const Error& error);
// The exit code that the result is.
int code_of(const Result<int>& done);
// The exit code of a command that prints its results itself.
int code_of(const Result<>& done);

}  // namespace blockexport::client

// fatal(): ends a benchmark program with an error, so that a failed measurement never looks like a result.
//
// Thread: any. Ends the process with status 2 after one line on standard error.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace blockexport::bench {

template <typename... Args>
[[noreturn]] void fatal(fmt::format_string<Args...> text, Args&&... args) {
  fmt::print(stderr, "bench: {}\n", fmt::format(text, std::forward<Args>(args)...));
  std::fflush(stderr);
  std::_Exit(2);
}

}  // namespace blockexport::bench

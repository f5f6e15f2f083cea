// `blockexport serve`: exports images until a signal, or the end of a command: one line from a file to a URI.
//
// It starts blockexportd, which lies beside this program or is found by the PATH, and ends with it. Main thread.
#pragma once

#include "base/error.h"
#include "client/serve/serve_options.h"

namespace blockexport::serve {

// The most milliseconds until the exports of the daemon can be used.
inline constexpr int kStartLimitMs = 60'000;

// The exit code: that of the command of --run, or else of the daemon. An error: it did not start.
Result<int> serve(const ServeOptions& options);

}  // namespace blockexport::serve

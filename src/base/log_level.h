// LogLevel: severity of a log line. Plain values; thread: any.
//
// A log has a threshold, and lines above it are not written.
#pragma once

namespace blockexport {

enum class LogLevel { kError, kWarning, kInfo, kDebug };

}  // namespace blockexport

// LogLevel: severity of a log line; LogSelection: the lines that a log writes. Thread: any.
//
// A log has a threshold, and lines above it are not written. Lines of information about single clients have a switch of
// their own, since qemu-storage-daemon writes none and the default output is compatible with it.
#pragma once

#include <atomic>
#include <optional>
#include <string_view>

namespace blockexport {

enum class LogLevel { kError, kWarning, kInfo, kDebug };

constexpr std::string_view log_level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return "error";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kDebug:
      return "debug";
  }
  __builtin_unreachable();
}

// The level of that name; nothing for another word.
constexpr std::optional<LogLevel> log_level_of(std::string_view name) {
  for (LogLevel level : {LogLevel::kError, LogLevel::kWarning, LogLevel::kInfo, LogLevel::kDebug}) {
    if (name == log_level_name(level)) return level;
  }
  return std::nullopt;
}

// Owned by the logs that share it; it can be changed at any time.
class LogSelection {
 public:
  explicit LogSelection(LogLevel threshold) : threshold_(threshold) {}

  // Called when a user has asked for a level: from then on, lines about single clients are written from level info on.
  void choose(LogLevel threshold) {
    threshold_.store(threshold, std::memory_order_relaxed);
    tells_of_clients_.store(true, std::memory_order_relaxed);
  }
  bool enabled(LogLevel level) const { return level <= threshold_.load(std::memory_order_relaxed); }
  bool tells_of_clients() const {
    return enabled(LogLevel::kInfo) && tells_of_clients_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<LogLevel> threshold_;
  std::atomic<bool> tells_of_clients_ = false;
};

}  // namespace blockexport

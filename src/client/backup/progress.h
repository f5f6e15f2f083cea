// Progress of a copy: a bar on a terminal, or lines for programs, with rate and estimated time.
//
// Writes to a descriptor, at most a few times in a second. Thread: one; a slow reader blocks it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"

namespace blockexport::backup {

struct ProgressState {
  std::uint64_t done_bytes = 0;    // of the disk: copied, or known to need no copy
  std::uint64_t total_bytes = 0;   // of the disk
  std::uint64_t copied_bytes = 0;  // data read from the source
  double rate = 0;                 // of copied_bytes, per second
  double seconds_left = -1;        // estimate; negative: not known
};

// "12 bytes", "1.5 MiB"
std::string size_text(std::uint64_t bytes);
// "0:01:30"
std::string duration_text(double seconds);
// A line without its end, such as " 12% [###      ] 1.2 GiB copied, 310.0 MiB/s, 0:00:29 left", of `columns` at most.
std::string bar_text(const ProgressState& state, unsigned columns);
// A line such as "progress 12.34% done=1 total=2 copied=1 rate=3 eta=4"
std::string line_text(const ProgressState& state);
// A JSON object in a line.
std::string json_text(const ProgressState& state);

class Progress {
 public:
  enum class Form { kNone, kBar, kLines, kJson, kPercent };

  // `wish` is the value of --progress: empty, "true" without a value, or the number of a descriptor, which gets lines
  // like 12/100. A terminal at standard error has a bar without the option. Error: `wish` is no open descriptor.
  static Result<Progress> create(const std::string& wish, bool is_json, std::uint64_t total_bytes);

  Progress(Form form, int fd, std::uint64_t total_bytes, const Clock& clock);

  // Shows the state, if the last time was long ago.
  void update(std::uint64_t done_bytes, std::uint64_t copied_bytes);
  // Shows the end.
  void finish();
  // From now on only a bar is shown: programs read the progress of the copy, not of its verification.
  void show_only_bar();
  // Removes the bar, so that a message can follow.
  void clear();

 private:
  void show(std::uint64_t now_ns);
  void write(std::string_view text) const;

  Form form_;
  int fd_;
  const Clock* clock_;
  ProgressState state_;
  std::uint64_t start_ns_;
  std::uint64_t shown_ns_ = 0;
  // The begin of the interval over which the rate is measured.
  std::uint64_t window_ns_;
  std::uint64_t window_copied_ = 0;
  std::uint64_t window_done_ = 0;
  double done_rate_ = 0;
  int percent_ = -1;
  bool has_bar_ = false;
};

}  // namespace blockexport::backup

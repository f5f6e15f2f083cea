// Terminal: the screen of a command that shows changing text, and the signals and keys that end it.
//
// One at a time, on the main thread. While it exists, SIGINT, SIGTERM, SIGHUP and SIGWINCH are blocked and arrive here.
// On a terminal it uses the alternate screen and reads keys without echo; its end restores both. Elsewhere it only
// waits.
#pragma once

#include <termios.h>

#include <cstddef>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/owned_fd.h"

namespace blockexport::operate {

class Terminal {
 public:
  static Result<Terminal> open();
  Terminal(Terminal&& other) noexcept;
  Terminal& operator=(Terminal&&) = delete;
  ~Terminal();

  // True if standard output is one.
  bool is_screen() const { return is_screen_; }
  // Its size; 0 where there is no screen.
  std::size_t columns() const;
  std::size_t rows() const;
  // Replaces what the screen shows; elsewhere writes it behind what was written. False: nobody reads it any more.
  bool show(const std::string& text);

  enum class Wake { kTime, kResize, kEnd };
  // Waits until the time is over, the size has changed, or a signal or the key q asks for the end.
  Wake wait(std::uint64_t timeout_ns);

 private:
  explicit Terminal(OwnedFd signals) : signals_(std::move(signals)) {}

  OwnedFd signals_;  // a signalfd
  bool is_screen_ = false;
  std::optional<termios> keys_;  // the settings of standard input before
};

}  // namespace blockexport::operate

// Percentage: the progress of an operation on images, as a line on standard output that is written anew, in the form of
// qemu-img's.
//
// Thread: one; a slow reader blocks it.
#pragma once

#include <cstdint>

#include "base/print.h"

namespace blockexport::image {

class Percentage {
 public:
  explicit Percentage(bool is_shown) : is_shown_(is_shown) {}
  // Ends the line.
  ~Percentage() {
    if (shown_ >= 0) print(stdout, "\n");
  }
  Percentage(const Percentage&) = delete;
  Percentage& operator=(const Percentage&) = delete;

  // Shows it if it has changed by a hundredth of a percent.
  void show(std::uint64_t done, std::uint64_t all) {
    if (!is_shown_) return;
    const auto hundredths = static_cast<int>(
        all == 0 ? 10000.0L : 10000.0L * static_cast<long double>(done) / static_cast<long double>(all));
    if (hundredths == shown_) return;
    shown_ = hundredths;
    print(stdout, "    ({}.{:02}/100%)\r", hundredths / 100, hundredths % 100);
    (void)std::fflush(stdout);
  }

 private:
  bool is_shown_;
  int shown_ = -1;
};

}  // namespace blockexport::image

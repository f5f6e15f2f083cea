// CorruptionReport: the log line about an image whose metadata are wrong, once for each open image.
//
// Owned by the image's driver. Thread: any.
#pragma once

#include <atomic>
#include <string_view>

namespace blockexport {
class Log;
}

namespace blockexport::drivers::qcow2 {

class CorruptionReport {
 public:
  // `log`, which may be null, outlives it.
  explicit CorruptionReport(const Log* log) : log_(log) {}

  // Notes that something is wrong, as "L2 table offset 0x1234 unaligned (L1 index: 0)", in the image of `filename`.
  void note(std::string_view filename, std::string_view what);
  bool has_noted() const { return noted_.load(std::memory_order_relaxed); }

 private:
  const Log* log_;
  std::atomic<bool> noted_ = false;
};

}  // namespace blockexport::drivers::qcow2

// CorruptionReport: tells the user that the metadata of an image are wrong: a line in the log, and an event.
//
// Plain value, which the image's driver keeps. Thread: any.
#pragma once

#include <string_view>

#include "block/image_corruption.h"

namespace blockexport {
class Log;
}

namespace blockexport::drivers::qcow2 {

class CorruptionReport {
 public:
  // Both may be null, and outlive it.
  CorruptionReport(const Log* log, block::CorruptionObserver* observer) : log_(log), observer_(observer) {}

  // `filename`: of the image. The message says what is wrong, as "L2 table offset 0x1234 unaligned (L1 index: 0)".
  void tell(std::string_view filename, block::ImageCorruption corruption) const;

  // A program without bitmaps has changed the image, so that those in it are not valid any more.
  void tell_stale_bitmaps(std::string_view filename) const;

  // Another program has changed the image between its opening and the first lock on it.
  void tell_changed(std::string_view filename) const;

 private:
  const Log* log_;
  block::CorruptionObserver* observer_;
};

}  // namespace blockexport::drivers::qcow2

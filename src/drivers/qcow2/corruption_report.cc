#include "drivers/qcow2/corruption_report.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"

namespace blockexport::drivers::qcow2 {

void CorruptionReport::tell(std::string_view filename, block::ImageCorruption corruption) const {
  if (log_ != nullptr) {
    log_->error(fmt::format("qcow2: Image '{}' is corrupt: {}; {}", filename, corruption.message,
                            corruption.is_fatal ? "it is marked as corrupt, and nothing is written to it any more"
                                                : "further corruption of it is not logged"));
  }
  if (observer_ != nullptr) observer_->image_corrupted(std::move(corruption));
}

void CorruptionReport::tell_stale_bitmaps(std::string_view filename) const {
  if (log_ == nullptr) return;
  log_->warning(fmt::format(
      "qcow2: '{}': a program lacking bitmap support modified this file, so all bitmaps are now considered "
      "inconsistent. Some clusters may be leaked; 'blockexport image check --repair leaks' gives them back.",
      filename));
}

void CorruptionReport::tell_changed(std::string_view filename) const {
  if (log_ == nullptr) return;
  log_->error(
      fmt::format("qcow2: Another program changed the image '{}' while it was being opened, so that nothing is "
                  "written to it; remove the node and add it again",
                  filename));
}

}  // namespace blockexport::drivers::qcow2

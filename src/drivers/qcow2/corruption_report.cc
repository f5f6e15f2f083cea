#include "drivers/qcow2/corruption_report.h"

#include <fmt/format.h>

#include "base/log.h"

namespace blockexport::drivers::qcow2 {

void CorruptionReport::note(std::string_view filename, std::string_view what) {
  if (noted_.exchange(true, std::memory_order_relaxed) || log_ == nullptr) return;
  log_->error(fmt::format("qcow2: Image '{}' is corrupt: {}; further corruption of it is not logged", filename, what));
}

}  // namespace blockexport::drivers::qcow2

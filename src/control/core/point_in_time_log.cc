#include "control/core/point_in_time_log.h"

#include <fmt/format.h>

#include "base/error.h"

namespace blockexport::control {

void PointInTimeLog::point_in_time_given_up(std::string_view node_name, Errno cause) {
  log_.warning(fmt::format(
      "node '{}' has given up its point in time, because it could not keep the old bytes of a change: {}. Reads of "
      "that point in time fail from now on; the writers of the disk are not affected",
      node_name, errno_text(cause)));
}

}  // namespace blockexport::control

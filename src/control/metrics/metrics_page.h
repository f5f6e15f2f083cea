// MetricsPage: writes a snapshot as text, in pieces, so that other work of the reactor can run in between.
//
// docs/metrics.md lists the metrics. Thread: any.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "control/metrics/sample_writer.h"
#include "control/metrics/snapshot.h"

namespace blockexport::control {

class MetricsPage {
 public:
  // `snapshot` and `out` outlive it.
  MetricsPage(const Snapshot& snapshot, MetricsFormat format, std::string& out)
      : snapshot_(snapshot), writer_(out, format) {}
  // Appends the next lines; false when the page is complete.
  bool add_piece();

 private:
  const Snapshot& snapshot_;
  SampleWriter writer_;
  std::size_t family_ = 0;
  std::size_t item_ = 0;
};

std::string_view content_type_of(MetricsFormat format);
// The format that a client prefers, by its field Accept.
MetricsFormat format_for(std::string_view accept);

}  // namespace blockexport::control

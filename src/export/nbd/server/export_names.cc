#include "export/nbd/server/export_names.h"

#include <cassert>

namespace blockexport::nbd {

void ExportNames::publish(PublishedExport& added, ExportInfo& info) {
  assert(!contains(info.name));
  info.sequence = ++last_sequence_;
  by_sequence_.emplace(info.sequence, Entry{.published = &added, .info = &info});
  by_name_.emplace(info.name, info.sequence);
  for (Viewer& viewer : viewers_) viewer.published(added, info);
}

void ExportNames::report_change(PublishedExport& changed, const ExportInfo& info) {
  for (Viewer& viewer : viewers_) {
    viewer.withdrawn(info);
    viewer.published(changed, info);
  }
}

void ExportNames::withdraw(const ExportInfo& removed) {
  for (Viewer& viewer : viewers_) viewer.withdrawn(removed);
  by_name_.erase(removed.name);
  by_sequence_.erase(removed.sequence);
}

void ExportNames::join(Viewer& viewer) {
  viewers_.push_back(viewer);
  report_to(viewer);
}

void ExportNames::report_to(Viewer& viewer) {
  for (const auto& [sequence, entry] : by_sequence_) viewer.published(*entry.published, *entry.info);
}

}  // namespace blockexport::nbd

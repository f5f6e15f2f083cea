#include "client/backup/pull_choice.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/printable.h"
#include "client/backup/block_status.h"
#include "client/backup/name_list.h"

namespace blockexport::backup {
Result<std::optional<std::string>> choose_bitmap(const PullOptions& options, const std::vector<std::string>& offered) {
  const bool wants_bitmap = !options.bitmap.empty() || options.is_incremental;
  if (!options.target.empty() && wants_bitmap) {
    return fail(Error("changes alone do not make a raw image")
                    .with_hint("Add them to a directory with --into, and make the image with `blockexport restore`."));
  }
  if (options.is_full && wants_bitmap) return fail("--full contradicts --bitmap and --incremental");
  if (!options.target.empty() || options.is_full) return std::nullopt;
  std::vector<std::string> bitmaps;
  for (const std::string& context : offered) {
    if (context.starts_with(kBitmapContextPrefix)) bitmaps.push_back(context.substr(kBitmapContextPrefix.size()));
  }
  if (!options.bitmap.empty()) {
    if (std::ranges::find(bitmaps, options.bitmap) != bitmaps.end()) return options.bitmap;
    return fail(Error(fmt::format("the export offers no dirty bitmap '{}'", printable(options.bitmap)))
                    .with_hint(bitmaps.empty() ? "It offers none; a full point needs none: use --full."
                                               : fmt::format("It offers: {}", list_names(bitmaps))));
  }
  if (bitmaps.size() > 1) {
    return fail(Error(fmt::format("the export offers several dirty bitmaps: {}", list_names(bitmaps)))
                    .with_hint("Choose one with --bitmap NAME, or make a full point with --full."));
  }
  if (bitmaps.size() == 1) return bitmaps.front();
  if (!options.is_incremental) return std::nullopt;
  return fail(Error("the export offers no dirty bitmap, so no incremental point can be made")
                  .with_hint("Start the backup with a checkpoint to which it is incremental; or make a full point."));
}

Result<> check_follows(const PullOptions& options, const Manifest& newest, const std::string& export_name,
                       std::uint64_t disk_bytes, bool is_incremental) {
  if (newest.export_name != export_name && !options.accepts_other_export) {
    return fail(Error(fmt::format("'{}' has points of the export '{}', and this is '{}'", options.directory,
                                  printable(newest.export_name), printable(export_name)))
                    .with_hint("Use one directory for each disk; if it is the same disk under another name, add "
                               "--other-export."));
  }
  if (!is_incremental || disk_bytes >= newest.disk_bytes) return {};
  return fail(Error(fmt::format("the export has {} bytes, and point {}, on which the changes are based, has {}",
                                disk_bytes, id_of(newest.number), newest.disk_bytes))
                  .with_hint("A disk that became smaller needs a full point: use --full."));
}

}  // namespace blockexport::backup

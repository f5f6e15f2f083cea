// Conversion of the schema's options to those of each driver, and the check of options that a reopen cannot change.
// Pure functions; any thread.
#pragma once

#include <optional>
#include <string_view>

#include "base/error.h"
#include "block/node_options.h"
#include "drivers/blkdebug/blkdebug_options.h"
#include "drivers/copy_before_write/copy_before_write_options.h"
#include "drivers/file/file_options.h"
#include "drivers/null/null_options.h"
#include "drivers/raw/raw_options.h"
#include "schema/block_core.h"

namespace blockexport::drivers {

FileOptions file_options(const schema::BlockdevOptionsFile& options, const block::NodeOptions& node_options,
                         FileType type);

// The rules of the options alone, without those of a file.
Result<BlkdebugOptions> blkdebug_options(const schema::BlockdevOptionsBlkdebug& options);

// `format_name`: "null-co" or "null-aio".
Result<NullOptions> null_options(const schema::BlockdevOptionsNull& options, std::string_view format_name);

Result<RawOptions> raw_options(const schema::BlockdevOptionsRaw& options);

Result<CopyBeforeWriteOptions> copy_before_write_options(const schema::BlockdevOptionsCbw& options);
// For a reopen: the bitmap was read when the node was made.
Result<> check_same_bitmap(const schema::BlockdevOptionsCbw& before, const schema::BlockdevOptionsCbw& after);

// For a reopen: fails unless an option that cannot change has its old value. `name` is that of the option.
template <class T>
Result<> check_unchanged(std::string_view name, const std::optional<T>& before, const std::optional<T>& after);

// The error of check_unchanged.
Error changed_option(std::string_view name, bool left_out);

template <class T>
Result<> check_unchanged(std::string_view name, const std::optional<T>& before, const std::optional<T>& after) {
  if (before == after) return {};
  return fail(changed_option(name, !after.has_value()));
}

}  // namespace blockexport::drivers

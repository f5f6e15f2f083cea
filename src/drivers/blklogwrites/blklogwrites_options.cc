#include "drivers/blklogwrites/blklogwrites_options.h"

namespace blockexport::drivers {

Result<BlklogwritesOptions> blklogwrites_options(const schema::BlockdevOptionsBlklogwrites& options) {
  BlklogwritesOptions plain;
  plain.append = options.log_append.value_or(false);
  if (plain.append && options.log_sector_size) return fail("log-append and log-sector-size are mutually exclusive");
  plain.sector_bytes = options.log_sector_size.value_or(plain.sector_bytes);
  plain.super_interval = options.log_super_update_interval.value_or(plain.super_interval);
  return plain;
}

}  // namespace blockexport::drivers

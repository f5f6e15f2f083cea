// Replaces nbd_export_client.cc in a build without libnbd (-DBLOCKEXPORT_LIBNBD=OFF).
#include "client/backup/export_client.h"

namespace blockexport::backup {

Result<std::unique_ptr<ExportClient>> connect_export(const std::string&) {
  return fail(Error("cannot connect to an NBD server: this blockexport was built without libnbd")
                  .with_hint("The commands map and pull need a blockexport that was configured with "
                             "-DBLOCKEXPORT_LIBNBD=ON (the default), and libnbd. Debian: apt install libnbd-dev"));
}

}  // namespace blockexport::backup

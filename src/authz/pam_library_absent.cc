// Replaces pam_library.cc in a build without PAM (-DBLOCKEXPORT_PAM=OFF).
#include "authz/pam_library.h"

namespace blockexport::authz {

Result<PamLibrary> load_pam(const char*) {
  return fail(Error("cannot use PAM: this blockexportd was built without it")
                  .with_hint("authz-pam needs a blockexportd that was configured with -DBLOCKEXPORT_PAM=ON (the "
                             "default), and the library of Linux-PAM. Debian: apt install libpam0g libpam-modules"));
}

}  // namespace blockexport::authz

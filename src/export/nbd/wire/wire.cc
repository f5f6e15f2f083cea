#include "export/nbd/wire/wire.h"

namespace blockexport::nbd {

NbdError nbd_error(Errno error) {
  switch (error.value()) {
    case EPERM:
    case EROFS:
      return NbdError::kNotPermitted;
    case EIO:
      return NbdError::kIo;
    case ENOMEM:
      return NbdError::kNoMemory;
    case EDQUOT:
    case EFBIG:
    case ENOSPC:
      return NbdError::kNoSpace;
    case EOVERFLOW:
      return NbdError::kOverflow;
    case ENOTSUP:
#if EOPNOTSUPP != ENOTSUP
    case EOPNOTSUPP:
#endif
      return NbdError::kNotSupported;
    case ESHUTDOWN:
      return NbdError::kShutdown;
    default:
      return NbdError::kInvalid;
  }
}

}  // namespace blockexport::nbd

#include "export/nbd/wire/export_info.h"

namespace blockexport::nbd {

std::uint16_t transmission_flags(const ExportInfo& info, HeaderMode mode, bool payload_filter) {
  using namespace transmission_flag;
  unsigned flags = kHasFlags;
  const auto set_if = [&flags](bool wanted, std::uint16_t flag) { flags |= wanted ? flag : 0u; };
  set_if(info.read_only, kReadOnly);
  set_if(info.can_flush, kSendFlush);
  set_if(info.can_fua, kSendFua);
  set_if(info.rotational, kRotational);
  set_if(info.can_cache, kSendCache);
  set_if(info.multi_conn, kCanMultiConn);
  if (!info.read_only) {
    set_if(info.can_trim, kSendTrim);
    set_if(info.can_write_zeroes, kSendWriteZeroes);
    set_if(info.can_write_zeroes && info.can_fast_zero, kSendFastZero);
  }
  set_if(mode != HeaderMode::kSimple, kSendDontFragment);
  set_if(mode == HeaderMode::kExtended && payload_filter, kBlockStatusPayload);
  return static_cast<std::uint16_t>(flags);
}

}  // namespace blockexport::nbd

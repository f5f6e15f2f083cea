#include "drivers/foreign/format/probe.h"

#include "drivers/foreign/format/parallels_format.h"
#include "drivers/foreign/format/vdi_format.h"
#include "drivers/foreign/format/vhdx_format.h"
#include "drivers/foreign/format/vmdk_descriptor.h"
#include "drivers/foreign/format/vmdk_sparse.h"
#include "drivers/foreign/format/vpc_format.h"

namespace blockexport::drivers::foreign {

std::string_view probe_foreign(std::span<const std::byte> bytes) {
  if (is_vdi(bytes)) return "vdi";
  if (is_vpc(bytes)) return "vpc";
  if (is_vhdx(bytes)) return "vhdx";
  if (is_parallels(bytes)) return "parallels";
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (vmdk_magic(bytes) != VmdkMagic::kNone || is_vmdk_descriptor(text)) return "vmdk";
  return {};
}

}  // namespace blockexport::drivers::foreign

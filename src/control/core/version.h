// Version of this program, and of the QEMU whose interface it implements.
#pragma once

#include <string_view>

#include "schema/control.h"

namespace blockexport::control {

inline constexpr std::string_view kProgramVersion = BLOCKEXPORT_VERSION;
// Clients use these numbers to decide which commands and options they may use.
inline constexpr int kCompatibleMajor = 11;
inline constexpr int kCompatibleMinor = 1;
inline constexpr int kCompatibleMicro = 0;

schema::VersionInfo version_info();

}  // namespace blockexport::control

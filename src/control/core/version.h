// What this program is, and which QEMU's interface it matches.
#pragma once

#include <string_view>

#include "schema/control.h"

namespace blockexport::control {

inline constexpr std::string_view kProgramVersion = BLOCKEXPORT_VERSION;
// Clients decide by these numbers what they can ask for.
inline constexpr int kCompatibleMajor = 11;
inline constexpr int kCompatibleMinor = 1;
inline constexpr int kCompatibleMicro = 0;

schema::VersionInfo version_info();

}  // namespace blockexport::control

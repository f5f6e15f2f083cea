// Names of features in the feature name table of an image, for messages about features that this program does not know;
// and the table that a writer puts into new images.
//
// Pure functions over any bytes; any thread. Source: docs/interop/qcow2.rst of QEMU, "Feature name table".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace blockexport::drivers::qcow2 {

inline constexpr std::size_t kFeatureEntryBytes = 48;
inline constexpr std::size_t kFeatureNameBytesMax = 46;

// The names of the bits of `features`, joined by ", ". Bits without a name come last, as one hexadecimal number.
// `table`: the data of the extension; empty when the image has none.
std::string incompatible_feature_names(std::uint64_t features, std::span<const std::byte> table);

// The data of the extension that names all features of the specification.
std::vector<std::byte> encode_feature_names();

}  // namespace blockexport::drivers::qcow2

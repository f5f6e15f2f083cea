#include "drivers/qcow2/format/feature_names.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/printable.h"

namespace blockexport::drivers::qcow2 {
namespace {

enum class FeatureSort : std::uint8_t { kIncompatible = 0, kCompatible = 1, kAutoclear = 2 };

struct FeatureName {
  FeatureSort sort;
  std::uint8_t bit;
  std::string_view name;
};

// The names of the reference, which a user knows from its messages.
constexpr std::array kFeatureNames = {
    FeatureName{FeatureSort::kIncompatible, 0, "dirty bit"},
    FeatureName{FeatureSort::kIncompatible, 1, "corrupt bit"},
    FeatureName{FeatureSort::kIncompatible, 2, "external data file"},
    FeatureName{FeatureSort::kIncompatible, 3, "compression type"},
    FeatureName{FeatureSort::kIncompatible, 4, "extended L2 entries"},
    FeatureName{FeatureSort::kCompatible, 0, "lazy refcounts"},
    FeatureName{FeatureSort::kAutoclear, 0, "bitmaps"},
    FeatureName{FeatureSort::kAutoclear, 1, "raw external data"},
};

}  // namespace

std::string incompatible_feature_names(std::uint64_t features, std::span<const std::byte> table) {
  std::string names;
  ByteReader reader(table);
  while (features != 0 && reader.remaining() >= kFeatureEntryBytes) {
    const std::uint8_t sort = reader.u8();
    const std::uint8_t bit = reader.u8();
    std::string_view name = reader.text(kFeatureNameBytesMax);
    name = name.substr(0, name.find('\0'));
    if (name.empty()) break;
    if (sort != static_cast<std::uint8_t>(FeatureSort::kIncompatible) || bit > 63) continue;
    const std::uint64_t mask = std::uint64_t{1} << bit;
    if ((features & mask) == 0) continue;
    features &= ~mask;
    if (!names.empty()) names += ", ";
    append_printable(names, name, false);
  }
  if (features != 0) {
    if (!names.empty()) names += ", ";
    names += fmt::format("Unknown incompatible feature: {:x}", features);
  }
  return names;
}

std::vector<std::byte> encode_feature_names() {
  std::vector<std::byte> bytes(kFeatureNames.size() * kFeatureEntryBytes);
  for (std::size_t i = 0; i < kFeatureNames.size(); i++) {
    ByteWriter writer(std::span(bytes).subspan(i * kFeatureEntryBytes, kFeatureEntryBytes));
    writer.u8(static_cast<std::uint8_t>(kFeatureNames[i].sort));
    writer.u8(kFeatureNames[i].bit);
    writer.text(kFeatureNames[i].name);
  }
  return bytes;
}

}  // namespace blockexport::drivers::qcow2

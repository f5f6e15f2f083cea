#include "client/serve/image_magic.h"

#include <cstdint>

namespace blockexport::serve {
namespace {

using namespace std::string_view_literals;

enum class Place : std::uint8_t { kBegin, kEnd };

struct Magic {
  std::string_view format;
  std::size_t offset;  // from the begin of that place
  std::string_view bytes;
  Place place = Place::kBegin;
};

// A longer magic number stands before a shorter one that it begins with.
constexpr Magic kMagics[] = {
    {"qcow", 0, "QFI\xfb\0\0\0\1"sv},
    {"qcow2", 0, "QFI\xfb"sv},
    {"vmdk", 0, "KDMV"sv},
    {"vmdk", 0, "COWD"sv},
    {"vmdk", 0, "# Disk DescriptorFile"sv},
    {"vhdx", 0, "vhdxfile"sv},
    {"vpc", 0, "conectix"sv},
    {"vpc", 0, "conectix"sv, Place::kEnd},
    {"qed", 0, "QED\0"sv},
    {"luks", 0, "LUKS\xba\xbe"sv},
    {"parallels", 0, "WithoutFreeSpace"sv},
    {"parallels", 0, "WithouFreSpacExt"sv},
    {"vdi", 64, "\x7f\x10\xda\xbe"sv},
    {"dmg", 0, "koly"sv, Place::kEnd},
    {"gzip", 0, "\x1f\x8b"sv},
    {"xz", 0,
     "\xfd"
     "7zXZ\0"sv},
    {"zstd", 0, "\x28\xb5\x2f\xfd"sv},
    {"bzip2", 0, "BZh"sv},
    {"zip", 0, "PK\3\4"sv},
};

}  // namespace

std::string_view detected_format(std::span<const std::byte> begin, std::span<const std::byte> end) {
  for (const Magic& magic : kMagics) {
    const std::span<const std::byte> bytes = magic.place == Place::kBegin ? begin : end;
    if (bytes.size() < magic.offset + magic.bytes.size()) continue;
    const std::string_view found(reinterpret_cast<const char*>(bytes.data()) + magic.offset, magic.bytes.size());
    if (found == magic.bytes) return magic.format;
  }
  return {};
}

}  // namespace blockexport::serve

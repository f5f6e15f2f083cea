// HeaderExtensions: the optional sections behind the header of a qcow2 image, kept byte for byte and in order.
//
// parse_header_extensions() checks the sections that this program knows, with the texts of qemu-storage-daemon; a
// writer gives back all others as they were read. Pure functions and plain values; any thread. Source:
// docs/interop/qcow2.rst of QEMU, "Header extensions" to "Full disk encryption header pointer".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "drivers/qcow2/format/extension_area.h"
#include "drivers/qcow2/format/header.h"

namespace blockexport::drivers::qcow2 {

inline constexpr std::size_t kBackingFormatBytesMax = 15;
inline constexpr std::uint32_t kBitmapsMax = 65535;
// Largest LUKS header of an image, key slots included.
inline constexpr std::uint64_t kEncryptionHeaderBytesMax = 16u << 20;
inline constexpr std::uint64_t kBitmapDirectoryBytesMax = std::uint64_t{kBitmapsMax} * 1024;

// One section. Its length is a multiple of nothing; the encoder pads it.
struct HeaderExtension {
  std::uint32_t type = 0;
  std::vector<std::byte> data = {};

  friend bool operator==(const HeaderExtension&, const HeaderExtension&) = default;
};

// Content of the bitmaps extension.
struct BitmapsExtension {
  std::uint32_t bitmaps = 0;  // at least 1
  std::uint64_t directory_bytes = 0;
  std::uint64_t directory_offset = 0;

  friend bool operator==(const BitmapsExtension&, const BitmapsExtension&) = default;
};

// Content of the full disk encryption header pointer.
struct EncryptionExtension {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;

  friend bool operator==(const EncryptionExtension&, const EncryptionExtension&) = default;
};

struct HeaderExtensions {
  std::vector<HeaderExtension> list = {};  // in the order of the file, without the end mark

  // The last section of that type; null: none.
  const HeaderExtension* find(std::uint32_t type) const;
  // A text ends at its first zero byte. nullopt: the section is missing.
  std::optional<std::string> backing_format() const;
  std::optional<std::string> data_file_name() const;
  // nullopt: none, or a program that knows no bitmaps has changed the image, so that they are not valid any more.
  std::optional<BitmapsExtension> bitmaps(const Header& header) const;

  // nullopt: the section is missing.
  std::optional<EncryptionExtension> encryption() const;

  // Replaces the sections of that type by one, in the place of the first; appends it if there is none.
  void set(std::uint32_t type, std::vector<std::byte> data);
  void set_text(std::uint32_t type, std::string_view text);
  void set_bitmaps(const BitmapsExtension& bitmaps);
  void set_encryption(const EncryptionExtension& encryption);
  void remove(std::uint32_t type);

  friend bool operator==(const HeaderExtensions&, const HeaderExtensions&) = default;
};

// `header`: of the same cluster, checked. Bytes that `first_cluster` lacks count as zeros. At most one cluster is kept.
Result<HeaderExtensions> parse_header_extensions(const Header& header, std::span<const std::byte> first_cluster);

// The begin of the file: header, extensions, end mark and the name of the backing file, of at most a cluster. It sets
// the place of the name in `header`; an empty `backing_name` means no backing file. ENOSPC: they do not fit a cluster.
Result<std::vector<std::byte>> encode_file_begin(Header& header, const HeaderExtensions& extensions,
                                                 std::string_view backing_name);

}  // namespace blockexport::drivers::qcow2

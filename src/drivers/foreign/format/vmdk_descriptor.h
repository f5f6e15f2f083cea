// The descriptor of an image of the format VMDK: a text with the kind of the image, the IDs of its content and of its
// parent's, and a line for each extent.
//
// Pure functions of bytes; any thread. The text is untrusted. Source: "Virtual Disk Format 1.1" of VMware, "The
// Descriptor File", as qemu-storage-daemon reads it; so are the errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace blockexport::drivers::foreign {

// A longer descriptor is cut off, as in qemu-storage-daemon.
inline constexpr std::size_t kVmdkDescriptorBytesMax = (1u << 20) - 1;
// The IDs and the parent's name are looked for in this part.
inline constexpr std::size_t kVmdkDescriptorBeginBytesMax = 20 * 512;
inline constexpr std::size_t kVmdkExtentsMax = 400;
inline constexpr std::size_t kVmdkExtentNameBytesMax = 511;
inline constexpr std::size_t kVmdkParentNameBytesMax = 1023;

enum class VmdkExtentType : std::uint8_t { kFlat, kSparse, kVmfs, kVmfsSparse };

struct VmdkExtentLine {
  VmdkExtentType type = VmdkExtentType::kFlat;
  std::string type_name = {};  // as it stands in the line
  std::uint64_t sectors = 0;
  std::string name = {};             // of the file
  std::uint64_t offset_sectors = 0;  // of a flat extent, in the file

  bool is_flat() const { return type == VmdkExtentType::kFlat || type == VmdkExtentType::kVmfs; }
  friend bool operator==(const VmdkExtentLine&, const VmdkExtentLine&) = default;
};

// The begin of a descriptor, which every kind of image has.
struct VmdkIdentity {
  std::uint32_t content_id = 0;
  std::uint32_t parent_content_id = 0;
  std::optional<std::string> parent_name = std::nullopt;
};

// The text of a descriptor: `bytes` up to the first NUL.
std::string_view vmdk_text(std::string_view bytes);

// `text`: the begin of the descriptor.
Result<VmdkIdentity> parse_vmdk_identity(std::string_view text);

// The kind of an image with a file for its descriptor, one of those whose extents are files.
Result<std::string> parse_vmdk_create_type(std::string_view text);

Result<std::vector<VmdkExtentLine>> parse_vmdk_extents(std::string_view text);

// Returns true if the bytes are the begin of a descriptor: comments and empty lines, and then the version.
bool is_vmdk_descriptor(std::string_view bytes);

}  // namespace blockexport::drivers::foreign

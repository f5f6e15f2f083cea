// ImageReference: a file name inside an image, by which the image's header refers to its backing file, data file or
// extents.
//
// The driver of the image format reads it, a ChildOpener opens it. The bytes are untrusted: the writer of the image
// chose them. Plain values; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace blockexport::block {

// Longest name that is opened, in bytes. The header of a qcow2 image has space for 1023.
inline constexpr std::size_t kImageNameBytesMax = 4096;
// Images on a chain, from the one that a command opens down to the last one that another image names.
inline constexpr std::size_t kBackingChainDepthMax = 200;
// Names inside images that one opening follows, over all images that it opens. A chain of the greatest depth needs two
// for each image: its backing file and its data file.
inline constexpr std::size_t kImageReferencesMax = 400;

enum class ReferenceKind : std::uint8_t {
  kBacking,   // the image below: a name in any of the forms of docs/guides/driver.md, of any format
  kDataFile,  // the file with the clusters of this image: a plain path, as it is
  kExtent,    // a file with a part of this image's disk: a plain path, below the directory of the image if relative
};

struct ImageReference {
  ReferenceKind kind = ReferenceKind::kBacking;
  std::string name = {};
  // Name of the driver of the image below, as the header has it; empty when it has none. Unused for a data file
  // and an extent.
  std::string format = {};
  std::string child = {};  // name of the child, for an extent
};

}  // namespace blockexport::block

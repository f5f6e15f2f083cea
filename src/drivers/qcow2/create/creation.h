// Creation: options of a new qcow2 image, and the checks of them, with the texts and in the order of
// qemu-storage-daemon.
//
// Plain values and pure functions; any thread. Source of the limits: docs/interop/qcow2.rst of QEMU, "Header".
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "crypto/luks_header.h"
#include "drivers/qcow2/format/geometry.h"
#include "drivers/qcow2/format/header.h"

namespace blockexport::drivers::qcow2 {

// The part of the image that is allocated from the start.
enum class Preallocation : std::uint8_t {
  kOff,
  kMetadata,  // all tables; the clusters of data have places, but no storage
  kAllocate,  // the same, and storage for the data, as the file system allocates it
  kWrite,     // the same, by writing zeros
};

struct Creation {
  std::uint64_t size_bytes = 0;  // as the user gave it
  std::uint32_t version = 3;
  std::uint64_t cluster_bytes = 65536;
  std::uint64_t refcount_bits = 16;
  bool extended_l2 = false;
  bool lazy_refcounts = false;
  CompressionType compression_type = CompressionType::kZlib;
  Preallocation preallocation = Preallocation::kOff;
  std::optional<std::string> backing_name = {};    // as it is to stand in the image
  std::optional<std::string> backing_format = {};  // name of a driver
  bool has_data_file = false;
  std::optional<crypto::LuksParameters> encryption = {};
  bool data_file_raw = false;  // what the data file shows without the image is what the image shows
};

// The checks before the data file is opened.
Result<> check_creation(const Creation& creation);
// Those after that.
Result<> check_sizes(const Creation& creation);

// For a creation that both functions accept: the geometry, and the preallocation that takes effect. A raw data file
// needs all tables from the start: a program that knows only the file may change it at any place.
Geometry geometry_of(const Creation& creation);
Preallocation preallocation_of(const Creation& creation);

// The beginning of every message about the size.
inline constexpr const char* kResizeFailed = "Could not resize image: ";

}  // namespace blockexport::drivers::qcow2

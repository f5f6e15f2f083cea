// Manifest of a point: the JSON file whose existence makes the point exist. See docs/backup-directory.md.
//
// Values, and pure functions that read and write the text. The text of a file is untrusted: it becomes a possible
// manifest or an error. Thread: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "client/backup/sha256.h"

namespace blockexport::backup {

inline constexpr std::uint64_t kManifestVersion = 1;
inline constexpr std::size_t kManifestBytesMax = 64 << 10;
// Names of NBD have at most 4096 bytes.
inline constexpr std::size_t kExportNameBytesMax = 4096;
inline constexpr std::size_t kBitmapNameBytesMax = 4096;
// The number that is the id of a point.
inline constexpr std::uint64_t kPointNumberMax = 999'999'999;

// A point that an incremental one is based on.
struct ParentPoint {
  std::uint64_t number = 0;
  Sha256 sum{};  // of its manifest
  friend bool operator==(const ParentPoint&, const ParentPoint&) = default;
};

struct Manifest {
  std::uint64_t number = 0;  // the id, 1 to kPointNumberMax
  std::string time;          // 2026-01-02T03:04:05Z
  std::string export_name;
  std::uint64_t disk_bytes = 0;
  std::optional<ParentPoint> parent;  // an incremental point has one
  std::string bitmap;                 // of an incremental point
  std::uint64_t records = 0;          // of the table
  Sha256 table_sum{};
  std::uint64_t data_bytes = 0;  // of the data file
  std::uint64_t zero_bytes = 0;  // of the disk that are recorded as zeroes
  friend bool operator==(const Manifest&, const Manifest&) = default;
};

// A manifest and the checksum by which its children name it.
struct SummedManifest {
  Manifest manifest;
  Sha256 sum{};
};

// The id of a number: at least six digits.
std::string id_of(std::uint64_t number);
// The number of an id; nothing for other texts.
std::optional<std::uint64_t> number_from_id(std::string_view id);

// Error: a name is no UTF-8, or too long, so that the manifest could not be read again.
Result<std::string> encode_manifest(const Manifest& manifest);

// Error: the text is no manifest, damaged, or of a newer version; it names no file.
Result<SummedManifest> parse_manifest(std::string_view text);

// YYYY-MM-DDThh:mm:ssZ of seconds since 1970.
std::string time_text(std::int64_t seconds);

}  // namespace blockexport::backup

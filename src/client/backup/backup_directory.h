// BackupDirectory: the points of one disk in a directory: their files, chains and lock.
//
// Errors name the file and say what to do. Thread: one; blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/owned_fd.h"
#include "client/backup/chunk_table.h"
#include "client/backup/manifest.h"

namespace blockexport::backup {

// Points in one directory, and in the chain of one point.
inline constexpr std::size_t kPointsMax = 100'000;
inline constexpr std::size_t kChainPointsMax = 1000;

// An open point of a chain: its manifest, and files that agree with it in size and whose table has the right checksum.
struct OpenPoint {
  SummedManifest manifest;
  NamedFile table;
  NamedFile data;
  TableBounds bounds() const;
};

class BackupDirectory {
 public:
  explicit BackupDirectory(std::string path);

  const std::string& path() const { return path_; }
  std::string manifest_path(std::uint64_t number) const { return file(number, "json"); }
  std::string data_path(std::uint64_t number) const { return file(number, "data"); }
  std::string table_path(std::uint64_t number) const { return file(number, "chunks"); }
  std::string journal_path(std::uint64_t number) const { return file(number, "unfinished"); }

  // Creates the directory if it does not exist; its parent must exist.
  Result<> create() const;
  // Locks it against other pulls, until the descriptor is closed. Error: another pull uses it.
  Result<OwnedFd> lock() const;

  // The numbers of all points, ascending. Error: the directory cannot be read, or has more than kPointsMax.
  Result<std::vector<std::uint64_t>> list() const;

  // Error: there is no such point, or its manifest is damaged, foreign or of a newer version.
  Result<SummedManifest> read(std::uint64_t number) const;

  // The points that make up `number`: first the full one, then the incremental ones up to `number`. Error: a manifest
  // is missing or damaged, or does not belong to this chain.
  Result<std::vector<SummedManifest>> chain(std::uint64_t number) const;

  // Opens the files of a point. Error: one is missing, or of another size, or its table is damaged.
  Result<OpenPoint> open(SummedManifest manifest) const;

 private:
  std::string file(std::uint64_t number, std::string_view extension) const;
  std::string path_;
};

}  // namespace blockexport::backup

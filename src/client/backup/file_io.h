// Files of backups: whole reads and writes, small files, durable renames.
//
// Errors name the path. Thread: any; blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/owned_fd.h"

namespace blockexport::backup {

// An open file with its path, for messages.
struct NamedFile {
  OwnedFd fd;
  std::string path;
};

// Opens a regular file; with O_CREAT in `flags` it gets the mode that the umask leaves of 0666. Error: it is no regular
// file; without O_CREAT: it does not exist.
Result<NamedFile> open_file(const std::string& path, int flags);

Result<> write_all(const NamedFile& file, std::uint64_t offset, std::span<const std::byte> bytes);
// Error: the file ends before.
Result<> read_all(const NamedFile& file, std::uint64_t offset, std::span<std::byte> bytes);
Result<std::uint64_t> size_of(const NamedFile& file);
Result<> resize(const NamedFile& file, std::uint64_t bytes);
// Writes the contents of the file to the disk.
Result<> sync(const NamedFile& file);

// The text of a file; nothing when it does not exist. Error: it is longer than `bytes_max`, or no regular file.
Result<std::optional<std::string>> read_small_file(const std::string& path, std::size_t bytes_max);

// Creates or replaces a file: after a crash it has the old or the new text.
Result<> write_small_file(const std::string& path, std::string_view text);

// Renames a file durably, over an existing one only if `overwrites`.
Result<> rename_file(const std::string& from, const std::string& to, bool overwrites);
// Removes a file, if it is there.
Result<> remove_file(const std::string& path);

// The directory of a path: "." for a bare name.
std::string directory_of(const std::string& path);
Result<> sync_directory(const std::string& path);

bool is_all_zero(std::span<const std::byte> bytes);

}  // namespace blockexport::backup

#include "client/tar.h"

#include <fmt/format.h>

#include <algorithm>

namespace blockexport::client {
namespace {

constexpr std::size_t kBlockBytes = 512;
constexpr std::size_t kTarNameBytesMax = 100;
constexpr std::size_t kChecksumOffset = 148;
constexpr std::size_t kChecksumBytes = 8;
constexpr unsigned kDirectoryMode = 0700;

void put(std::string& block, std::size_t offset, std::string_view text) {
  block.replace(offset, text.size(), text);
}

// Builds a header block (POSIX.1-2017, pax, "ustar Interchange Format").
Result<std::string> make_header(const std::string& name, unsigned mode, std::size_t bytes, char type,
                                std::int64_t now_seconds) {
  if (name.size() > kTarNameBytesMax) return fail(fmt::format("'{}' is too long for an archive", name));
  std::string block(kBlockBytes, '\0');
  put(block, 0, name);
  put(block, 100, fmt::format("{:07o}", mode));
  put(block, 108, "0000000");  // owner and group 0: tar assigns the files to the unpacking user
  put(block, 116, "0000000");
  put(block, 124, fmt::format("{:011o}", bytes));
  put(block, 136, fmt::format("{:011o}", std::max<std::int64_t>(now_seconds, 0)));
  put(block, kChecksumOffset, std::string(kChecksumBytes, ' '));
  block[156] = type;
  put(block, 257, std::string_view("ustar\00000", 8));
  unsigned sum = 0;
  for (char byte : block) sum += static_cast<unsigned char>(byte);
  put(block, kChecksumOffset, fmt::format("{:06o}", sum) + '\0');
  return block;
}

}  // namespace

Result<std::string> make_tar(const std::string& directory, const std::vector<TarFile>& files,
                             std::int64_t now_seconds) {
  TRY_ASSIGN(std::string archive, make_header(directory + "/", kDirectoryMode, 0, '5', now_seconds));
  std::size_t bytes = (files.size() + 3) * kBlockBytes;
  for (const TarFile& file : files) bytes += file.text.size() + kBlockBytes;
  // Reserved, since a reallocation would leave a copy of the secrets behind.
  archive.reserve(bytes);
  for (const TarFile& file : files) {
    TRY_ASSIGN(const std::string header,
               make_header(fmt::format("{}/{}", directory, file.name), file.mode, file.text.size(), '0', now_seconds));
    archive += header;
    archive += file.text;
    archive.append((kBlockBytes - file.text.size() % kBlockBytes) % kBlockBytes, '\0');
  }
  archive.append(2 * kBlockBytes, '\0');
  return archive;
}

}  // namespace blockexport::client

#include "drivers/qcow2/format/header_extensions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/byte_reader.h"
#include "base/byte_writer.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::size_t kBitmapsExtensionBytes = 24;
constexpr std::size_t kEncryptionExtensionBytes = 16;

std::string text_of(const HeaderExtension& extension) {
  ByteReader reader(extension.data);
  const std::string_view text = reader.text(extension.data.size());
  return std::string(text.substr(0, text.find('\0')));
}

BitmapsExtension read_bitmaps(const HeaderExtension& extension) {
  ByteReader reader(extension.data);
  BitmapsExtension result;
  result.bitmaps = reader.u32();
  reader.u32();
  result.directory_bytes = reader.u64();
  result.directory_offset = reader.u64();
  return result;
}

Result<> check_bitmaps(const HeaderExtension& extension, const Header& header) {
  if (extension.data.size() != kBitmapsExtensionBytes) return fail("bitmaps_ext: Invalid extension length");
  if ((header.autoclear_features & kAutoclearBitmaps) == 0) return {};
  ByteReader reader(extension.data);
  reader.u32();
  if (reader.u32() != 0) return fail("bitmaps_ext: Reserved field is not zero");
  const BitmapsExtension bitmaps = read_bitmaps(extension);
  if (bitmaps.bitmaps > kBitmapsMax) {
    return fail(fmt::format("bitmaps_ext: Image has {} bitmaps, exceeding the QEMU supported maximum of {}",
                            bitmaps.bitmaps, kBitmapsMax));
  }
  if (bitmaps.bitmaps == 0) return fail("found bitmaps extension with zero bitmaps");
  if (header.geometry().offset_in_cluster(bitmaps.directory_offset) != 0) {
    return fail("bitmaps_ext: invalid bitmap directory offset");
  }
  if (bitmaps.directory_bytes > kBitmapDirectoryBytesMax) {
    return fail(fmt::format("bitmaps_ext: bitmap directory size ({}) exceeds the maximum supported size ({})",
                            bitmaps.directory_bytes, kBitmapDirectoryBytesMax));
  }
  return {};
}

Result<> check_encryption_pointer(const HeaderExtension& extension, const Header& header) {
  if (header.encryption_method != kEncryptionLuks) {
    return fail("CRYPTO header extension only expected with LUKS encryption method");
  }
  if (extension.data.size() != kEncryptionExtensionBytes) {
    return fail(fmt::format("CRYPTO header extension size {}, but expected size {}", extension.data.size(),
                            kEncryptionExtensionBytes));
  }
  ByteReader reader(extension.data);
  const std::uint64_t offset = reader.u64();
  if (header.geometry().offset_in_cluster(offset) != 0) {
    return fail(fmt::format("Encryption header offset '{}' is not a multiple of cluster size '{}'", offset,
                            header.cluster_bytes()));
  }
  return {};
}

Result<> check_extension(const HeaderExtension& extension, const Header& header) {
  switch (extension.type) {
    case kExtensionBackingFormat:
      if (extension.data.size() <= kBackingFormatBytesMax) return {};
      return fail(fmt::format("ERROR: ext_backing_format: len={} too large (>={})", extension.data.size(),
                              kBackingFormatBytesMax + 1));
    case kExtensionEncryption:
      return check_encryption_pointer(extension, header);
    case kExtensionBitmaps:
      return check_bitmaps(extension, header);
    default:
      return {};
  }
}

}  // namespace

const HeaderExtension* HeaderExtensions::find(std::uint32_t type) const {
  const auto found = std::find_if(list.rbegin(), list.rend(), [=](const auto& one) { return one.type == type; });
  return found == list.rend() ? nullptr : &*found;
}

std::optional<std::string> HeaderExtensions::backing_format() const {
  const HeaderExtension* found = find(kExtensionBackingFormat);
  return found == nullptr ? std::nullopt : std::optional(text_of(*found));
}

std::optional<std::string> HeaderExtensions::data_file_name() const {
  const HeaderExtension* found = find(kExtensionDataFile);
  return found == nullptr ? std::nullopt : std::optional(text_of(*found));
}

std::optional<EncryptionExtension> HeaderExtensions::encryption() const {
  const HeaderExtension* found = find(kExtensionEncryption);
  if (found == nullptr) return std::nullopt;
  ByteReader reader(found->data);
  EncryptionExtension encryption;
  encryption.offset = reader.u64();
  encryption.bytes = reader.u64();
  return encryption;
}

std::optional<BitmapsExtension> HeaderExtensions::bitmaps(const Header& header) const {
  const HeaderExtension* found = find(kExtensionBitmaps);
  if (found == nullptr || (header.autoclear_features & kAutoclearBitmaps) == 0) return std::nullopt;
  return read_bitmaps(*found);
}

void HeaderExtensions::set(std::uint32_t type, std::vector<std::byte> data) {
  const auto is_type = [=](const HeaderExtension& one) { return one.type == type; };
  const auto first = std::ranges::find_if(list, is_type);
  if (first == list.end()) {
    list.push_back({.type = type, .data = std::move(data)});
    return;
  }
  first->data = std::move(data);
  list.erase(std::remove_if(first + 1, list.end(), is_type), list.end());
}

void HeaderExtensions::set_text(std::uint32_t type, std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  set(type, std::vector<std::byte>(bytes.begin(), bytes.end()));
}

void HeaderExtensions::set_encryption(const EncryptionExtension& encryption) {
  std::vector<std::byte> data(kEncryptionExtensionBytes);
  ByteWriter writer(data);
  writer.u64(encryption.offset);
  writer.u64(encryption.bytes);
  set(kExtensionEncryption, std::move(data));
}

void HeaderExtensions::set_bitmaps(const BitmapsExtension& bitmaps) {
  std::vector<std::byte> data(kBitmapsExtensionBytes);
  ByteWriter writer(data);
  writer.u32(bitmaps.bitmaps);
  writer.u32(0);
  writer.u64(bitmaps.directory_bytes);
  writer.u64(bitmaps.directory_offset);
  set(kExtensionBitmaps, std::move(data));
}

void HeaderExtensions::remove(std::uint32_t type) {
  std::erase_if(list, [=](const HeaderExtension& one) { return one.type == type; });
}

Result<HeaderExtensions> parse_header_extensions(const Header& header, Bytes first_cluster) {
  HeaderExtensions result;
  ExtensionReader reader(first_cluster, header.header_bytes, header.extensions_end());
  while (true) {
    TRY_ASSIGN(const std::optional<ExtensionReader::Section> section, reader.next());
    if (!section) return result;
    HeaderExtension extension{.type = section->type, .data = std::vector<std::byte>(section->bytes)};
    std::ranges::copy(section->data, extension.data.begin());
    TRY(check_extension(extension, header));
    result.list.push_back(std::move(extension));
  }
}

Result<std::vector<std::byte>> encode_file_begin(Header& header, const HeaderExtensions& extensions,
                                                 std::string_view backing_name) {
  std::uint64_t bytes = header.header_bytes;
  for (const HeaderExtension& one : extensions.list) bytes += kExtensionHeadBytes + padded_extension(one.data.size());
  bytes += kExtensionHeadBytes;  // the end mark
  header.backing_name_offset = backing_name.empty() ? 0 : bytes;
  header.backing_name_bytes = static_cast<std::uint32_t>(std::min(backing_name.size(), kBackingNameBytesMax + 1));
  bytes += backing_name.size();
  if (bytes > header.cluster_bytes() || backing_name.size() > kBackingNameBytesMax) {
    return fail(Error::system("Could not write the qcow2 header", Errno(ENOSPC)));
  }
  std::vector<std::byte> result(static_cast<std::size_t>(bytes));
  ByteWriter writer(result);
  writer.bytes(encode_header(header));
  for (const HeaderExtension& one : extensions.list) {
    constexpr std::array<std::byte, 8> kPadding{};
    writer.u32(one.type);
    writer.u32(static_cast<std::uint32_t>(one.data.size()));
    writer.bytes(one.data);
    writer.bytes(
        std::span(kPadding).first(static_cast<std::size_t>(padded_extension(one.data.size()) - one.data.size())));
  }
  writer.u32(kExtensionEnd);
  writer.u32(0);
  writer.text(backing_name);
  return result;
}

}  // namespace blockexport::drivers::qcow2

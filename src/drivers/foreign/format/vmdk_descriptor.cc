#include "drivers/foreign/format/vmdk_descriptor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace blockexport::drivers::foreign {
namespace {

constexpr std::string_view kSpace = " \t\r\v\f";
constexpr std::size_t kWordBytesMax = 9;

// Reads the parts of a line one after the other.
class LineReader {
 public:
  explicit LineReader(std::string_view line) : rest_(line) {}

  std::string_view word() {
    skip_space();
    const std::size_t end = std::min(rest_.find_first_of(kSpace), rest_.size());
    // A longer word is none of those that are known, and what follows is no number.
    return take(std::min(end, kWordBytesMax));
  }
  std::optional<std::int64_t> number() {
    skip_space();
    if (rest_.starts_with('+')) rest_.remove_prefix(1);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc()) return std::nullopt;
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return value;
  }
  std::optional<std::string_view> quoted() {
    skip_space();
    if (!rest_.starts_with('"')) return std::nullopt;
    const std::size_t end = rest_.find_first_of("\"\r", 1);
    if (end == std::string_view::npos || rest_[end] != '"' || end == 1 || end - 1 > kVmdkExtentNameBytesMax) {
      return std::nullopt;
    }
    const std::string_view text = take(end + 1);
    return text.substr(1, end - 1);
  }

 private:
  std::string_view take(std::size_t length) {
    const std::string_view taken = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return taken;
  }
  void skip_space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(kSpace), rest_.size())); }

  std::string_view rest_;
};

std::optional<VmdkExtentType> type_of(std::string_view name) {
  if (name == "FLAT") return VmdkExtentType::kFlat;
  if (name == "SPARSE") return VmdkExtentType::kSparse;
  if (name == "VMFS") return VmdkExtentType::kVmfs;
  if (name == "VMFSSPARSE") return VmdkExtentType::kVmfsSparse;
  return std::nullopt;
}

Error invalid_line(std::string_view line) {
  return Error(fmt::format("Invalid extent line: {}", line));
}

// Nothing: the line describes no extent.
Result<std::optional<VmdkExtentLine>> parse_line(std::string_view line) {
  LineReader reader(line);
  if (reader.word() != "RW") return std::nullopt;
  const std::optional<std::int64_t> sectors = reader.number();
  if (!sectors) return std::nullopt;
  const std::string_view type_name = reader.word();
  const std::optional<std::string_view> name = reader.quoted();
  if (type_name.empty() || !name) return std::nullopt;
  const std::optional<std::int64_t> offset = reader.number();
  const std::optional<VmdkExtentType> type = type_of(type_name);
  const bool takes_offset = type == VmdkExtentType::kFlat;
  if (takes_offset != offset.has_value() || offset.value_or(0) < 0) return fail(invalid_line(line));
  // The reference leaves such lines out.
  if (*sectors <= 0) return std::nullopt;
  if (type_name == "SESPARSE") {
    return fail(Error("Extents of the type SESPARSE are not supported")
                    .with_hint("Convert the image with qemu-img, or with the program that made it."));
  }
  if (!type) return std::nullopt;
  return VmdkExtentLine{.type = *type,
                        .type_name = std::string(type_name),
                        .sectors = static_cast<std::uint64_t>(*sectors),
                        .name = std::string(*name),
                        .offset_sectors = static_cast<std::uint64_t>(offset.value_or(0))};
}

// The number behind NAME=, of which the reference keeps the last 32 bits.
Result<std::uint32_t> parse_id(std::string_view text, std::string_view name) {
  const std::size_t found = text.find(name);
  if (found == std::string_view::npos) return fail("Invalid argument");
  std::string_view digits = text.substr(std::min(text.size(), found + name.size() + 1));
  digits.remove_prefix(std::min(digits.find_first_not_of(" \t\r\n"), digits.size()));
  const bool is_negative = digits.starts_with('-');
  if (is_negative || digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.starts_with("0x") || digits.starts_with("0X")) digits.remove_prefix(2);
  std::uint64_t id = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id, 16);
  if (error == std::errc::result_out_of_range) return UINT32_MAX;
  if (error != std::errc()) return fail("Invalid argument");
  return static_cast<std::uint32_t>(is_negative ? 0 - id : id);
}

// The text in NAME="...".
std::optional<std::string_view> quoted_value(std::string_view text, std::string_view name) {
  const std::size_t found = text.find(name);
  if (found == std::string_view::npos) return std::nullopt;
  const std::size_t begin = found + name.size() + 2;
  if (begin > text.size()) return std::nullopt;
  const std::size_t end = text.find('"', begin);
  if (end == std::string_view::npos) return std::nullopt;
  return text.substr(begin, end - begin);
}

}  // namespace

std::string_view vmdk_text(std::string_view bytes) {
  return bytes.substr(0, bytes.find('\0'));
}

Result<VmdkIdentity> parse_vmdk_identity(std::string_view text) {
  text = text.substr(0, kVmdkDescriptorBeginBytesMax);
  VmdkIdentity identity;
  TRY_ASSIGN(identity.content_id, parse_id(text, "CID"));
  TRY_ASSIGN(identity.parent_content_id, parse_id(text, "parentCID"));
  constexpr std::string_view kParentName = "parentFileNameHint";
  if (text.find(kParentName) == std::string_view::npos) return identity;
  const std::optional<std::string_view> name = quoted_value(text, kParentName);
  if (!name || name->size() > kVmdkParentNameBytesMax) return fail("Invalid argument");
  identity.parent_name = std::string(*name);
  return identity;
}

Result<std::string> parse_vmdk_create_type(std::string_view text) {
  constexpr std::size_t kTypeBytesMax = 127;
  const std::optional<std::string_view> type = quoted_value(text, "createType");
  if (!type || type->size() > kTypeBytesMax) return fail("invalid VMDK image descriptor");
  constexpr std::array<std::string_view, 5> kTypes = {"monolithicFlat", "vmfs", "vmfsSparse", "twoGbMaxExtentSparse",
                                                      "twoGbMaxExtentFlat"};
  if (std::ranges::find(kTypes, *type) == kTypes.end()) return fail(fmt::format("Unsupported image type '{}'", *type));
  return std::string(*type);
}

Result<std::vector<VmdkExtentLine>> parse_vmdk_extents(std::string_view text) {
  std::vector<VmdkExtentLine> extents;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    TRY_ASSIGN(std::optional<VmdkExtentLine> extent, parse_line(line));
    if (!extent) continue;
    if (extents.size() == kVmdkExtentsMax) {
      return fail(fmt::format("The image has more than {} extents", kVmdkExtentsMax));
    }
    extents.push_back(std::move(*extent));
  }
  if (extents.empty()) return fail("The image has no extents");
  return extents;
}

bool is_vmdk_descriptor(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
    if (line.starts_with('#')) continue;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(' ') == std::string_view::npos) continue;
    return line == "version=1" || line == "version=2" || line == "version=3";
  }
  return false;
}

}  // namespace blockexport::drivers::foreign

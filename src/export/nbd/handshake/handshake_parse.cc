#include "export/nbd/handshake/handshake_parse.h"

#include <fmt/format.h>

namespace blockexport::nbd {

std::string_view option_name(std::uint32_t option) {
  switch (static_cast<Option>(option)) {
    case Option::kExportName:
      return "export name";
    case Option::kAbort:
      return "abort";
    case Option::kList:
      return "list";
    case Option::kStartTls:
      return "starttls";
    case Option::kInfo:
      return "info";
    case Option::kGo:
      return "go";
    case Option::kStructuredReply:
      return "structured reply";
    case Option::kListMetaContext:
      return "list meta context";
    case Option::kSetMetaContext:
      return "set meta context";
    case Option::kExtendedHeaders:
      return "extended headers";
  }
  return "<unknown>";
}

std::unexpected<std::string> inconsistent_lengths(std::string_view option_name) {
  return std::unexpected(fmt::format("Inconsistent lengths in option {}", option_name));
}

std::unexpected<std::string> unexpected_length(std::string_view option_name) {
  return std::unexpected(fmt::format("option '{}' has unexpected length", option_name));
}

std::expected<std::string_view, std::string> read_export_name(ByteReader& reader, std::string_view option_name) {
  const std::uint32_t length = reader.u32();
  if (length > kStringBytesMax) return std::unexpected(fmt::format("Invalid name length: {}", length));
  const std::string_view name = reader.text(length);
  if (reader.failed()) return inconsistent_lengths(option_name);
  if (name.find('\0') != std::string_view::npos) {
    return std::unexpected(fmt::format("Unexpected embedded NUL in option {}", option_name));
  }
  return name;
}

std::expected<InfoRequest, std::string> parse_info_request(std::span<const std::byte> payload,
                                                           std::string_view option_name) {
  ByteReader reader(payload);
  InfoRequest request;
  auto name = read_export_name(reader, option_name);
  if (!name) return std::unexpected(std::move(name).error());
  request.export_name = *name;
  const std::uint16_t count = reader.u16();
  for (std::uint16_t index = 0; index < count && !reader.failed(); ++index) {
    const auto type = static_cast<InfoType>(reader.u16());
    request.wants_name |= type == InfoType::kName;
    request.wants_block_size |= type == InfoType::kBlockSize;
  }
  if (reader.failed()) return inconsistent_lengths(option_name);
  if (reader.remaining() > 0) return unexpected_length(option_name);
  return request;
}

}  // namespace blockexport::nbd

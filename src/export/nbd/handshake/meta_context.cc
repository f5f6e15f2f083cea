#include "export/nbd/handshake/meta_context.h"

#include <algorithm>

#include "base/byte_reader.h"
#include "export/nbd/handshake/handshake_parse.h"

namespace blockexport::nbd {
namespace {

constexpr std::string_view kBitmapWildcard = "qemu:dirty-bitmap:";

// Whether `query` matches all contexts with this prefix: "NAMESPACE:" or "qemu:dirty-bitmap:".
bool is_wildcard(std::string_view query) {
  return query == kBitmapWildcard || (query.size() > 1 && query.find(':') == query.size() - 1);
}

bool means(std::string_view query, std::string_view name, MetaContextUse use) {
  if (query == name) return true;
  return use == MetaContextUse::kList && is_wildcard(query) && name.starts_with(query);
}

}  // namespace

std::expected<MetaContextQuery, std::string> parse_meta_context_query(std::span<const std::byte> payload,
                                                                      std::string_view option_name) {
  ByteReader reader(payload);
  MetaContextQuery query;
  auto name = read_export_name(reader, option_name);
  if (!name) return std::unexpected(std::move(name).error());
  query.export_name = *name;
  const std::uint32_t count = reader.u32();
  // Each query takes at least its length field, so a count that cannot fit is refused before memory is reserved for it.
  if (reader.failed() || count > reader.remaining() / sizeof(std::uint32_t)) return inconsistent_lengths(option_name);
  query.queries.reserve(count);
  for (std::uint32_t index = 0; index < count; ++index) {
    const std::string_view text = reader.text(reader.u32());
    if (reader.failed()) return inconsistent_lengths(option_name);
    if (text.size() <= kStringBytesMax) query.queries.push_back(text);
  }
  if (reader.remaining() > 0) return unexpected_length(option_name);
  // A list whose queries were all left out must not become an empty list, which has another meaning: an empty query,
  // which matches nothing, stands for them.
  if (count > 0 && query.queries.empty()) query.queries.emplace_back();
  return query;
}

std::vector<ContextInfo> select_contexts(std::span<const ContextInfo> offered,
                                         std::span<const std::string_view> queries, MetaContextUse use) {
  const bool all = use == MetaContextUse::kList && queries.empty();
  std::vector<ContextInfo> selected;
  for (const ContextInfo& context : offered) {
    const auto meant = [&](std::string_view query) { return means(query, context.name, use); };
    if (all || std::ranges::any_of(queries, meant)) selected.push_back(context);
  }
  return selected;
}

}  // namespace blockexport::nbd

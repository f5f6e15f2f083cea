#include "export/nbd/handshake/meta_context.h"

#include <algorithm>
#include <unordered_set>

#include "base/byte_reader.h"
#include "export/nbd/handshake/handshake_parse.h"
#include "export/nbd/wire/contexts.h"

namespace blockexport::nbd {
namespace {

// The queries of one option, sorted, because a client may send thousands of queries about thousands of contexts.
class SortedQueries {
 public:
  explicit SortedQueries(std::span<const std::string_view> queries) : queries_(queries.begin(), queries.end()) {
    std::ranges::sort(queries_);
  }
  bool has(std::string_view text) const { return std::ranges::binary_search(queries_, text); }

 private:
  std::vector<std::string_view> queries_;
};

// True if a wildcard among the queries matches `name`: its namespace with the colon, or "qemu:dirty-bitmap:".
bool has_wildcard_for(const SortedQueries& queries, std::string_view name) {
  if (name.starts_with(kBitmapContextPrefix) && queries.has(kBitmapContextPrefix)) return true;
  return queries.has(name.substr(0, name.find(':') + 1));
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
  const bool list = use == MetaContextUse::kList;
  const SortedQueries sorted(queries);
  std::vector<ContextInfo> selected;
  std::unordered_set<std::string_view> named;
  for (const ContextInfo& context : offered) {
    // Of several contexts of one name, of bitmaps of different nodes, the exact name means the first.
    const bool is_named = sorted.has(context.name) && named.insert(context.name).second;
    const bool is_listed = list && (queries.empty() || has_wildcard_for(sorted, context.name));
    if (is_named || is_listed) selected.push_back(context);
  }
  return selected;
}

}  // namespace blockexport::nbd

// Metadata context queries: the payload of LIST_META_CONTEXT and SET_META_CONTEXT, and which contexts it means.
//
// Pure functions. The contexts themselves are data of the export (ExportInfo::contexts); no name is known here except
// the wildcards. Thread: any. Never looks up an export.
#pragma once

#include <cstddef>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "export/nbd/wire/session_state.h"

namespace blockexport::nbd {

// The payload taken apart. The views point into the bytes it was parsed from.
struct MetaContextQuery {
  std::string_view export_name;
  std::vector<std::string_view> queries;  // those of more than kStringBytesMax are left out: they can match nothing
};

// The query, or the text of the ERR_INVALID that answers a malformed one: lengths have to add up to the payload
// exactly.
std::expected<MetaContextQuery, std::string> parse_meta_context_query(std::span<const std::byte> payload,
                                                                      std::string_view option_name);

enum class MetaContextUse {
  kList,  // wildcards count; no queries at all means everything
  kSet,   // exact names only; no queries means nothing
};

// The contexts of `offered` that at least one query means, each once, in the order of `offered`. Queries of namespaces
// or names that are not offered are ignored.
std::vector<ContextInfo> select_contexts(std::span<const ContextInfo> offered,
                                         std::span<const std::string_view> queries, MetaContextUse use);

}  // namespace blockexport::nbd

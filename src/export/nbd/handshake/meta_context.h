// Metadata context queries: parser for the payload of LIST_META_CONTEXT and SET_META_CONTEXT, and matching of contexts.
//
// Pure functions. The contexts are data of the export (ExportInfo::contexts); only the wildcard names are known here.
// Thread: any. Never looks up an export.
#pragma once

#include <cstddef>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "export/nbd/wire/session_state.h"

namespace blockexport::nbd {

// The parsed payload. The views point into it.
struct MetaContextQuery {
  std::string_view export_name;
  std::vector<std::string_view> queries;  // queries longer than kStringBytesMax are left out: they can match nothing
};

// Parses the queries, or returns the text of the ERR_INVALID reply to a malformed payload: the lengths must fill the
// payload exactly.
std::expected<MetaContextQuery, std::string> parse_meta_context_query(std::span<const std::byte> payload,
                                                                      std::string_view option_name);

enum class MetaContextUse {
  kList,  // wildcards are allowed; no queries means all contexts
  kSet,   // exact names only; no queries means none
};

// The contexts of `offered` that at least one query matches, each once, in the order of `offered`. Queries of unknown
// namespaces or names are ignored. An exact name matches the first context of that name. Every name in `offered` has a
// namespace.
std::vector<ContextInfo> select_contexts(std::span<const ContextInfo> offered,
                                         std::span<const std::string_view> queries, MetaContextUse use);

}  // namespace blockexport::nbd

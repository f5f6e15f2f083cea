// Handshake options: which are served, refused or fatal, and the replies to INFO, GO and the two META_CONTEXT options.

#include <fmt/format.h>

#include <utility>

#include "export/nbd/handshake/handshake.h"
#include "export/nbd/handshake/handshake_parse.h"
#include "export/nbd/handshake/meta_context.h"
#include "export/nbd/wire/wire_text.h"

namespace blockexport::nbd {
namespace {

// The same reply for an export that does not exist and for one that this client may not use.
void refuse_unknown(OptionReplies& replies, std::string_view name) {
  replies.error(OptionReply::kErrorUnknown, fmt::format("export '{}' not present", quoted_name(name)));
}

}  // namespace

bool Handshake::is_over_limits() {
  options_seen_ += 1;
  option_bytes_seen_ += option_bytes_;
  return options_seen_ > options_.limits.options_max || option_bytes_seen_ > options_.limits.option_bytes_max;
}

// The reason why this option ends the connection without a reply, if it does.
std::optional<std::string> Handshake::fatal_reason() const {
  if (option_bytes_ > options_.limits.skipped_bytes_max) {
    return fmt::format("len ({}) is larger than max len ({})", option_bytes_, options_.limits.skipped_bytes_max);
  }
  const bool export_name = is_option(Option::kExportName);
  if (!state_.fixed_newstyle && !export_name) {
    return fmt::format("Unsupported option {} ({})", option_, option_name(option_));
  }
  if (!export_name) return std::nullopt;
  // The protocol has no error reply to EXPORT_NAME.
  if (needs_tls()) return fmt::format("Option 0x{:x} not permitted before TLS", option_);
  if (shutting_down_) return "server is shutting down";
  if (refuses_all_) return refuses_all_;
  if (state_.header_mode == HeaderMode::kExtended) return "EXPORT_NAME after extended headers";
  if (option_bytes_ > kStringBytesMax) return fmt::format("export name of {} bytes", option_bytes_);
  return std::nullopt;
}

std::optional<Handshake::Answer> Handshake::refusal_before_tls() const {
  if (!needs_tls() || is_option(Option::kStartTls)) return std::nullopt;
  return Answer{OptionReply::kErrorTlsRequired, fmt::format("Option 0x{:x} not permitted before TLS", option_)};
}

// The reason why STRUCTURED_REPLY or EXTENDED_HEADERS is refused now.
std::optional<Handshake::Answer> Handshake::refusal_of_mode_change() const {
  if (state_.header_mode == HeaderMode::kExtended) {
    const bool structured = is_option(Option::kStructuredReply);
    return Answer{structured ? OptionReply::kErrorExtendedHeaderRequired : OptionReply::kErrorInvalid,
                  "extended headers already negotiated"};
  }
  if (is_option(Option::kStructuredReply) && state_.header_mode == HeaderMode::kStructured) {
    return Answer{OptionReply::kErrorInvalid, "structured reply already negotiated"};
  }
  return std::nullopt;
}

// The error reply that the header of this option alone decides, or nothing if its payload has to be read.
std::optional<Handshake::Answer> Handshake::refusal() const {
  if (auto answer = refusal_before_tls()) return answer;
  const std::string_view name = option_name(option_);
  if (shutting_down_) return Answer{OptionReply::kErrorShutdown, "server is shutting down"};
  if (refuses_all_) return Answer{OptionReply::kErrorPolicy, *refuses_all_};
  switch (static_cast<Option>(option_)) {
    case Option::kExportName:
      return std::nullopt;
    case Option::kList:
    case Option::kStartTls:
    case Option::kStructuredReply:
    case Option::kExtendedHeaders:
      if (option_bytes_ > 0) return Answer{OptionReply::kErrorInvalid, unexpected_length(name).error()};
      if (is_option(Option::kList)) return std::nullopt;
      if (!is_option(Option::kStartTls)) return refusal_of_mode_change();
      if (state_.tls) return Answer{OptionReply::kErrorInvalid, "TLS already enabled"};
      if (options_.tls == TlsPolicy::kNone) return Answer{OptionReply::kErrorPolicy, "TLS not configured"};
      if (auto reason = directory_->tls_refusal()) return Answer{OptionReply::kErrorPolicy, *std::move(reason)};
      return std::nullopt;
    case Option::kSetMetaContext:
      if (state_.header_mode == HeaderMode::kSimple) {
        return Answer{OptionReply::kErrorInvalid,
                      fmt::format("request option '{}' when structured reply is not negotiated", name)};
      }
      [[fallthrough]];
    case Option::kInfo:
    case Option::kGo:
    case Option::kListMetaContext:
      if (option_bytes_ > options_.limits.payload_bytes_max) {
        return Answer{OptionReply::kErrorTooBig,
                      fmt::format("option '{}' is longer than {} bytes", name, options_.limits.payload_bytes_max)};
      }
      return std::nullopt;
    case Option::kAbort:
      return std::nullopt;
  }
  return Answer{OptionReply::kErrorUnsupported, fmt::format("Unsupported option {} ({})", option_, name)};
}

void Handshake::on_info(OptionReplies replies) {
  auto request = parse_info_request(message_, option_name(option_));
  if (!request) return replies.error(OptionReply::kErrorInvalid, request.error());
  const ExportInfo* info = permitted_export(request->export_name);
  if (status_ == HandshakeStatus::kAuthorize) return;
  const bool go = is_option(Option::kGo);
  if (info == nullptr) {
    if (go) refusal_reason_ = fmt::format("export '{}' not present", quoted_name(request->export_name));
    return refuse_unknown(replies, request->export_name);
  }
  BlockSizes sizes = info->block_sizes;
  // A client that did not request the block sizes is served as if there were no minimum.
  if (go && !request->wants_block_size) sizes.minimum = 1;
  if (request->wants_name) replies.info_text(InfoType::kName, info->name);
  if (info->description) replies.info_text(InfoType::kDescription, *info->description);
  replies.info_block_size(sizes);
  replies.info_export(info->size_bytes, flags_for(*info, !go || has_contexts_for(*info)));
  if (!go && !request->wants_block_size && sizes.minimum > 1) {
    return replies.error(OptionReply::kErrorBlockSizeRequired, "request NBD_INFO_BLOCK_SIZE to use this export");
  }
  replies.ack();
  if (go) enter_transmission(*info, sizes);
}

void Handshake::on_meta_context(OptionReplies replies) {
  auto query = parse_meta_context_query(message_, option_name(option_));
  if (!query) return replies.error(OptionReply::kErrorInvalid, query.error());
  const ExportInfo* info = permitted_export(query->export_name);
  if (status_ == HandshakeStatus::kAuthorize) return;
  if (info == nullptr) return refuse_unknown(replies, query->export_name);
  const bool set = is_option(Option::kSetMetaContext);
  auto selected = select_contexts(info->contexts, query->queries, set ? MetaContextUse::kSet : MetaContextUse::kList);
  for (const ContextInfo& context : selected) replies.meta_context(context.name, set ? context.id : 0);
  replies.ack();
  if (!set) return;
  state_.contexts = std::move(selected);
  contexts_sequence_ = info->sequence;
}

}  // namespace blockexport::nbd

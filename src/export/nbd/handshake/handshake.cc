#include "export/nbd/handshake/handshake.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "base/byte_reader.h"
#include "export/nbd/handshake/handshake_parse.h"
#include "export/nbd/wire/wire_text.h"

namespace blockexport::nbd {

Handshake::Handshake(ExportDirectory& directory, const HandshakeOptions& options)
    : directory_(&directory), options_(options) {}

HandshakeStep Handshake::feed(std::span<const std::byte> input, std::vector<std::byte>& output) {
  const std::size_t given = input.size();
  steps_ = 0;
  while (status_ == HandshakeStatus::kNeedInput) {
    if (is_piece_done(output)) return {HandshakeStatus::kDrainOutput, given - input.size(), steps_};
    if (stage_ == Stage::kListing) {
      on_listing(output);
      continue;
    }
    if (!collect(input)) return {HandshakeStatus::kNeedInput, given - input.size(), steps_};
    ++steps_;
    on_message(output);
  }
  // Only an attacker could have injected clear bytes behind STARTTLS, to have them read as protected data.
  if (status_ == HandshakeStatus::kStartTls && !input.empty()) close("data follows STARTTLS in clear");
  return {status_, given - input.size(), steps_};
}

// Moves bytes of the current message from the input. True once the message is complete.
bool Handshake::collect(std::span<const std::byte>& input) {
  const auto taken = input.first(std::min<std::size_t>(wanted_bytes_, input.size()));
  if (stage_ != Stage::kSkip) message_.insert(message_.end(), taken.begin(), taken.end());
  input = input.subspan(taken.size());
  wanted_bytes_ -= static_cast<std::uint32_t>(taken.size());
  return wanted_bytes_ == 0;
}

void Handshake::expect(Stage stage, std::uint32_t bytes) {
  stage_ = stage;
  wanted_bytes_ = bytes;
  message_.clear();
}

void Handshake::close(std::string reason) {
  status_ = HandshakeStatus::kClose;
  close_reason_ = std::move(reason);
}

void Handshake::on_message(std::vector<std::byte>& output) {
  switch (stage_) {
    case Stage::kClientFlags:
      return on_client_flags();
    case Stage::kOptionHeader:
      return on_option_header();
    case Stage::kPayload:
      return on_option(output);
    case Stage::kSkip:
      return on_skipped(OptionReplies(output, option_));
    case Stage::kListing:
      break;
  }
  assert(false);
}

void Handshake::on_client_flags() {
  const std::uint32_t flags = ByteReader(message_).u32();
  const std::uint32_t known = handshake_flag::kFixedNewstyle | handshake_flag::kNoZeroes;
  if ((flags & ~known) != 0) return close(fmt::format("Unknown client flags 0x{:x} received", flags & ~known));
  state_.fixed_newstyle = (flags & handshake_flag::kFixedNewstyle) != 0;
  state_.no_zeroes = (flags & handshake_flag::kNoZeroes) != 0;
  expect(Stage::kOptionHeader, kOptionHeaderBytes);
}

void Handshake::on_option_header() {
  ByteReader reader(message_);
  if (reader.u64() != kOptionMagic) return close("Bad magic received");
  option_ = reader.u32();
  option_bytes_ = reader.u32();
  if (is_over_limits()) return close("too many options");
  if (auto reason = fatal_reason()) return close(*std::move(reason));
  // A new SET drops the selection of an earlier one, even if the new one fails.
  if (is_option(Option::kSetMetaContext)) {
    state_.contexts.clear();
    contexts_sequence_ = 0;
  }
  if (is_option(Option::kAbort)) {
    answer_ = {OptionReply::kAck, {}};
    return expect(Stage::kSkip, option_bytes_);
  }
  if (auto answer = refusal()) {
    answer_ = *std::move(answer);
    if (answer_.type == OptionReply::kErrorTlsRequired) refusal_reason_ = "it does not use TLS";
    if (answer_.type == OptionReply::kErrorShutdown) refusal_reason_ = answer_.text;
    return expect(Stage::kSkip, option_bytes_);
  }
  expect(Stage::kPayload, option_bytes_);
}

void Handshake::on_skipped(OptionReplies replies) {
  if (answer_.type == OptionReply::kAck) {
    replies.ack();
    return close(std::string(kClientAborted));
  }
  replies.error(answer_.type, answer_.text);
  expect(Stage::kOptionHeader, kOptionHeaderBytes);
}

// Executes an option that refusal() accepted, with its complete payload in message_.
void Handshake::on_option(std::vector<std::byte>& output) {
  OptionReplies replies(output, option_);
  switch (static_cast<Option>(option_)) {
    case Option::kExportName:
      return on_export_name(output);
    case Option::kList:
      list_position_ = 0;
      stage_ = Stage::kListing;
      return;
    case Option::kStartTls:
      replies.ack();
      status_ = HandshakeStatus::kStartTls;
      return;
    case Option::kInfo:
    case Option::kGo:
      on_info(replies);
      break;
    case Option::kStructuredReply:
      state_.header_mode = HeaderMode::kStructured;
      replies.ack();
      break;
    case Option::kExtendedHeaders:
      state_.header_mode = HeaderMode::kExtended;
      replies.ack();
      break;
    case Option::kListMetaContext:
    case Option::kSetMetaContext:
      on_meta_context(replies);
      break;
    case Option::kAbort:
      assert(false);
  }
  // The message is parsed again when the authorizer has answered.
  if (status_ == HandshakeStatus::kAuthorize) return;
  expect(Stage::kOptionHeader, kOptionHeaderBytes);
}

void Handshake::on_export_name(std::vector<std::byte>& output) {
  const std::string_view name = ByteReader(message_).text(message_.size());
  const ExportInfo* info = permitted_export(name);
  if (status_ == HandshakeStatus::kAuthorize) return;
  if (info == nullptr) return close(fmt::format("export '{}' not found", quoted_name(name)));
  enter_transmission(*info, BlockSizes{});
  append_export_name_answer(output, state_.export_bytes, state_.transmission_flags, state_.no_zeroes);
}

// A decision holds for one option only, because the authorizer's rules may change before the next.
Handshake::Permission Handshake::permission_for(const ExportInfo& info) {
  if (!info.is_restricted) return Permission::kGranted;
  if (std::exchange(decided_sequence_, 0) == info.sequence) {
    return is_allowed_ ? Permission::kGranted : Permission::kRefused;
  }
  wanted_export_ = info.name;
  wanted_sequence_ = info.sequence;
  status_ = HandshakeStatus::kAuthorize;
  return Permission::kUnknown;
}

// The export of that name, if this client may use it. The caller checks the status first: if the authorizer has to be
// asked, the option is executed again after the answer.
const ExportInfo* Handshake::permitted_export(std::string_view name) {
  const ExportInfo* info = directory_->find(name);
  if (info == nullptr || permission_for(*info) != Permission::kGranted) return nullptr;
  return info;
}

void Handshake::authorized(bool allowed) {
  assert(status_ == HandshakeStatus::kAuthorize);
  decided_sequence_ = wanted_sequence_;
  is_allowed_ = allowed;
  status_ = HandshakeStatus::kNeedInput;
}

void Handshake::on_listing(std::vector<std::byte>& output) {
  OptionReplies replies(output, option_);
  for (; !is_piece_done(output); ++steps_) {
    const ExportInfo* info = directory_->next_after(list_position_);
    if (info == nullptr) {
      replies.ack();
      return expect(Stage::kOptionHeader, kOptionHeaderBytes);
    }
    assert(info->sequence > list_position_);
    const Permission permission = permission_for(*info);
    if (permission == Permission::kUnknown) return;
    list_position_ = info->sequence;
    if (permission == Permission::kGranted) replies.server(*info);
  }
}

void Handshake::enter_transmission(const ExportInfo& info, const BlockSizes& told_sizes) {
  if (!has_contexts_for(info)) state_.contexts.clear();
  state_.export_name = info.name;
  state_.export_bytes = info.size_bytes;
  state_.block_sizes = told_sizes;
  state_.transmission_flags = flags_for(info, !state_.contexts.empty());
  chosen_export_ = &info;
  status_ = HandshakeStatus::kTransmission;
  std::vector<std::byte>().swap(message_);
}

std::uint16_t Handshake::flags_for(const ExportInfo& info, bool payload_filter) const {
  return transmission_flags(info, state_.header_mode, payload_filter);
}

bool Handshake::has_contexts_for(const ExportInfo& info) const {
  return !state_.contexts.empty() && contexts_sequence_ == info.sequence;
}

Handshake Handshake::over_tls() const {
  assert(status_ == HandshakeStatus::kStartTls);
  HandshakeOptions options = options_;
  options.tls = TlsPolicy::kEstablished;
  Handshake next(*directory_, options);
  next.state_.tls = true;
  next.state_.fixed_newstyle = state_.fixed_newstyle;
  next.state_.no_zeroes = state_.no_zeroes;
  next.shutting_down_ = shutting_down_;
  next.expect(Stage::kOptionHeader, kOptionHeaderBytes);
  return next;
}

}  // namespace blockexport::nbd

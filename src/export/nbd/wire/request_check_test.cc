#include "export/nbd/wire/request_check.h"

#include <gtest/gtest.h>

#include <string>

#include "export/nbd/testing/handshake.h"
#include "export/nbd/wire/block_status_filter.h"
#include "export/nbd/wire/export_info.h"
#include "export/nbd/wire/wire_text.h"

namespace blockexport::nbd {
namespace {

constexpr std::uint64_t kSize = 64u << 20;
constexpr std::uint32_t kMax = kPayloadBytesMax;

SessionState session(HeaderMode mode, const ExportInfo& info = {}, bool contexts = true) {
  SessionState state;
  state.fixed_newstyle = true;
  state.header_mode = mode;
  state.export_bytes = kSize;
  const bool selected = contexts && mode != HeaderMode::kSimple;
  if (selected) state.contexts = {{"base:allocation", 0}, {"qemu:allocation-depth", 1}};
  state.transmission_flags = transmission_flags(info, mode, selected);
  return state;
}

Request make(HeaderMode mode, Command command, std::uint64_t offset, std::uint64_t length, unsigned flags = 0) {
  Request request;
  request.extended = mode == HeaderMode::kExtended;
  request.flags = static_cast<std::uint16_t>(flags);
  request.command = static_cast<std::uint16_t>(command);
  request.offset = offset;
  request.length = length;
  return request;
}

struct Case {
  const char* rule;
  HeaderMode mode;
  Command command;
  std::uint64_t offset;
  std::uint64_t length;
  unsigned flags;
  Refusal refusal;
  NbdError error;
  std::uint32_t payload;
  bool disconnect = false;
};

void expect_verdicts(const RequestRules& rules, std::span<const Case> cases) {
  for (const Case& test : cases) {
    const Verdict verdict = rules.check(make(test.mode, test.command, test.offset, test.length, test.flags));
    EXPECT_EQ(verdict.refusal, test.refusal) << test.rule;
    EXPECT_EQ(verdict.error, test.error) << test.rule;
    EXPECT_EQ(verdict.payload_bytes, test.payload) << test.rule;
    EXPECT_EQ(verdict.disconnect, test.disconnect) << test.rule;
  }
}

constexpr auto kStructured = HeaderMode::kStructured;
constexpr auto kExtended = HeaderMode::kExtended;
constexpr auto kOk = Refusal::kNone;
constexpr auto kNoError = NbdError::kNone;
constexpr auto kEinval = NbdError::kInvalid;
constexpr unsigned kPayload = command_flag::kPayloadLength;

TEST(RequestCheck, ChecksCompactRequests) {
  const Case cases[] = {
      {"read", kStructured, Command::kRead, 0, 4096, 0, kOk, kNoError, 0},
      {"write", kStructured, Command::kWrite, 0, 4096, 0, kOk, kNoError, 4096},
      {"R157 zero-length read", kStructured, Command::kRead, kSize, 0, 0, kOk, kNoError, 0},
      {"R157 zero-length write", kStructured, Command::kWrite, kSize, 0, 0, kOk, kNoError, 0},
      {"R150 read past the end", kStructured, Command::kRead, kSize - 1, 2, 0, Refusal::kPastEnd, kEinval, 0},
      {"R150 offset past the end", kStructured, Command::kRead, kSize + 1, 0, 0, Refusal::kPastEnd, kEinval, 0},
      {"R150 trim past the end", kStructured, Command::kTrim, 1, kSize, 0, Refusal::kPastEnd, kEinval, 0},
      {"R150 offset near 2^64", kStructured, Command::kRead, UINT64_MAX, 4096, 0, Refusal::kPastEnd, kEinval, 0},
      {"R151 R130 write past the end", kStructured, Command::kWrite, kSize - 1, 2, 0, Refusal::kPastEnd,
       NbdError::kNoSpace, 2},
      {"R151 zeroes past the end", kStructured, Command::kWriteZeroes, kSize, 1, 0, Refusal::kPastEnd,
       NbdError::kNoSpace, 0},
      {"R118 write of 32 MiB", kStructured, Command::kWrite, 0, kMax, 0, kOk, kNoError, kMax},
      {"write of more", kStructured, Command::kWrite, 0, kMax + 1, 0, Refusal::kTooLong, kEinval, 0, true},
      {"R153 read of more", kStructured, Command::kRead, 0, kMax + 1, 0, Refusal::kTooLong, kEinval, 0},
      {"R119 cache of more", kStructured, Command::kCache, 0, kMax + 1, 0, Refusal::kTooLong, kEinval, 0},
      {"R119 trim of more", kStructured, Command::kTrim, 0, kSize, 0, kOk, kNoError, 0},
      {"R141 DF", kStructured, Command::kRead, 0, 65536, command_flag::kDontFragment, kOk, kNoError, 0},
      {"R194 payload flag", kStructured, Command::kWrite, 0, 512, kPayload, Refusal::kBadFlags, kEinval, 512},
      {"R194 payload flag on read", kStructured, Command::kRead, 0, 512, kPayload, Refusal::kBadFlags, kEinval, 0},
      {"R165 no hole", kStructured, Command::kWriteZeroes, 0, 512, command_flag::kNoHole, kOk, kNoError, 0},
      {"R166 fast zero", kStructured, Command::kWriteZeroes, 0, 512, command_flag::kFastZero, kOk, kNoError, 0},
      {"R175 one extent", kStructured, Command::kBlockStatus, 0, 512, command_flag::kOneExtent, kOk, kNoError, 0},
      {"R157 status of nothing", kStructured, Command::kBlockStatus, 0, 0, 0, Refusal::kZeroLength, kEinval, 0},
      {"cache", kStructured, Command::kCache, 0, 512, 0, kOk, kNoError, 0},
      {"flush", kStructured, Command::kFlush, 0, 0, 0, kOk, kNoError, 0},
      {"disconnect is never judged", kStructured, Command::kDisconnect, kSize * 2, kMax * 2ull, 0xffff, kOk, kNoError,
       0},
  };
  expect_verdicts(RequestRules(session(kStructured)), cases);
}

TEST(RequestCheck, ChecksExtendedRequests) {
  constexpr std::uint64_t kHuge = 1ull << 32;
  const Case cases[] = {
      {"R186 write", kExtended, Command::kWrite, 0, 512, kPayload, kOk, kNoError, 512},
      {"write without the flag is understood", kExtended, Command::kWrite, 0, 512, 0, kOk, kNoError, 512},
      {"R187 payload on read", kExtended, Command::kRead, 0, 512, kPayload, Refusal::kUnexpectedPayload, kEinval, 512},
      {"R187 payload on flush", kExtended, Command::kFlush, 0, 8, kPayload, Refusal::kUnexpectedPayload, kEinval, 8},
      {"R188 huge payload", kExtended, Command::kTrim, 0, kMax + 1ull, kPayload, Refusal::kTooLong, kEinval, 0, true},
      {"R188 payload of 2^64-1", kExtended, Command::kWrite, 0, UINT64_MAX, kPayload, Refusal::kTooLong, kEinval, 0,
       true},
      {"R195 zeroes of 4 GiB", kExtended, Command::kWriteZeroes, 0, kHuge, 0, Refusal::kPastEnd, NbdError::kNoSpace, 0},
      {"R195 trim of 4 GiB + 512", kExtended, Command::kTrim, 0, kHuge + 512, 0, Refusal::kPastEnd, kEinval, 0},
      {"R193 status beyond", kExtended, Command::kBlockStatus, 0, UINT64_MAX, 0, Refusal::kPastEnd, kEinval, 0},
      {"R193 status of 2^63-512", kExtended, Command::kBlockStatus, 0, (1ull << 63) - 512, 0, Refusal::kPastEnd,
       kEinval, 0},
      {"R191 filter", kExtended, Command::kBlockStatus, 0, 12, kPayload, kOk, kNoError, 12},
      {"R192 filter of too many", kExtended, Command::kBlockStatus, 0, 20, kPayload, Refusal::kBadPayload, kEinval, 20},
      {"read of 4 GiB", kExtended, Command::kRead, 0, kHuge, 0, Refusal::kTooLong, kEinval, 0},
  };
  expect_verdicts(RequestRules(session(kExtended)), cases);
}

TEST(RequestCheck, R191_filter_that_was_not_offered_is_skipped) {
  const RequestRules rules(session(kExtended, {}, false));
  const Verdict verdict = rules.check(make(kExtended, Command::kBlockStatus, 0, 12, kPayload));
  EXPECT_EQ(verdict.error, kEinval);
  EXPECT_EQ(verdict.payload_bytes, 12u);
}

TEST(RequestCheck, R57_R152_nothing_writes_to_a_read_only_export) {
  ExportInfo info;
  info.read_only = true;
  const RequestRules rules(session(kStructured, info));
  for (const Command command : {Command::kWrite, Command::kTrim, Command::kWriteZeroes}) {
    const Verdict verdict = rules.check(make(kStructured, command, 0, 512));
    EXPECT_EQ(verdict.error, NbdError::kNotPermitted);
    EXPECT_EQ(verdict.payload_bytes, command == Command::kWrite ? 512u : 0u);
  }
  for (const Command command : {Command::kRead, Command::kFlush, Command::kCache, Command::kBlockStatus}) {
    EXPECT_TRUE(rules.check(make(kStructured, command, 0, 512)).ok());
  }
}

TEST(RequestCheck, R148_unknown_commands_are_invalid) {
  const RequestRules rules(session(kStructured));
  for (const unsigned command : {8u, 9u, 255u, 0xffffu}) {
    const Verdict verdict = rules.check(make(kStructured, static_cast<Command>(command), 0, 512));
    EXPECT_EQ(verdict.refusal, Refusal::kUnknownCommand);
    EXPECT_EQ(verdict.error, kEinval);
    EXPECT_FALSE(verdict.disconnect);
  }
}

TEST(RequestCheck, BadMagicIsAnsweredOnceThenTheConnectionEnds) {
  Request request = make(kStructured, Command::kRead, 0, 512);
  request.magic_ok = false;
  const Verdict verdict = RequestRules(session(kStructured)).check(request);
  EXPECT_EQ(verdict.error, kEinval);
  EXPECT_TRUE(verdict.disconnect);
}

TEST(RequestCheck, R90_block_status_needs_a_context) {
  const RequestRules rules(session(kStructured, {}, false));
  EXPECT_EQ(rules.check(make(kStructured, Command::kBlockStatus, 0, 512)).refusal, Refusal::kNoContexts);
}

// The flags of a command in a session that offers everything.
unsigned documented_flags(Command command, HeaderMode mode) {
  const bool chunks = mode != HeaderMode::kSimple;
  const bool extended = mode == HeaderMode::kExtended;
  switch (command) {
    case Command::kRead:
      return command_flag::kFua | (chunks ? command_flag::kDontFragment : 0u);
    case Command::kWrite:
      return command_flag::kFua | (extended ? kPayload : 0u);
    case Command::kWriteZeroes:
      return command_flag::kFua | command_flag::kNoHole | command_flag::kFastZero;
    case Command::kBlockStatus:
      return command_flag::kFua | command_flag::kOneExtent | (extended ? kPayload : 0u);
    default:
      return command_flag::kFua;
  }
}

TEST(RequestCheck, R149_R158_every_command_with_every_flag_bit) {
  for (const HeaderMode mode : {HeaderMode::kSimple, kStructured, kExtended}) {
    const RequestRules rules(session(mode));
    for (unsigned number = 0; number < kCommandCount; ++number) {
      const auto command = static_cast<Command>(number);
      if (command == Command::kDisconnect) continue;
      if (command == Command::kBlockStatus && mode == HeaderMode::kSimple) continue;
      for (unsigned flag = 1; flag < 0x10000; flag <<= 1) {
        const std::uint64_t length = command == Command::kBlockStatus && flag == kPayload ? 12 : 512;
        const Verdict verdict = rules.check(make(mode, command, 0, length, flag));
        const bool fine = (documented_flags(command, mode) & flag) != 0;
        EXPECT_EQ(verdict.ok(), fine) << number << " flag " << flag;
        EXPECT_EQ(verdict.error, fine ? kNoError : kEinval) << number << " flag " << flag;
        EXPECT_FALSE(verdict.disconnect);
      }
    }
  }
}

TEST(RequestCheck, R56_R168_what_is_not_offered_is_refused) {
  ExportInfo poor;
  poor.can_flush = poor.can_fua = poor.can_trim = poor.can_fast_zero = poor.can_cache = false;
  const RequestRules rules(session(kStructured, poor));
  EXPECT_EQ(rules.check(make(kStructured, Command::kFlush, 0, 0)).refusal, Refusal::kNotOffered);
  EXPECT_EQ(rules.check(make(kStructured, Command::kTrim, 0, 512)).refusal, Refusal::kNotOffered);
  EXPECT_EQ(rules.check(make(kStructured, Command::kCache, 0, 512)).refusal, Refusal::kNotOffered);
  EXPECT_EQ(rules.check(make(kStructured, Command::kWrite, 0, 512, command_flag::kFua)).error, kEinval);
  EXPECT_EQ(rules.check(make(kStructured, Command::kWriteZeroes, 0, 512, command_flag::kFastZero)).error, kEinval);
  EXPECT_TRUE(rules.check(make(kStructured, Command::kWriteZeroes, 0, 512)).ok());
}

TEST(RequestCheck, R117_unaligned_requests_of_a_client_that_was_told) {
  SessionState state = session(kStructured);
  state.block_sizes.minimum = 4096;
  const RequestRules rules(state);
  EXPECT_EQ(rules.check(make(kStructured, Command::kRead, 512, 4096)).refusal, Refusal::kUnaligned);
  const Verdict write = rules.check(make(kStructured, Command::kWrite, 4096, 512));
  EXPECT_EQ(write.error, kEinval);
  EXPECT_EQ(write.payload_bytes, 512u);
  EXPECT_TRUE(rules.check(make(kStructured, Command::kWrite, 4096, 8192)).ok());
  const RequestRules lenient(state, UnalignedRequests::kServe);
  EXPECT_TRUE(lenient.check(make(kStructured, Command::kRead, 512, 1)).ok());
}

TEST(RequestCheck, LengthsNearTheLimitsNeverExceedThem) {
  const std::uint64_t lengths[] = {0x2000001, 0x4000001, 0x80000000, 0xffffffff, 1ull << 32, 1ull << 63, UINT64_MAX};
  for (const HeaderMode mode : {HeaderMode::kSimple, kStructured, kExtended}) {
    const RequestRules rules(session(mode));
    for (const std::uint64_t length : lengths) {
      if (mode != kExtended && length > UINT32_MAX) continue;
      for (const Command command : {Command::kRead, Command::kWrite}) {
        const Verdict verdict = rules.check(make(mode, command, 0, length));
        EXPECT_EQ(verdict.error, kEinval);
        EXPECT_EQ(verdict.payload_bytes, 0u);
      }
    }
  }
}

TEST(RequestCheck, TextsNameTheFault) {
  const RequestRules rules(session(kStructured));
  char buffer[kErrorTextBytesMax];
  const auto text = [&](const Request& request) { return rules.describe(request, rules.check(request), buffer); };
  EXPECT_EQ(text(make(kStructured, Command::kRead, 0, 512)), "");
  EXPECT_EQ(text(make(kStructured, Command::kRead, 0, kMax + 1)), "len (33554433) is larger than max len (33554432)");
  EXPECT_EQ(text(make(kStructured, Command::kTrim, 1, kSize)),
            "operation past EOF; From: 1, Len: 67108864, Size: 67108864");
  EXPECT_EQ(text(make(kStructured, Command::kFlush, 0, 0, 0x10)), "unsupported flags for command flush (got 0x10)");
  EXPECT_EQ(text(make(kStructured, static_cast<Command>(99), 0, 0)), "invalid request type (99) received");
}

TEST(BlockStatusFilter, R191_R192_only_whole_lists_of_selected_ids) {
  const std::vector<ContextInfo> selected = {{"base:allocation", 0}, {"qemu:dirty-bitmap:b", 7}};
  const auto parse = [&](std::vector<std::uint32_t> ids) {
    testing::ClientBytes payload;
    payload.u64(4096);
    for (const std::uint32_t id : ids) payload.u32(id);
    return parse_block_status_payload(payload.bytes(), selected);
  };
  const auto both = parse({7, 0});
  ASSERT_TRUE(both.has_value());
  EXPECT_EQ(both->length, 4096u);
  EXPECT_EQ(both->context_ids, (std::vector<std::uint32_t>{0, 7}));
  EXPECT_TRUE(parse({7}).has_value());
  EXPECT_FALSE(parse({}).has_value());
  EXPECT_FALSE(parse({1}).has_value());
  EXPECT_FALSE(parse({7, 7}).has_value());
  EXPECT_FALSE(parse({0, 7, 0}).has_value());
  for (const std::size_t size : {0u, 7u, 11u, 13u}) {
    EXPECT_FALSE(parse_block_status_payload(std::vector<std::byte>(size), selected).has_value());
  }
}

TEST(BlockStatusFilter, R193_its_range_is_checked_like_any_other) {
  const RequestRules rules(session(kExtended));
  EXPECT_TRUE(rules.check_status_range(0, kSize).ok());
  EXPECT_EQ(rules.check_status_range(1, kSize).error, kEinval);
  EXPECT_EQ(rules.check_status_range(0, UINT64_MAX).error, kEinval);
  EXPECT_EQ(rules.check_status_range(0, 0).refusal, Refusal::kZeroLength);
}

}  // namespace
}  // namespace blockexport::nbd

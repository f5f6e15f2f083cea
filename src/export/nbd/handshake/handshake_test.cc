// Handshake: greeting, option negotiation in general, EXPORT_NAME, mode changes and TLS. INFO, GO and contexts: see
// handshake_info_test.cc; hostile clients: see handshake_hostile_test.cc.
#include "export/nbd/handshake/handshake.h"

#include <gtest/gtest.h>

#include "export/nbd/testing/handshake.h"

namespace blockexport::nbd {
namespace {

using testing::Bytes;
using testing::ClientBytes;
using testing::Conversation;
using testing::FakeDirectory;
using testing::Reply;

constexpr HandshakeOptions kTlsRequired{.tls = TlsPolicy::kRequired, .limits = {}};

class HandshakeTest : public ::testing::Test {
 protected:
  HandshakeTest() { directory_.add("disk"); }
  FakeDirectory directory_;
};

TEST_F(HandshakeTest, R8_R9_R10_greeting_offers_fixed_newstyle_and_no_zeroes_only) {
  Handshake handshake(directory_);
  Bytes output;
  handshake.greet(output);
  EXPECT_EQ(output, ClientBytes().u64(kNbdMagic).u64(kOptionMagic).u16(3).bytes());
}

TEST_F(HandshakeTest, R11_unknown_client_flags_end_the_connection) {
  for (unsigned bit = 0; bit < 32; ++bit) {
    Conversation client(directory_, {}, 1u << bit);
    EXPECT_EQ(client.status, bit < 2 ? HandshakeStatus::kNeedInput : HandshakeStatus::kClose) << bit;
    EXPECT_TRUE(client.output.empty());
  }
}

TEST_F(HandshakeTest, R16_without_fixed_newstyle_only_export_name_is_served) {
  for (std::uint32_t option = 2; option < 13; ++option) {
    Conversation client(directory_, {}, 0);
    EXPECT_EQ(client.send(ClientBytes().option_header(option, 0)), HandshakeStatus::kClose);
    EXPECT_TRUE(client.output.empty());
  }
  Conversation client(directory_, {}, 0);
  EXPECT_EQ(client.send(ClientBytes().export_name("disk")), HandshakeStatus::kTransmission);
}

TEST_F(HandshakeTest, R35_R14_no_zeroes_leaves_out_padding) {
  Conversation client(directory_, {}, 3);
  EXPECT_EQ(client.send(ClientBytes().export_name("disk")), HandshakeStatus::kTransmission);
  EXPECT_EQ(client.output, ClientBytes().u64(1u << 20).u16(0xd6d).bytes());
}

TEST_F(HandshakeTest, R15_without_no_zeroes_124_zero_bytes_follow) {
  Conversation client(directory_, {}, 1);
  client.send(ClientBytes().export_name("disk"));
  Bytes expected = ClientBytes().u64(1u << 20).u16(0xd6d).bytes();
  expected.resize(10 + 124);
  EXPECT_EQ(client.output, expected);
}

TEST_F(HandshakeTest, R34_unknown_export_name_ends_the_connection_without_a_byte) {
  Conversation client(directory_);
  EXPECT_EQ(client.send(ClientBytes().export_name("nope")), HandshakeStatus::kClose);
  EXPECT_TRUE(client.output.empty());
  EXPECT_EQ(client.handshake.close_reason(), "export 'nope' not found");
}

TEST_F(HandshakeTest, R36_the_empty_name_is_the_export_of_that_name) {
  Conversation without(directory_);
  EXPECT_EQ(without.send(ClientBytes().export_name("")), HandshakeStatus::kClose);
  directory_.add("");
  Conversation with(directory_);
  EXPECT_EQ(with.send(ClientBytes().export_name("")), HandshakeStatus::kTransmission);
}

TEST_F(HandshakeTest, BytesAfterExportNameAreLeftToTheCaller) {
  Conversation client(directory_);
  EXPECT_EQ(client.send(ClientBytes().export_name("disk").text("request")), HandshakeStatus::kTransmission);
  EXPECT_EQ(client.left_over, ClientBytes().text("request").bytes());
  ASSERT_NE(client.handshake.chosen_export(), nullptr);
  EXPECT_EQ(client.handshake.chosen_export()->name, "disk");
  // Further calls of feed() have no effect.
  EXPECT_EQ(client.send(ClientBytes().option(Option::kList)), HandshakeStatus::kTransmission);
  EXPECT_EQ(client.left_over.size(), 16u);
}

TEST_F(HandshakeTest, R17_R18_R32_unknown_options_are_unsupported_under_their_own_number) {
  Conversation client(directory_);
  for (const std::uint32_t option : {0u, 4u, 12u, 99u, 0xffffffffu}) {
    const Reply reply = client.ask(ClientBytes().option_header(option, 3).text("abc"));
    EXPECT_EQ(reply.option, option);
    EXPECT_EQ(reply.type, OptionReply::kErrorUnsupported);
  }
  EXPECT_EQ(client.ask(ClientBytes().option_header(99, 0)).text(), "Unsupported option 99 (<unknown>)");
}

TEST_F(HandshakeTest, R19_a_large_unknown_payload_is_skipped_without_being_kept) {
  Conversation client(directory_);
  client.send(ClientBytes().option_header(99, 32u << 20));
  const Bytes piece(1u << 20);
  for (int sent = 0; sent < 32; ++sent) {
    EXPECT_TRUE(client.output.empty());
    client.send(piece);
  }
  const auto replies = client.replies();
  ASSERT_EQ(replies.size(), 1u);
  EXPECT_EQ(replies[0].type, OptionReply::kErrorUnsupported);
  EXPECT_EQ(client.ask(ClientBytes().option(Option::kStructuredReply)).type, OptionReply::kAck);
}

TEST_F(HandshakeTest, R25_R26_abort_is_acknowledged_whatever_it_carries) {
  Conversation client(directory_);
  EXPECT_EQ(client.send(ClientBytes().option(Option::kAbort, Bytes(5000))), HandshakeStatus::kClose);
  const auto replies = client.replies();
  ASSERT_EQ(replies.size(), 1u);
  EXPECT_EQ(replies[0].type, OptionReply::kAck);
  EXPECT_TRUE(replies[0].payload.empty());
}

TEST_F(HandshakeTest, R28_R29_list_names_every_export_oldest_first) {
  directory_.add("second").description = "a description";
  directory_.add("");
  Conversation client(directory_);
  client.send(ClientBytes().option(Option::kList));
  const auto replies = client.replies();
  ASSERT_EQ(replies.size(), 4u);
  EXPECT_EQ(replies[0].payload, ClientBytes().u32(4).text("disk").bytes());
  EXPECT_EQ(replies[1].payload, ClientBytes().u32(6).text("seconda description").bytes());
  EXPECT_EQ(replies[2].payload, ClientBytes().u32(0).bytes());
  for (int index = 0; index < 3; ++index) EXPECT_EQ(replies[index].type, OptionReply::kServer);
  EXPECT_EQ(replies[3].type, OptionReply::kAck);
}

TEST_F(HandshakeTest, R30_R65_R68_R97_options_without_payload_refuse_one) {
  Conversation client(directory_);
  const struct {
    Option option;
    const char* text;
  } cases[] = {
      {Option::kList, "option 'list' has unexpected length"},
      {Option::kStartTls, "option 'starttls' has unexpected length"},
      {Option::kStructuredReply, "option 'structured reply' has unexpected length"},
      {Option::kExtendedHeaders, "option 'extended headers' has unexpected length"},
  };
  for (const auto& [option, text] : cases) {
    const Reply reply = client.ask(ClientBytes().option(option, Bytes(9)));
    EXPECT_EQ(reply.type, OptionReply::kErrorInvalid);
    EXPECT_EQ(reply.text(), text);
  }
  EXPECT_EQ(client.handshake.state().header_mode, HeaderMode::kSimple);  // R66
}

TEST_F(HandshakeTest, R64_R66_structured_replies_are_granted_once) {
  Conversation client(directory_);
  const ClientBytes ask = ClientBytes().option(Option::kStructuredReply);
  EXPECT_EQ(client.ask(ask).type, OptionReply::kAck);
  const Reply again = client.ask(ask);
  EXPECT_EQ(again.type, OptionReply::kErrorInvalid);
  EXPECT_EQ(again.text(), "structured reply already negotiated");
  EXPECT_EQ(client.handshake.state().header_mode, HeaderMode::kStructured);
}

TEST_F(HandshakeTest, R69_R70_extended_headers_win_over_structured_replies) {
  for (const bool structured_first : {false, true}) {
    Conversation client(directory_);
    if (structured_first) client.ask(ClientBytes().option(Option::kStructuredReply));
    EXPECT_EQ(client.ask(ClientBytes().option(Option::kExtendedHeaders)).type, OptionReply::kAck);
    EXPECT_EQ(client.ask(ClientBytes().option(Option::kExtendedHeaders)).type, OptionReply::kErrorInvalid);
    EXPECT_EQ(client.ask(ClientBytes().option(Option::kStructuredReply)).type,
              OptionReply::kErrorExtendedHeaderRequired);
    EXPECT_EQ(client.handshake.state().header_mode, HeaderMode::kExtended);
  }
}

TEST_F(HandshakeTest, ExportNameAfterExtendedHeadersEndsTheConnection) {
  Conversation client(directory_);
  client.ask(ClientBytes().option(Option::kExtendedHeaders));
  EXPECT_EQ(client.send(ClientBytes().export_name("disk")), HandshakeStatus::kClose);
}

TEST_F(HandshakeTest, R95_R96_without_tls_starttls_is_against_the_policy) {
  Conversation client(directory_);
  const Reply reply = client.ask(ClientBytes().option(Option::kStartTls));
  EXPECT_EQ(reply.type, OptionReply::kErrorPolicy);
  EXPECT_EQ(reply.text(), "TLS not configured");
  EXPECT_EQ(client.status, HandshakeStatus::kNeedInput);
}

TEST_F(HandshakeTest, R100_R101_before_required_tls_only_starttls_and_abort_are_served) {
  for (const std::uint32_t option : {3u, 4u, 6u, 7u, 8u, 9u, 10u, 11u, 99u}) {
    Conversation client(directory_, kTlsRequired);
    const Reply reply = client.ask(ClientBytes().option_header(option, 5).text("12345"));
    EXPECT_EQ(reply.option, option) << option;
    EXPECT_EQ(reply.type, OptionReply::kErrorTlsRequired) << option;
  }
  Conversation aborting(directory_, kTlsRequired);
  EXPECT_EQ(aborting.ask(ClientBytes().option(Option::kAbort)).type, OptionReply::kAck);
  EXPECT_EQ(aborting.status, HandshakeStatus::kClose);
  for (const std::uint32_t flags : {0u, 1u}) {
    Conversation old(directory_, kTlsRequired, flags);
    EXPECT_EQ(old.send(ClientBytes().export_name("disk")), HandshakeStatus::kClose);
    EXPECT_TRUE(old.output.empty());
  }
  Conversation client(directory_, kTlsRequired);
  EXPECT_EQ(client.ask(ClientBytes().option_header(99, 0)).text(), "Option 0x63 not permitted before TLS");
}

TEST_F(HandshakeTest, R97_starttls_with_payload_stays_in_step) {
  Conversation client(directory_, kTlsRequired);
  EXPECT_EQ(client.ask(ClientBytes().option(Option::kStartTls, Bytes(7))).type, OptionReply::kErrorInvalid);
  EXPECT_EQ(client.ask(ClientBytes().option(Option::kStartTls)).type, OptionReply::kAck);
  EXPECT_EQ(client.status, HandshakeStatus::kStartTls);
}

TEST_F(HandshakeTest, R98_R99_R103_after_tls_haggling_starts_anew) {
  Conversation client(directory_, kTlsRequired);
  EXPECT_EQ(client.send(ClientBytes().option(Option::kStartTls)), HandshakeStatus::kStartTls);
  client.replies();
  client.handshake = client.handshake.over_tls();
  EXPECT_TRUE(client.handshake.state().tls);
  const Reply again = client.ask(ClientBytes().option(Option::kStartTls));
  EXPECT_EQ(again.type, OptionReply::kErrorInvalid);
  EXPECT_EQ(again.text(), "TLS already enabled");
  client.send(ClientBytes().option(Option::kList));
  EXPECT_EQ(client.replies().size(), 2u);
  EXPECT_EQ(client.send(ClientBytes().export_name("disk")), HandshakeStatus::kTransmission);
}

TEST_F(HandshakeTest, ClearBytesBehindStartTlsEndTheConnection) {
  Conversation client(directory_, kTlsRequired);
  EXPECT_EQ(client.send(ClientBytes().option(Option::kStartTls).option(Option::kList)), HandshakeStatus::kClose);
}

TEST_F(HandshakeTest, R22_while_shutting_down_only_abort_is_served) {
  Conversation client(directory_);
  client.handshake.begin_shutdown();
  EXPECT_EQ(client.ask(ClientBytes().option(Option::kList)).type, OptionReply::kErrorShutdown);
  EXPECT_EQ(client.ask(ClientBytes().info(Option::kGo, "disk")).type, OptionReply::kErrorShutdown);
  EXPECT_EQ(client.ask(ClientBytes().option(Option::kAbort)).type, OptionReply::kAck);
}

TEST_F(HandshakeTest, ARefusedClientMayOnlyAbort) {
  Conversation client(directory_);
  client.handshake.refuse_all("banned");
  const Reply refused = client.ask(ClientBytes().info(Option::kGo, "disk"));
  EXPECT_EQ(refused.type, OptionReply::kErrorPolicy);
  EXPECT_EQ(refused.text(), "banned");
  EXPECT_EQ(client.ask(ClientBytes().option(Option::kList)).type, OptionReply::kErrorPolicy);
  EXPECT_EQ(client.handshake.refusal_reason(), "banned");
  EXPECT_EQ(client.ask(ClientBytes().option(Option::kAbort)).type, OptionReply::kAck);
  Conversation older(directory_);
  older.handshake.refuse_all("banned");
  EXPECT_EQ(older.send(ClientBytes().export_name("disk")), HandshakeStatus::kClose);
  EXPECT_EQ(older.handshake.close_reason(), "banned");
}

// Answers every question about an export until the handshake has another status.
void answer_all(Conversation& client, bool allowed) {
  while (client.status == HandshakeStatus::kAuthorize) {
    client.handshake.authorized(allowed);
    client.send(Bytes());
  }
}

TEST(Handshake, ARestrictedExportIsAskedAboutOncePerOption) {
  FakeDirectory directory;
  directory.add("disk").is_restricted = true;
  Conversation client(directory);
  for (const bool allowed : {false, true}) {
    EXPECT_EQ(client.send(ClientBytes().info(Option::kInfo, "disk")), HandshakeStatus::kAuthorize);
    EXPECT_EQ(client.handshake.wanted_export(), "disk");
    EXPECT_FALSE(client.handshake.is_listing());
    EXPECT_TRUE(client.output.empty());
    client.handshake.authorized(allowed);
    client.send(Bytes());
    const auto replies = client.replies();
    ASSERT_FALSE(replies.empty());
    EXPECT_EQ(replies.back().type, allowed ? OptionReply::kAck : OptionReply::kErrorUnknown);
  }
  EXPECT_EQ(client.send(ClientBytes().info(Option::kGo, "disk")), HandshakeStatus::kAuthorize);
  client.handshake.authorized(true);
  EXPECT_EQ(client.send(Bytes()), HandshakeStatus::kTransmission);
}

TEST(Handshake, ARefusedExportIsAnsweredAsOneThatDoesNotExist) {
  FakeDirectory without;
  FakeDirectory with;
  with.add("disk").is_restricted = true;
  const auto answers = [](FakeDirectory& directory) {
    Conversation client(directory);
    client.send(ClientBytes().option(Option::kStructuredReply));
    for (const Option option : {Option::kInfo, Option::kGo}) {
      client.send(ClientBytes().info(option, "disk"));
      answer_all(client, false);
    }
    for (const Option option : {Option::kListMetaContext, Option::kSetMetaContext}) {
      client.send(ClientBytes().meta(option, "disk", {"base:allocation"}));
      answer_all(client, false);
    }
    client.send(ClientBytes().option(Option::kList));
    answer_all(client, false);
    client.send(ClientBytes().export_name("disk"));
    answer_all(client, false);
    EXPECT_EQ(client.status, HandshakeStatus::kClose);
    return std::pair(client.output, std::string(client.handshake.close_reason()));
  };
  EXPECT_EQ(answers(with), answers(without));
}

TEST(Handshake, AListHasOnlyExportsThatTheClientMayUse) {
  FakeDirectory directory;
  directory.add("all").description = "for all";
  ExportInfo& hidden = directory.add("hidden");
  hidden.is_restricted = true;
  hidden.description = "secret";
  directory.add("mine").is_restricted = true;
  directory.add("last");
  Conversation client(directory);
  client.send(ClientBytes().option(Option::kList));
  std::vector<std::string> asked;
  while (client.status == HandshakeStatus::kAuthorize) {
    EXPECT_TRUE(client.handshake.is_listing());
    asked.emplace_back(client.handshake.wanted_export());
    client.handshake.authorized(asked.back() == "mine");
    client.send(Bytes());
  }
  EXPECT_EQ(asked, (std::vector<std::string>{"hidden", "mine"}));
  std::vector<std::string> listed;
  for (const Reply& reply : client.replies()) {
    if (reply.type == OptionReply::kServer) listed.push_back(reply.text(4));
  }
  EXPECT_EQ(listed, (std::vector<std::string>{"allfor all", "mine", "last"}));
  EXPECT_FALSE(client.handshake.is_listing());
}

TEST(Handshake, ADecisionAboutARemovedExportIsIgnored) {
  FakeDirectory directory;
  directory.add("disk").is_restricted = true;
  Conversation client(directory);
  EXPECT_EQ(client.send(ClientBytes().info(Option::kGo, "disk")), HandshakeStatus::kAuthorize);
  directory.remove("disk");
  directory.add("disk").is_restricted = true;
  client.handshake.authorized(true);
  EXPECT_EQ(client.send(Bytes()), HandshakeStatus::kAuthorize);
  directory.remove("disk");
  client.handshake.authorized(true);
  client.send(Bytes());
  EXPECT_EQ(client.replies().back().type, OptionReply::kErrorUnknown);
}

TEST(Handshake, TlsThatCannotBeginIsRefusedWithTheReason) {
  struct WithoutCredentials : FakeDirectory {
    std::optional<std::string> tls_refusal() override { return "no credentials"; }
  } directory;
  Conversation client(directory, kTlsRequired);
  const Reply reply = client.ask(ClientBytes().option(Option::kStartTls));
  EXPECT_EQ(reply.type, OptionReply::kErrorPolicy);
  EXPECT_EQ(reply.text(), "no credentials");
  EXPECT_EQ(client.status, HandshakeStatus::kNeedInput);
}

}  // namespace
}  // namespace blockexport::nbd

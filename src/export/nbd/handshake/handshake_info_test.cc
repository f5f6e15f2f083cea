// INFO, GO, transmission flags, block sizes and the two META_CONTEXT options.
#include <gtest/gtest.h>

#include "export/nbd/handshake/handshake.h"
#include "export/nbd/testing/handshake.h"
#include "export/nbd/wire/wire_text.h"

namespace blockexport::nbd {
namespace {

using testing::Bytes;
using testing::ClientBytes;
using testing::Conversation;
using testing::FakeDirectory;
using testing::Reply;

class HandshakeInfo : public ::testing::Test {
 protected:
  HandshakeInfo() { directory_.add("disk"); }
  FakeDirectory directory_;
};

std::string shape(const std::vector<Reply>& replies) {
  std::string result;
  for (const Reply& reply : replies) {
    if (reply.type == OptionReply::kInfo) {
      result += "ENDB"[static_cast<unsigned>(reply.payload.at(1))];
    } else {
      result += reply.type == OptionReply::kAck ? '.' : '!';
    }
  }
  return result;
}

TEST_F(HandshakeInfo, R38_R39_R40_R41_R42_R43_R44_the_answer_in_its_order) {
  ExportInfo& info = directory_.add("full");
  info.description = "words";
  info.block_sizes = {.minimum = 512, .preferred = 65536, .maximum = 1u << 20};
  Conversation client(directory_);
  const auto everything = {InfoType::kBlockSize, InfoType::kName, InfoType::kName, static_cast<InfoType>(77)};
  client.send(ClientBytes().info(Option::kInfo, "full", everything));
  const auto replies = client.replies();
  ASSERT_EQ(shape(replies), "NDBE.");
  EXPECT_EQ(replies[0].payload, ClientBytes().u16(1).text("full").bytes());
  EXPECT_EQ(replies[1].payload, ClientBytes().u16(2).text("words").bytes());
  EXPECT_EQ(replies[2].payload, ClientBytes().u16(3).u32(512).u32(65536).u32(1u << 20).bytes());
  EXPECT_EQ(replies[3].payload, ClientBytes().u16(0).u64(1u << 20).u16(0xd6d).bytes());
  EXPECT_EQ(client.status, HandshakeStatus::kNeedInput);  // R52
}

TEST_F(HandshakeInfo, NamesAreSentOnRequestOnlyAndEmptyDescriptionsAreSent) {
  directory_.add("empty").description = "";
  Conversation client(directory_);
  client.send(ClientBytes().info(Option::kInfo, "disk"));
  EXPECT_EQ(shape(client.replies()), "BE.");
  client.send(ClientBytes().info(Option::kInfo, "empty"));
  EXPECT_EQ(shape(client.replies()), "DBE.");
}

TEST_F(HandshakeInfo, R50_R51_go_says_the_same_and_enters_transmission_at_once) {
  Conversation client(directory_, {}, 1);
  client.send(ClientBytes().info(Option::kInfo, "disk", {InfoType::kName}));
  auto told = client.replies();
  const HandshakeStatus status = client.send(ClientBytes().info(Option::kGo, "disk", {InfoType::kName}).text("next"));
  EXPECT_EQ(status, HandshakeStatus::kTransmission);
  EXPECT_EQ(client.left_over.size(), 4u);
  const auto again = client.replies();
  ASSERT_EQ(told.size(), again.size());
  for (std::size_t index = 0; index < told.size(); ++index) EXPECT_EQ(told[index].payload, again[index].payload);
}

TEST_F(HandshakeInfo, R46_R47_R52_an_unknown_export_is_unknown_and_haggling_goes_on) {
  Conversation client(directory_);
  for (const Option option : {Option::kInfo, Option::kGo}) {
    const Reply reply = client.ask(ClientBytes().info(option, "nope"));
    EXPECT_EQ(reply.type, OptionReply::kErrorUnknown);
    EXPECT_EQ(reply.text(), "export 'nope' not present");
  }
  EXPECT_EQ(client.send(ClientBytes().info(Option::kGo, "disk")), HandshakeStatus::kTransmission);
}

TEST_F(HandshakeInfo, R45_lengths_inside_info_and_go_have_to_add_up) {
  const struct {
    ClientBytes payload;
    const char* text;
  } cases[] = {
      {ClientBytes(), "Inconsistent lengths in option go"},
      {ClientBytes().u16(0), "Inconsistent lengths in option go"},
      {ClientBytes().u32(4).text("disk"), "Inconsistent lengths in option go"},
      {ClientBytes().u32(7).text("disk").u16(0), "Inconsistent lengths in option go"},
      {ClientBytes().u32(4).text("disk").u16(1), "Inconsistent lengths in option go"},
      {ClientBytes().u32(4).text("disk").u16(65535), "Inconsistent lengths in option go"},
      {ClientBytes().u32(4).text("disk").u16(0).u16(0), "option 'go' has unexpected length"},
      {ClientBytes().u32(4097), "Invalid name length: 4097"},
      {ClientBytes().u32(0x7fffffff), "Invalid name length: 2147483647"},
      {ClientBytes().u32(0xffffffff), "Invalid name length: 4294967295"},
      {ClientBytes().u32(4).text(std::string_view("di\0k", 4)).u16(0), "Unexpected embedded NUL in option go"},
  };
  Conversation client(directory_);
  for (const auto& [payload, text] : cases) {
    const Reply reply = client.ask(ClientBytes().option(Option::kGo, payload.bytes()));
    EXPECT_EQ(reply.type, OptionReply::kErrorInvalid);
    EXPECT_EQ(reply.text(), text);
    EXPECT_EQ(client.status, HandshakeStatus::kNeedInput);
  }
}

// The transmission flags in the EXPORT information of the reply to an INFO or GO.
std::uint16_t flags_told(Conversation& client, Option option) {
  client.send(ClientBytes().info(option, "disk"));
  const auto replies = client.replies();
  const Bytes& payload = replies.at(replies.size() - 2).payload;
  return static_cast<std::uint16_t>(static_cast<unsigned>(payload.at(10)) << 8 | static_cast<unsigned>(payload.at(11)));
}

TEST_F(HandshakeInfo, R55_R56_R58_R61_R62_R63_transmission_flags) {
  const struct {
    bool read_only;
    HeaderMode mode;
    bool contexts;
    Option option;
    std::uint16_t flags;
  } cases[] = {
      {false, HeaderMode::kSimple, false, Option::kGo, 0xd6d},
      {false, HeaderMode::kStructured, false, Option::kGo, 0xded},
      {true, HeaderMode::kSimple, false, Option::kGo, 0x50f},
      {true, HeaderMode::kStructured, false, Option::kGo, 0x58f},
      {false, HeaderMode::kStructured, true, Option::kGo, 0xded},
      {false, HeaderMode::kExtended, false, Option::kInfo, 0x1ded},
      {false, HeaderMode::kExtended, false, Option::kGo, 0xded},  // R62
      {false, HeaderMode::kExtended, true, Option::kGo, 0x1ded},
      {true, HeaderMode::kExtended, true, Option::kGo, 0x158f},
  };
  for (const auto& test : cases) {
    FakeDirectory directory;
    directory.add("disk").read_only = test.read_only;
    Conversation client(directory);
    if (test.mode == HeaderMode::kStructured) client.ask(ClientBytes().option(Option::kStructuredReply));
    if (test.mode == HeaderMode::kExtended) client.ask(ClientBytes().option(Option::kExtendedHeaders));
    if (test.contexts) client.send(ClientBytes().meta(Option::kSetMetaContext, "disk", {"base:allocation"}));
    client.replies();
    EXPECT_EQ(flags_told(client, test.option), test.flags);
    if (test.option == Option::kGo) EXPECT_EQ(client.handshake.state().transmission_flags, test.flags);
  }
}

TEST(TransmissionFlags, R59_R60_follow_what_the_export_can_do) {
  ExportInfo info;
  info.multi_conn = false;
  info.can_write_zeroes = false;
  info.can_trim = false;
  info.rotational = true;
  EXPECT_EQ(transmission_flags(info, HeaderMode::kSimple, true), 0x41d);
}

TEST_F(HandshakeInfo, R48_R49_R115_a_minimum_block_size_is_told_to_who_asks) {
  directory_.add("big").block_sizes = {.minimum = 4096, .preferred = 4096, .maximum = 32u << 20};
  Conversation curious(directory_);
  curious.send(ClientBytes().info(Option::kInfo, "big"));
  const auto replies = curious.replies();
  EXPECT_EQ(shape(replies), "BE!");
  EXPECT_EQ(replies.back().type, OptionReply::kErrorBlockSizeRequired);
  curious.send(ClientBytes().info(Option::kInfo, "big", {InfoType::kBlockSize}));
  EXPECT_EQ(shape(curious.replies()), "BE.");
  curious.send(ClientBytes().info(Option::kGo, "big", {InfoType::kBlockSize}));
  EXPECT_EQ(curious.handshake.state().block_sizes.minimum, 4096u);

  Conversation plain(directory_);
  EXPECT_EQ(plain.send(ClientBytes().info(Option::kGo, "big")), HandshakeStatus::kTransmission);
  EXPECT_EQ(plain.handshake.state().block_sizes.minimum, 1u);
  Conversation old(directory_);
  old.send(ClientBytes().export_name("big"));
  EXPECT_EQ(old.handshake.state().block_sizes, BlockSizes{});  // R114
}

std::string contexts(const std::vector<Reply>& replies) {
  std::string result;
  for (const Reply& reply : replies) {
    if (reply.type == OptionReply::kMetaContext) {
      result += std::to_string(static_cast<unsigned>(reply.payload.at(3))) + "=" + reply.text(4) + " ";
    } else {
      result += reply.type == OptionReply::kAck ? "ACK" : "ERROR";
    }
  }
  return result;
}

class MetaContextOptions : public HandshakeInfo {
 protected:
  MetaContextOptions() {
    directory_.add("maps").contexts = {{"base:allocation", 0}, {"qemu:allocation-depth", 1}};
    client_.ask(ClientBytes().option(Option::kStructuredReply));
  }
  std::string ask(Option option, std::string_view name, std::vector<std::string_view> queries) {
    client_.send(ClientBytes().meta(option, name, std::move(queries)));
    return contexts(client_.replies());
  }
  std::size_t selected() const { return client_.handshake.state().contexts.size(); }
  Conversation client_{directory_};
};

TEST_F(MetaContextOptions, R72_R75_R76_R79_list_answers_with_ids_of_zero_and_selects_nothing) {
  EXPECT_EQ(ask(Option::kListMetaContext, "maps", {}), "0=base:allocation 0=qemu:allocation-depth ACK");
  EXPECT_EQ(ask(Option::kListMetaContext, "maps", {"qemu:"}), "0=qemu:allocation-depth ACK");
  EXPECT_EQ(ask(Option::kListMetaContext, "maps", {"x-other:"}), "ACK");
  EXPECT_EQ(selected(), 0u);
}

TEST_F(MetaContextOptions, R87_R94_set_answers_with_unique_ids_and_list_leaves_them) {
  EXPECT_EQ(ask(Option::kSetMetaContext, "maps", {"qemu:allocation-depth", "base:allocation"}),
            "0=base:allocation 1=qemu:allocation-depth ACK");
  ask(Option::kListMetaContext, "maps", {"base:"});
  EXPECT_EQ(selected(), 2u);
}

TEST_F(MetaContextOptions, R85_R86_R89_each_set_replaces_even_if_it_fails) {
  const ClientBytes broken = ClientBytes().u32(4).text("maps").u32(1).u32(99);
  const ClientBytes attempts[] = {
      ClientBytes().meta(Option::kSetMetaContext, "maps", {}),
      ClientBytes().meta(Option::kSetMetaContext, "nope", {"base:allocation"}),
      ClientBytes().option(Option::kSetMetaContext, broken.bytes()),
      ClientBytes().option(Option::kSetMetaContext, Bytes(65537)),
  };
  for (const ClientBytes& attempt : attempts) {
    ask(Option::kSetMetaContext, "maps", {"base:allocation"});
    ASSERT_EQ(selected(), 1u);
    client_.ask(attempt);
    EXPECT_EQ(selected(), 0u);
  }
}

TEST_F(MetaContextOptions, R88_set_needs_structured_replies_but_list_does_not) {
  Conversation plain(directory_);
  plain.send(ClientBytes().meta(Option::kListMetaContext, "maps", {}));
  EXPECT_EQ(plain.replies().size(), 3u);
  const Reply reply = plain.ask(ClientBytes().meta(Option::kSetMetaContext, "maps", {"base:allocation"}));
  EXPECT_EQ(reply.type, OptionReply::kErrorInvalid);
  EXPECT_EQ(reply.text(), "request option 'set meta context' when structured reply is not negotiated");
}

TEST_F(MetaContextOptions, R90_contexts_set_for_another_export_are_dropped) {
  ask(Option::kSetMetaContext, "maps", {"base:allocation"});
  client_.send(ClientBytes().info(Option::kGo, "disk"));
  EXPECT_EQ(client_.status, HandshakeStatus::kTransmission);
  EXPECT_EQ(selected(), 0u);
}

TEST_F(MetaContextOptions, ContextsGoIntoTheSession) {
  ask(Option::kSetMetaContext, "maps", {"qemu:allocation-depth"});
  client_.send(ClientBytes().info(Option::kGo, "maps"));
  const SessionState& state = client_.handshake.state();
  EXPECT_EQ(state.contexts, (std::vector<ContextInfo>{{"qemu:allocation-depth", 1}}));
  EXPECT_EQ(state.export_name, "maps");
  EXPECT_EQ(state.export_bytes, 1u << 20);
  const auto copy = deserialize(serialize(state));
  ASSERT_TRUE(copy.has_value());
  EXPECT_EQ(*copy, state);
}

TEST_F(MetaContextOptions, AnExportRemovedBeforeGoIsUnknownAndItsSuccessorHasNoContexts) {
  ask(Option::kSetMetaContext, "maps", {"base:allocation"});
  directory_.remove("maps");
  EXPECT_EQ(client_.ask(ClientBytes().info(Option::kGo, "maps")).type, OptionReply::kErrorUnknown);
  directory_.add("maps");
  client_.send(ClientBytes().info(Option::kGo, "maps"));
  EXPECT_EQ(client_.status, HandshakeStatus::kTransmission);
  EXPECT_EQ(selected(), 0u);
}

}  // namespace
}  // namespace blockexport::nbd

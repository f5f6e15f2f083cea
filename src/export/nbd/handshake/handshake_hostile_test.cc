// Hostile clients, and clients whose messages arrive in parts. A CVE number names the vulnerability of another NBD
// server that the test is modelled on.
#include <gtest/gtest.h>

#include <string>

#include "export/nbd/handshake/handshake.h"
#include "export/nbd/testing/handshake.h"

namespace blockexport::nbd {
namespace {

using testing::Bytes;
using testing::ClientBytes;
using testing::Conversation;
using testing::FakeDirectory;
using testing::parse_replies;

class HandshakeHostile : public ::testing::Test {
 protected:
  HandshakeHostile() {
    directory_.add("disk").description = "for tests";
    directory_.add("other").block_sizes.minimum = 512;
  }
  FakeDirectory directory_;
};

// One message for each known option, one for an unknown one, and some that are malformed.
std::vector<Bytes> vocabulary() {
  return {
      ClientBytes().option(Option::kList).bytes(),
      ClientBytes().info(Option::kInfo, "disk", {InfoType::kName, InfoType::kBlockSize}).bytes(),
      ClientBytes().info(Option::kInfo, "other").bytes(),
      ClientBytes().info(Option::kGo, "disk").bytes(),
      ClientBytes().info(Option::kGo, "nope").bytes(),
      ClientBytes().option(Option::kStructuredReply).bytes(),
      ClientBytes().option(Option::kExtendedHeaders).bytes(),
      ClientBytes().meta(Option::kListMetaContext, "disk", {}).bytes(),
      ClientBytes().meta(Option::kSetMetaContext, "disk", {"base:allocation"}).bytes(),
      ClientBytes().option(Option::kStartTls).bytes(),
      ClientBytes().option(Option::kAbort).bytes(),
      ClientBytes().export_name("disk").bytes(),
      ClientBytes().option_header(99, 3).text("abc").bytes(),
      ClientBytes().option(Option::kSetMetaContext, Bytes(3)).bytes(),
  };
}

// Sends the messages in order until the handshake ends, and switches to TLS when the handshake says so.
void walk(Conversation& client, const std::vector<const Bytes*>& messages) {
  for (const Bytes* message : messages) {
    client.output.clear();
    const HandshakeStatus status = client.send(*message);
    const bool export_name = (*message)[11] == std::byte{1};
    if (!export_name) EXPECT_TRUE(parse_replies(client.output).has_value());
    if (status == HandshakeStatus::kStartTls) {
      client.handshake = client.handshake.over_tls();
    } else if (status == HandshakeStatus::kNeedInput) {
      // Each option that does not end the handshake has a reply that is final.
      const auto replies = client.replies();
      ASSERT_FALSE(replies.empty());
      EXPECT_TRUE(replies.back().type == OptionReply::kAck || replies.back().is_error());
    } else {
      return;
    }
  }
}

// CVE-2019-14851.
TEST_F(HandshakeHostile, EverySequenceOfThreeOptionsStaysInStep) {
  const std::vector<Bytes> words = vocabulary();
  for (const TlsPolicy tls : {TlsPolicy::kNone, TlsPolicy::kRequired}) {
    for (const Bytes& first : words) {
      for (const Bytes& second : words) {
        for (const Bytes& third : words) {
          Conversation client(directory_, {.tls = tls, .limits = {}});
          walk(client, {&first, &second, &third});
        }
      }
    }
  }
}

// A complete session with every option, except those that end it early.
Bytes long_session() {
  ClientBytes client;
  client.u32(3).option(Option::kList).option(Option::kStructuredReply).option_header(99, 5).text("abcde");
  client.info(Option::kInfo, "other").meta(Option::kListMetaContext, "disk", {"base:"});
  client.option(Option::kStartTls).meta(Option::kSetMetaContext, "disk", {"base:allocation", "x-none:leaf"});
  client.info(Option::kGo, "nope", {InfoType::kName}).info(Option::kGo, "disk", {InfoType::kBlockSize});
  return client.text("a request of the transmission phase").bytes();
}

struct Outcome {
  Bytes output;
  Bytes left_over;
  HandshakeStatus status;
  SessionState state;

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// Sends `session` in pieces that end at `ends`, and passes the rest on as a caller would.
Outcome play(ExportDirectory& directory, std::span<const std::byte> session, std::span<const std::size_t> ends,
             const HandshakeOptions& options = {}) {
  Handshake handshake(directory, options);
  Outcome outcome{};
  handshake.greet(outcome.output);
  std::size_t at = 0;
  for (const std::size_t end : ends) {
    while (true) {
      Bytes produced;
      const HandshakeStep step = handshake.feed(session.subspan(at, end - at), produced);
      at += step.consumed;
      outcome.status = step.status;
      outcome.output.insert(outcome.output.end(), produced.begin(), produced.end());
      if (step.status != HandshakeStatus::kDrainOutput) break;
    }
  }
  outcome.left_over.assign(session.begin() + static_cast<std::ptrdiff_t>(at), session.end());
  outcome.state = handshake.state();
  return outcome;
}

// CVE-2017-7539.
TEST_F(HandshakeHostile, R132_a_session_split_at_every_byte_is_the_same_session) {
  const Bytes session = long_session();
  const Outcome whole = play(directory_, session, std::array{session.size()});
  EXPECT_EQ(whole.status, HandshakeStatus::kTransmission);
  EXPECT_EQ(whole.left_over.size(), 35u);
  EXPECT_EQ(whole.state.contexts.size(), 1u);
  for (std::size_t cut = 0; cut <= session.size(); ++cut) {
    EXPECT_EQ(play(directory_, session, std::array{cut, session.size()}), whole) << cut;
  }
  std::vector<std::size_t> every_byte(session.size());
  for (std::size_t index = 0; index < every_byte.size(); ++index) every_byte[index] = index + 1;
  EXPECT_EQ(play(directory_, session, every_byte), whole);
}

TEST_F(HandshakeHostile, ATinyOutputLimitChangesOnlyTheNumberOfCalls) {
  const Bytes session = long_session();
  const Outcome whole = play(directory_, session, std::array{session.size()});
  const HandshakeOptions tight{.tls = TlsPolicy::kNone, .limits = {.output_bytes_max = 1}};
  EXPECT_EQ(play(directory_, session, std::array{session.size()}, tight), whole);
}

TEST_F(HandshakeHostile, AClientThatDoesNotReadCannotGrowTheOutput) {
  FakeDirectory many;
  for (int index = 0; index < 3000; ++index) many.add("export number " + std::to_string(index));
  ClientBytes client;
  for (int round = 0; round < 50; ++round) client.option(Option::kList);
  Conversation conversation(many);
  conversation.send(client);
  EXPECT_EQ(conversation.replies().size(), 50u * 3001u);
  EXPECT_LE(conversation.most_pending, HandshakeLimits{}.output_bytes_max + 2 * (kStringBytesMax + 24));
}

TEST_F(HandshakeHostile, ExportsMayBeAddedOrRemovedDuringAList) {
  FakeDirectory many;
  for (int index = 0; index < 4; ++index) many.add("e" + std::to_string(index));
  Handshake handshake(many, {.tls = TlsPolicy::kNone, .limits = {.output_bytes_max = 1}});
  Bytes output;
  EXPECT_EQ(handshake.feed(ClientBytes().u32(3).option(Option::kList).bytes(), output).status,
            HandshakeStatus::kDrainOutput);
  many.remove("e0");
  many.remove("e1");
  many.add("e4");
  Bytes all = output;
  while (true) {
    output.clear();
    if (handshake.feed({}, output).status == HandshakeStatus::kNeedInput) break;
    all.insert(all.end(), output.begin(), output.end());
  }
  const auto replies = parse_replies(all);
  ASSERT_TRUE(replies.has_value());
  std::string names;
  for (const auto& reply : *replies) names += reply.payload.empty() ? "." : reply.text(4);
  EXPECT_EQ(names, "e0e2e3e4.");
}

// CVE-2013-7441.
TEST_F(HandshakeHostile, AClientMayStopAfterAnyNumberOfBytes) {
  const Bytes session = ClientBytes().u32(3).export_name("nope").bytes();
  for (std::size_t size = 0; size < session.size(); ++size) {
    const Outcome outcome = play(directory_, session, std::array{size});
    EXPECT_EQ(outcome.status, HandshakeStatus::kNeedInput);
    EXPECT_EQ(outcome.output.size(), kGreetingBytes);
  }
}

// CVE-2022-26495, CVE-2017-15119.
TEST_F(HandshakeHostile, AnnouncedLengthsAllocateNothing) {
  const struct {
    std::uint32_t option;
    std::uint32_t length;
    HandshakeStatus status;
  } cases[] = {
      {1, 4096, HandshakeStatus::kNeedInput},         {1, 4097, HandshakeStatus::kClose},
      {1, 0xffffffff, HandshakeStatus::kClose},       {6, 0xffffffff, HandshakeStatus::kClose},
      {7, 33u << 20, HandshakeStatus::kClose},        {99, 0xffffffff, HandshakeStatus::kClose},
      {99, (32u << 20) + 1, HandshakeStatus::kClose}, {99, 32u << 20, HandshakeStatus::kNeedInput},
      {2, 0xffffffff, HandshakeStatus::kClose},       {10, 32u << 20, HandshakeStatus::kNeedInput},
  };
  for (const auto& test : cases) {
    Conversation client(directory_);
    EXPECT_EQ(client.send(ClientBytes().option_header(test.option, test.length)), test.status) << test.option;
    EXPECT_TRUE(client.output.empty());
  }
}

// CVE-2022-26496.
TEST_F(HandshakeHostile, ANameLongerThanItsOptionIsInvalid) {
  for (const Option option : {Option::kInfo, Option::kGo, Option::kListMetaContext, Option::kSetMetaContext}) {
    for (const std::uint32_t length : {11u, 12u, 13u, 14u, 1000u, 8000u, 0x7fffffffu, 0xffffffffu}) {
      Conversation client(directory_);
      client.ask(ClientBytes().option(Option::kStructuredReply));
      const ClientBytes payload = ClientBytes().u32(length).text("0123456789").u16(0);
      const auto reply = client.ask(ClientBytes().option(option, payload.bytes()));
      EXPECT_EQ(reply.type, OptionReply::kErrorInvalid) << length;
      EXPECT_EQ(client.status, HandshakeStatus::kNeedInput);
    }
  }
}

// CVE-2017-15118.
TEST_F(HandshakeHostile, NamesOfEveryAwkwardLength) {
  for (const std::size_t size : {0u, 255u, 256u, 257u, 3000u, 4095u, 4096u, 4097u}) {
    const std::string name(size, 'n');
    Conversation client(directory_);
    client.ask(ClientBytes().option(Option::kStructuredReply));
    const OptionReply expected = size <= 4096 ? OptionReply::kErrorUnknown : OptionReply::kErrorInvalid;
    EXPECT_EQ(client.ask(ClientBytes().info(Option::kInfo, name)).type, expected);
    EXPECT_EQ(client.ask(ClientBytes().info(Option::kGo, name)).type, expected);
    EXPECT_EQ(client.ask(ClientBytes().meta(Option::kListMetaContext, name, {})).type, expected);
    EXPECT_EQ(client.ask(ClientBytes().meta(Option::kSetMetaContext, name, {"base:allocation"})).type, expected);
    EXPECT_EQ(client.send(ClientBytes().export_name(name)), HandshakeStatus::kClose);

    directory_.add(name);
    Conversation lucky(directory_);
    const bool usable = size <= 4096;
    EXPECT_EQ(lucky.send(ClientBytes().export_name(name)) == HandshakeStatus::kTransmission, usable);
    Conversation going(directory_);
    EXPECT_EQ(going.send(ClientBytes().info(Option::kGo, name)) == HandshakeStatus::kTransmission, usable);
  }
}

// CVE-2020-10761.
TEST_F(HandshakeHostile, R1_R3_long_and_odd_names_come_back_short_and_printable) {
  std::string formats;
  while (formats.size() < 4096) formats += "%s";
  const struct {
    std::string name;
    std::string text;
  } cases[] = {
      {std::string(4096, 'x'), "export '" + std::string(80, 'x') + "...' not present"},
      {formats, "export '" + formats.substr(0, 80) + "...' not present"},
      {std::string(4096, '\xff'), "export '" + std::string(80, '?') + "...' not present"},
      {std::string(4096, '\0'), "Unexpected embedded NUL in option go"},
  };
  Conversation client(directory_);
  for (const auto& [name, text] : cases) EXPECT_EQ(client.ask(ClientBytes().info(Option::kGo, name)).text(), text);
}

TEST_F(HandshakeHostile, R14_R15_export_name_answer_is_as_long_as_agreed) {
  for (const std::uint32_t flags : {0u, 1u, 2u, 3u}) {
    Conversation client(directory_, {}, flags);
    client.send(ClientBytes().export_name("disk"));
    EXPECT_EQ(client.output.size(), (flags & 2) != 0 ? 10u : 134u);
  }
}

TEST_F(HandshakeHostile, AKnownOptionThatIsTooBigIsSkippedAndAnsweredWithTooBig) {
  Conversation client(directory_);
  for (const Option option : {Option::kInfo, Option::kGo, Option::kListMetaContext}) {
    EXPECT_EQ(client.ask(ClientBytes().option(option, Bytes(65537))).type, OptionReply::kErrorTooBig);
  }
  EXPECT_EQ(client.ask(ClientBytes().option(Option::kStructuredReply)).type, OptionReply::kAck);
}

TEST_F(HandshakeHostile, OneOptionMoreThanAllowedEndsTheConnection) {
  for (const std::uint32_t allowed : {0u, 1u, 3u, 300u}) {
    SCOPED_TRACE(allowed);
    const HandshakeOptions few{.tls = TlsPolicy::kNone, .limits = {.options_max = allowed}};
    Conversation talker(directory_, few);
    ClientBytes client;
    for (std::uint32_t round = 0; round < allowed; ++round) client.option_header(99, 0);
    EXPECT_EQ(talker.send(client), HandshakeStatus::kNeedInput);
    EXPECT_EQ(talker.replies().size(), allowed);
    EXPECT_EQ(talker.send(ClientBytes().option_header(99, 0)), HandshakeStatus::kClose);
    EXPECT_TRUE(talker.replies().empty()) << "it gets no reply";
  }
}

TEST_F(HandshakeHostile, OneByteOfOptionsMoreThanAllowedEndsTheConnection) {
  const HandshakeOptions small{.tls = TlsPolicy::kNone, .limits = {.option_bytes_max = 100}};
  const Bytes first = ClientBytes().option_header(99, 60).raw(Bytes(60)).bytes();
  Conversation talker(directory_, small);
  EXPECT_EQ(talker.send(first), HandshakeStatus::kNeedInput);
  EXPECT_EQ(talker.send(ClientBytes().option_header(99, 40).raw(Bytes(40))), HandshakeStatus::kNeedInput);
  EXPECT_EQ(talker.send(ClientBytes().option(Option::kList)), HandshakeStatus::kNeedInput);
  Conversation shouter(directory_, small);
  EXPECT_EQ(shouter.send(first), HandshakeStatus::kNeedInput);
  EXPECT_EQ(shouter.send(ClientBytes().option_header(99, 41)), HandshakeStatus::kClose);
}

TEST_F(HandshakeHostile, ARefusedOptionIsSkippedUpToTheLimit) {
  const HandshakeOptions small{.tls = TlsPolicy::kNone, .limits = {.skipped_bytes_max = 1000}};
  Conversation client(directory_, small);
  EXPECT_EQ(client.ask(ClientBytes().option_header(99, 1000).raw(Bytes(1000))).type, OptionReply::kErrorUnsupported);
  EXPECT_EQ(client.send(ClientBytes().option_header(99, 1001)), HandshakeStatus::kClose);
  EXPECT_EQ(client.handshake.close_reason(), "len (1001) is larger than max len (1000)");
}

TEST_F(HandshakeHostile, AKnownOptionIsReadUpToTheLimit) {
  // A name of four bytes, its length, and the number of types, which is zero.
  const HandshakeOptions small{.tls = TlsPolicy::kNone, .limits = {.payload_bytes_max = 10}};
  directory_.add("disks");
  Conversation client(directory_, small);
  for (int round = 0; round < 2; ++round) {
    client.send(ClientBytes().info(Option::kInfo, "disk"));
    const auto replies = client.replies();
    ASSERT_FALSE(replies.empty());
    EXPECT_EQ(replies.back().type, OptionReply::kAck);
    EXPECT_EQ(client.ask(ClientBytes().info(Option::kInfo, "disks")).type, OptionReply::kErrorTooBig);
  }
}

TEST_F(HandshakeHostile, R21_a_wrong_option_magic_ends_the_connection) {
  Conversation client(directory_);
  EXPECT_EQ(client.send(ClientBytes().u64(kNbdMagic).u64(0)), HandshakeStatus::kClose);
  EXPECT_EQ(client.handshake.close_reason(), "Bad magic received");
}

}  // namespace
}  // namespace blockexport::nbd

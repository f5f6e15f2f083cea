#include "common/negotiate.h"

#include <array>
#include <span>
#include <vector>

#include "common/fatal.h"
#include "common/wire.h"

namespace blockexport::bench {

namespace {

// Servers send short texts and infos; anything longer is a protocol error of the server.
constexpr uint32_t kLongestOptionReply = 65536;

using Bytes = std::vector<std::byte>;

template <std::unsigned_integral T>
void append_be(Bytes& to, T value) {
  to.resize(to.size() + sizeof value);
  store_be(to.data() + to.size() - sizeof value, value);
}

void append_text(Bytes& to, std::string_view text) {
  auto bytes = std::as_bytes(std::span(text));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

struct Answer {
  uint32_t type = 0;
  Bytes data;
};

class Negotiator {
 public:
  explicit Negotiator(Channel& channel) : channel_(channel) {}

  bool greet() {
    std::array<std::byte, kGreetingSize> greeting{};
    if (!channel_.read_exactly(greeting)) {
      return false;
    }
    if (load_be<uint64_t>(greeting.data()) != kGreetingMagic ||
        load_be<uint64_t>(greeting.data() + 8) != kOptionMagic) {
      fatal("this is not a newstyle NBD server");
    }
    auto flags = load_be<uint16_t>(greeting.data() + 16);
    append_be(out_, uint32_t{flags} & (kFixedNewstyle | kNoZeroes));
    return (flags & kFixedNewstyle) != 0;
  }

  bool ask(Option option, std::span<const std::byte> data) {
    append_be(out_, kOptionMagic);
    append_be(out_, static_cast<uint32_t>(option));
    append_be(out_, static_cast<uint32_t>(data.size()));
    out_.insert(out_.end(), data.begin(), data.end());
    asked_ = option;
    bool sent = channel_.write_all(out_);
    out_.clear();
    return sent;
  }

  // Reads one reply to the option sent last.
  bool answer(Answer& into) {
    std::array<std::byte, kOptionReplyHeaderSize> header{};
    if (!channel_.read_exactly(header)) {
      return false;
    }
    auto length = load_be<uint32_t>(header.data() + 16);
    if (load_be<uint64_t>(header.data()) != kOptionReplyMagic ||
        load_be<uint32_t>(header.data() + 8) != static_cast<uint32_t>(asked_) || length > kLongestOptionReply) {
      fatal("malformed option reply");
    }
    into.type = load_be<uint32_t>(header.data() + 12);
    into.data.resize(length);
    return channel_.read_exactly(into.data);
  }

 private:
  Channel& channel_;
  Bytes out_;
  Option asked_ = Option::kAbort;
};

constexpr auto kAcknowledged = static_cast<uint32_t>(OptionReply::kAck);

// Sends an option that has a single reply. Nothing: the connection ended.
std::optional<bool> ask_simple(Negotiator& negotiator, Option option) {
  Answer answer;
  if (!negotiator.ask(option, {}) || !negotiator.answer(answer)) {
    return std::nullopt;
  }
  return answer.type == kAcknowledged;
}

bool agree_tls(Negotiator& negotiator, Channel& channel, const NegotiationOptions& negotiation, Agreement& session) {
  if (!negotiation.tls) {
    return true;
  }
  std::optional<bool> granted = ask_simple(negotiator, Option::kStartTls);
  if (granted && !*granted) {
    fatal("the server does not offer TLS");
  }
  if (!granted || !channel.secure(*negotiation.tls)) {
    return false;
  }
  session.cipher = channel.cipher();
  return true;
}

bool agree_replies(Negotiator& negotiator, Replies wanted, Agreement& session) {
  session.replies = Replies::kSimple;
  if (wanted == Replies::kSimple) {
    return true;
  }
  Option option = wanted == Replies::kExtended ? Option::kExtendedHeaders : Option::kStructuredReply;
  std::optional<bool> granted = ask_simple(negotiator, option);
  if (granted.value_or(false)) {
    session.replies = wanted;
  } else if (granted && wanted == Replies::kExtended) {
    fatal("the server does not offer extended headers");
  }
  return granted.has_value();
}

bool agree_context(Negotiator& negotiator, const NegotiationOptions& negotiation, Agreement& session) {
  Bytes data;
  append_be(data, static_cast<uint32_t>(negotiation.export_name.size()));
  append_text(data, negotiation.export_name);
  append_be(data, uint32_t{1});
  append_be(data, static_cast<uint32_t>(negotiation.context.size()));
  append_text(data, negotiation.context);
  if (!negotiator.ask(Option::kSetMetaContext, data)) {
    return false;
  }
  for (Answer answer; negotiator.answer(answer);) {
    if (answer.type == static_cast<uint32_t>(OptionReply::kMetaContext) && answer.data.size() >= sizeof(uint32_t)) {
      session.context = load_be<uint32_t>(answer.data.data());
    } else {
      return true;
    }
  }
  return false;
}

bool go(Negotiator& negotiator, const NegotiationOptions& negotiation, Agreement& session) {
  Bytes data;
  append_be(data, static_cast<uint32_t>(negotiation.export_name.size()));
  append_text(data, negotiation.export_name);
  append_be(data, uint16_t{0});
  if (!negotiator.ask(Option::kGo, data)) {
    return false;
  }
  constexpr std::size_t kExportInfoSize = 12;
  for (Answer answer; negotiator.answer(answer);) {
    if (answer.type == kAcknowledged) {
      return true;
    }
    if ((answer.type & kOptionErrorBit) != 0) {
      return false;
    }
    if (answer.data.size() == kExportInfoSize && load_be<uint16_t>(answer.data.data()) == kInfoExport) {
      session.size = load_be<uint64_t>(answer.data.data() + 2);
      session.flags = load_be<uint16_t>(answer.data.data() + 10);
    }
  }
  return false;
}

}  // namespace

std::optional<Agreement> negotiate(Channel& channel, const NegotiationOptions& negotiation) {
  Negotiator negotiator(channel);
  Agreement session;
  if (!negotiator.greet() || !agree_tls(negotiator, channel, negotiation, session) ||
      !agree_replies(negotiator, negotiation.replies, session)) {
    return std::nullopt;
  }
  if (!negotiation.context.empty() && !agree_context(negotiator, negotiation, session)) {
    return std::nullopt;
  }
  if (!go(negotiator, negotiation, session)) {
    return std::nullopt;
  }
  return session;
}

const char* name_of(Replies replies) {
  switch (replies) {
    case Replies::kSimple:
      return "simple";
    case Replies::kStructured:
      return "structured";
    case Replies::kExtended:
      return "extended";
  }
  return "?";
}

}  // namespace blockexport::bench

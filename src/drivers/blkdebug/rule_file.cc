#include "drivers/blkdebug/rule_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <map>
#include <set>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "schema/block_debug.h"
#include "schema/keyval_decoder.h"

namespace blockexport::drivers {
namespace {

constexpr std::string_view kBlanks = " \t\r\v\f";
constexpr std::string_view kInjectError = "inject-error";
constexpr std::string_view kSetState = "set-state";

enum class ValueKind : bool { kText, kNumber };

struct Section {
  bool is_set_state = false;
  std::map<std::string, std::string, std::less<>> options = {};
};

std::string_view without_blanks(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

// The values of one section, which have been checked.
class Values {
 public:
  explicit Values(const Section& section) : options_(section.options) {}

  std::optional<std::string_view> text(std::string_view name) const {
    const auto found = options_.find(name);
    if (found == options_.end()) return std::nullopt;
    return found->second;
  }
  std::int64_t number(std::string_view name, std::int64_t otherwise) const {
    const auto found = options_.find(name);
    return found == options_.end() ? otherwise : static_cast<std::int64_t>(*schema::parse_unsigned(found->second));
  }
  bool boolean(std::string_view name) const {
    const auto found = options_.find(name);
    return found != options_.end() && *schema::parse_boolean(found->second);
  }

 private:
  const std::map<std::string, std::string, std::less<>>& options_;
};

template <class Kind, class SchemaKind>
Result<Kind> kind_of(std::string_view name) {
  if (const std::optional<SchemaKind> kind = schema::value_of<SchemaKind>(name)) return static_cast<Kind>(*kind);
  return fail(fmt::format("invalid parameter value: {}", name));
}

Result<block::DebugEvent> event_of(const Values& values) {
  const std::optional<std::string_view> name = values.text("event");
  if (!name) return fail("Missing event name for rule");
  return kind_of<block::DebugEvent, schema::BlkdebugEvent>(*name);
}

Result<InjectErrorRule> inject_error_rule(const Values& values) {
  InjectErrorRule rule;
  TRY_ASSIGN(rule.event, event_of(values));
  if (const std::optional<std::string_view> kind = values.text("iotype")) {
    TRY_ASSIGN(rule.kind, (kind_of<RequestKind, schema::BlkdebugIOType>(*kind)));
  }
  rule.state = values.number("state", 0);
  rule.once = values.boolean("once");
  rule.immediately = values.boolean("immediately");
  return check_rule(rule, values.number("errno", EIO), values.number("delay-ns", 0), values.number("sector", -1));
}

Result<SetStateRule> set_state_rule(const Values& values) {
  SetStateRule rule{.state = values.number("state", 0), .new_state = values.number("new_state", 0)};
  TRY_ASSIGN(rule.event, event_of(values));
  return rule;
}

// Reads a rule file line by line.
class RuleParser {
 public:
  Result<> take_line(std::string_view line) {
    if (line.empty() || line.starts_with('#')) return {};
    if (line.starts_with('[') && line.find(']') != std::string_view::npos) {
      return take_head(line.substr(1, line.find(']') - 1));
    }
    return take_option(line);
  }

  Result<FaultRuleList> finish() {
    FaultRuleList rules;
    for (const Section& section : sections_) {
      const Values values(section);
      if (section.is_set_state) {
        TRY_ASSIGN(SetStateRule rule, set_state_rule(values));
        rules.states.push_back(rule);
      } else {
        TRY_ASSIGN(InjectErrorRule rule, inject_error_rule(values));
        rules.errors.push_back(rule);
      }
    }
    return rules;
  }

 private:
  // The text between the brackets: a name, or a name and an identifier in quotes.
  Result<> take_head(std::string_view head) {
    std::string_view name = head;
    std::string_view identifier;
    if (const std::size_t quote = head.find(" \"");
        quote != std::string_view::npos && head.ends_with('"') && head.size() > quote + 2) {
      name = head.substr(0, quote);
      identifier = head.substr(quote + 2, head.size() - quote - 3);
    }
    if (name.size() > kRuleWordBytesMax || identifier.size() > kRuleWordBytesMax) return fail("parse error");
    if (name != kInjectError && name != kSetState) return fail(fmt::format("There is no option group '{}'", name));
    if (!identifier.empty() && !identifiers_.emplace(fmt::format("{} {}", name, identifier)).second) {
      return fail(fmt::format("Duplicate ID '{}' for {}", identifier, name));
    }
    if (sections_.size() >= kFaultRulesMax) return fail(fmt::format("There are more than {} rules", kFaultRulesMax));
    sections_.push_back({.is_set_state = name == kSetState});
    return {};
  }

  Result<> take_option(std::string_view line) {
    line = without_blanks(line);
    if (line.empty()) return fail("parse error");
    if (sections_.empty()) return fail("no group defined");
    const std::string_view name = line.substr(0, std::min(line.find_first_of(kBlanks), kRuleWordBytesMax));
    const std::string_view value = value_in(line.substr(name.size()));
    if (value.size() > kRuleValueBytesMax) return fail("parse error");
    TRY(check_option(name, std::string(value)));
    sections_.back().options.insert_or_assign(std::string(name), std::string(value));
    return {};
  }

  // The text in quotes after an equals sign; empty if there is none.
  static std::string_view value_in(std::string_view rest) {
    rest = without_blanks(rest);
    if (!rest.starts_with('=')) return {};
    rest = without_blanks(rest.substr(1));
    if (!rest.starts_with('"')) return {};
    rest.remove_prefix(1);
    return rest.substr(0, rest.find('"'));
  }

  Result<> check_option(std::string_view name, const std::string& value) const {
    const bool is_set_state = sections_.back().is_set_state;
    if (name == "event" || (!is_set_state && name == "iotype")) return {};
    if (!is_set_state && (name == "once" || name == "immediately")) {
      if (schema::parse_boolean(value)) return {};
      return fail(fmt::format("Parameter '{}' expects 'on' or 'off'", name));
    }
    const bool is_number =
        name == "state" ||
        (is_set_state ? name == "new_state" : name == "errno" || name == "delay-ns" || name == "sector");
    if (!is_number) return fail(fmt::format("Invalid parameter '{}'", name));
    if (schema::parse_unsigned(value)) return {};
    return fail(fmt::format("Parameter '{}' expects a number", name));
  }

  std::vector<Section> sections_;
  std::set<std::string> identifiers_;
};

aio::Task<Result<std::string>> read_file(aio::Reactor& reactor, int fd) {
  aio::FileInfo info;
  if (auto known = co_await reactor.stat(fd, info); !known) {
    co_return fail(Error::system("Cannot read config file", known.error()));
  }
  if (info.type == S_IFDIR) co_return fail(Error::system("Cannot read config file", Errno(EISDIR)));
  if (info.type != S_IFREG) co_return fail("Cannot read config file: it is no regular file");
  if (info.size_bytes > kRuleFileBytesMax) {
    co_return fail(fmt::format("Cannot read config file: it has more than {} bytes", kRuleFileBytesMax));
  }
  std::string text(info.size_bytes, '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const iovec vector{.iov_base = text.data() + done, .iov_len = text.size() - done};
    const auto count = co_await reactor.read(fd, {&vector, 1}, done);
    if (!count) co_return fail(Error::system("Cannot read config file", count.error()));
    if (*count == 0) break;
    done += *count;
  }
  text.resize(done);
  co_return text;
}

}  // namespace

Result<FaultRuleList> parse_rules(std::string_view text) {
  RuleParser parser;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    TRY(parser.take_line(text.substr(0, end)));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return parser.finish();
}

aio::Task<Result<FaultRuleList>> read_rules(std::string path) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  const auto fd = co_await reactor.open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!fd) co_return fail(Error::system("Could not read blkdebug config file", fd.error()));
  const Result<std::string> text = co_await read_file(reactor, *fd);
  reactor.close_now(*fd);
  if (!text) co_return fail(text.error().clone());
  co_return parse_rules(*text);
}

Result<InjectErrorRule> check_rule(InjectErrorRule rule, std::int64_t error, std::int64_t delay_ns,
                                   std::int64_t sector) {
  if (error < 0 || error > kFaultErrorMax) {
    return fail(fmt::format("Parameter 'errno' expects a value from 0 to {}", kFaultErrorMax));
  }
  if (delay_ns < 0 || delay_ns > kFaultDelayNsMax) {
    return fail(fmt::format("Parameter 'delay-ns' expects a value from 0 to {}", kFaultDelayNsMax));
  }
  rule.error = static_cast<int>(error);
  rule.delay_ns = static_cast<std::uint64_t>(delay_ns);
  if (sector != -1) rule.sector = sector;
  return rule;
}

Result<> check_number_of_rules(const FaultRuleList& rules) {
  if (rules.errors.size() + rules.states.size() <= kFaultRulesMax) return {};
  return fail(fmt::format("There are more than {} rules", kFaultRulesMax));
}

}  // namespace blockexport::drivers

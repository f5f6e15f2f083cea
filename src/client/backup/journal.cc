#include "client/backup/journal.h"

#include <fmt/format.h>

#include "base/printable.h"
#include "client/backup/json_members.h"
#include "json/writer.h"

namespace blockexport::backup {
namespace {

constexpr std::string_view kPullMember = "blockexport-unfinished-pull";
constexpr std::uint64_t kJournalVersion = 1;

json::Object object_of(const PullIdentity& identity) {
  json::Object pull{{"version", kJournalVersion},
                    {"export", identity.export_name},
                    {"size", identity.disk_bytes},
                    {"chunk-size", identity.chunk_bytes},
                    {"bitmap", identity.bitmap}};
  pull.set("parent", identity.parent ? id_of(identity.parent->number) : "");
  pull.set("parent-checksum", identity.parent ? hex_of(identity.parent->sum) : "");
  return pull;
}

}  // namespace

Result<std::string> encode_journal(const PullIdentity& identity) {
  for (const std::string& name : {identity.export_name, identity.bitmap}) {
    if (name.size() <= kExportNameBytesMax && is_kept_by_json(name)) continue;
    return fail(fmt::format("the name '{}' is not UTF-8, or too long, and cannot be recorded", printable(name)));
  }
  std::string text;
  json::write_pretty(json::Object{{std::string(kPullMember), object_of(identity)}}, text);
  text += '\n';
  return text;
}

Result<> check_journal(const std::string& path, const std::string& text, const PullIdentity& identity) {
  const auto whole = parse_small_object(text);
  const json::Object* pull = whole ? object_in(*whole, kPullMember) : nullptr;
  if (pull == nullptr) {
    return fail(Error(fmt::format("'{}' is damaged", printable(path, 1024)))
                    .with_hint("Run the command without --resume to start again."));
  }
  for (const auto& [name, value] : object_of(identity)) {
    const json::Value* found = pull->find(name);
    if (found != nullptr && *found == value) continue;
    return fail(Error(fmt::format("cannot resume: the unfinished pull of '{}' has {} {}, and this one {}",
                                  printable(path, 1024), name,
                                  found != nullptr ? printable(json::to_string(*found)) : "missing",
                                  printable(json::to_string(value))))
                    .with_hint("Run the command without --resume to start again."));
  }
  return {};
}

}  // namespace blockexport::backup

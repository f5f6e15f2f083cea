#include "client/backup/manifest.h"

#include <fmt/format.h>

#include <charconv>
#include <ctime>

#include "base/printable.h"
#include "client/backup/json_members.h"
#include "json/writer.h"

namespace blockexport::backup {
namespace {

constexpr std::string_view kPointMember = "blockexport-backup-point";
constexpr std::string_view kSumMember = "checksum";
constexpr std::size_t kTimeBytes = 20;
constexpr std::size_t kIdDigitsMin = 6;

std::unexpected<Error> damaged(std::string_view reason) {
  return fail(Error(fmt::format("is damaged: {}", reason))
                  .with_hint("Get the file from another copy of the backup; or restore an earlier point."));
}

// Members that both kinds of points have.
std::optional<Manifest> read_common(const json::Object& point) {
  Manifest manifest;
  const auto id = text_in(point, "id", 16);
  const auto number = id ? number_from_id(*id) : std::nullopt;
  const auto time = text_in(point, "time", kTimeBytes);
  const auto export_name = text_in(point, "export", kExportNameBytesMax);
  const auto disk_bytes = count_in(point, "size");
  const auto data_bytes = count_in(point, "data-bytes");
  const auto zero_bytes = count_in(point, "zero-bytes");
  const json::Object* chunks = object_in(point, "chunks");
  if (!number || !time || !export_name || !disk_bytes || !data_bytes || !zero_bytes || chunks == nullptr) {
    return std::nullopt;
  }
  const auto records = count_in(*chunks, "count");
  const auto table_sum = sum_in(*chunks, kSumMember);
  if (!records || !table_sum || *data_bytes > *disk_bytes || *zero_bytes > *disk_bytes - *data_bytes ||
      *records > *data_bytes + *zero_bytes) {
    return std::nullopt;
  }
  return Manifest{.number = *number,
                  .time = *time,
                  .export_name = *export_name,
                  .disk_bytes = *disk_bytes,
                  .parent = {},
                  .bitmap = {},
                  .records = *records,
                  .table_sum = *table_sum,
                  .data_bytes = *data_bytes,
                  .zero_bytes = *zero_bytes};
}

// Adds what an incremental point has.
bool read_parent(const json::Object& point, Manifest& manifest) {
  const json::Object* parent = object_in(point, "parent");
  const auto bitmap = text_in(point, "bitmap", kBitmapNameBytesMax);
  if (parent == nullptr || !bitmap) return false;
  const auto id = text_in(*parent, "id", 16);
  const auto number = id ? number_from_id(*id) : std::nullopt;
  const auto sum = sum_in(*parent, kSumMember);
  // A parent is older, so that no chain can be a circle.
  if (!number || !sum || *number >= manifest.number) return false;
  manifest.parent = ParentPoint{.number = *number, .sum = *sum};
  manifest.bitmap = *bitmap;
  return true;
}

}  // namespace

std::string id_of(std::uint64_t number) {
  return fmt::format("{:06}", number);
}

std::optional<std::uint64_t> number_from_id(std::string_view id) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
  if (error != std::errc{} || end != id.data() + id.size()) return std::nullopt;
  if (id.size() < kIdDigitsMin || number == 0 || number > kPointNumberMax || id_of(number) != id) return std::nullopt;
  return number;
}

Result<std::string> encode_manifest(const Manifest& manifest) {
  for (const std::string& name : {manifest.export_name, manifest.bitmap}) {
    if (name.size() <= kExportNameBytesMax && is_kept_by_json(name)) continue;
    return fail(fmt::format("the name '{}' is not UTF-8, or too long, and cannot be recorded", printable(name)));
  }
  json::Object point{{"version", kManifestVersion},
                     {"id", id_of(manifest.number)},
                     {"type", manifest.parent ? "incremental" : "full"},
                     {"time", manifest.time},
                     {"export", manifest.export_name},
                     {"size", manifest.disk_bytes}};
  if (manifest.parent) {
    point.set("bitmap", manifest.bitmap);
    point.set("parent", json::Object{{"id", id_of(manifest.parent->number)},
                                     {std::string(kSumMember), hex_of(manifest.parent->sum)}});
  }
  point.set("data-bytes", manifest.data_bytes);
  point.set("zero-bytes", manifest.zero_bytes);
  point.set("chunks", json::Object{{"count", manifest.records}, {std::string(kSumMember), hex_of(manifest.table_sum)}});
  const json::Value value(std::move(point));
  const Sha256 sum = sha256_of(json::to_string(value));
  std::string text;
  json::write_pretty(json::Object{{std::string(kPointMember), value}, {std::string(kSumMember), hex_of(sum)}}, text);
  text += '\n';
  return text;
}

Result<SummedManifest> parse_manifest(std::string_view text) {
  if (text.size() > kManifestBytesMax) return damaged("it is too long");
  const auto whole = parse_small_object(text);
  if (!whole) return damaged("it is not a JSON object");
  const json::Value* value = whole->find(kPointMember);
  const json::Object* point = value != nullptr ? value->as_object() : nullptr;
  if (point == nullptr) {
    return fail(Error("is not the manifest of a backup point").with_hint("Another program made it; check the path."));
  }
  const auto version = count_in(*point, "version");
  if (version && *version > kManifestVersion) {
    return fail(Error(fmt::format("has version {} of the format, and this blockexport knows only version {}", *version,
                                  kManifestVersion))
                    .with_hint("A newer blockexport made it; use that one."));
  }
  if (version != kManifestVersion) return damaged("it has no valid version");
  const auto expected = sum_in(*whole, kSumMember);
  const Sha256 sum = sha256_of(json::to_string(*value));
  if (!expected || *expected != sum) return damaged("its checksum is wrong");
  auto manifest = read_common(*point);
  if (!manifest) return damaged("a member is missing or impossible");
  const auto type = text_in(*point, "type", 16);
  if (type == "incremental") {
    if (!read_parent(*point, *manifest)) return damaged("a member about its parent is missing or impossible");
  } else if (type != "full") {
    return damaged("its type is neither full nor incremental");
  } else if (manifest->data_bytes + manifest->zero_bytes != manifest->disk_bytes) {
    return damaged("the sizes contradict each other");
  }
  return SummedManifest{.manifest = std::move(*manifest), .sum = sum};
}

std::string time_text(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  char text[kTimeBytes + 1] = "";
  if (gmtime_r(&time, &parts) == nullptr) return "1970-01-01T00:00:00Z";
  if (std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) return "1970-01-01T00:00:00Z";
  return text;
}

}  // namespace blockexport::backup

#include "client/image/create_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "client/image/image_graph.h"
#include "schema/codec.h"

namespace blockexport::image {
namespace {

using schema::BlockdevDriver;

constexpr std::uint64_t kSectorBytes = 512;

// Of the file below an image, and of a raw image; their names here and in the schema.
struct NamedOption {
  std::string_view name;
  std::string_view schema_name;
  bool is_of_raw;
  bool is_of_qcow2;
};
constexpr std::array<NamedOption, 14> kOptions{{
    {"backing_file", "backing-file", false, true},
    {"backing_fmt", "backing-fmt", false, true},
    {"cluster_size", "cluster-size", false, true},
    {"compat", "version", false, true},
    {"compression_type", "compression-type", false, true},
    {"data_file", "data-file", false, true},
    {"data_file_raw", "data-file-raw", false, true},
    {"extended_l2", "extended-l2", false, true},
    {"extent_size_hint", "extent-size-hint", true, true},
    {"lazy_refcounts", "lazy-refcounts", false, true},
    {"nocow", "nocow", true, true},
    {"preallocation", "preallocation", true, true},
    {"refcount_bits", "refcount-bits", false, true},
    {"size", "size", true, true},
}};

// Whether it is an option of the file alone, by its name in the schema.
bool is_of_file(std::string_view name) {
  return name == "extent-size-hint" || name == "nocow";
}

// The texts between single commas.
std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts(1);
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != ',') {
      parts.back() += text[at];
    } else if (at + 1 < text.size() && text[at + 1] == ',') {
      parts.back() += text[++at];
    } else {
      parts.emplace_back();
    }
  }
  if (parts.back().empty()) parts.pop_back();
  return parts;
}

// The name and the value of "NAME=VALUE".
Result<> add_option(const std::string& text, const std::string& format, json::Object& words) {
  const std::size_t equals = text.find('=');
  const std::string name = text.substr(0, equals);
  const auto* const option = std::ranges::find(kOptions, name, &NamedOption::name);
  if (option == kOptions.end() || !(format == "raw" ? option->is_of_raw : option->is_of_qcow2)) {
    return fail(fmt::format("Invalid parameter '{}'", name));
  }
  std::string value = equals == std::string::npos ? "on" : text.substr(equals + 1);
  words.set(std::string(option->schema_name), std::move(value));
  return {};
}

// The version of the format, by the name in the schema, also for those of the first programs that had it.
std::string version_of(const std::string& compat) {
  if (compat == "0.10") return "v2";
  return compat == "1.1" ? "v3" : compat;
}

// With each comma twice, as an option has to be given.
std::string with_double_commas(std::string_view value) {
  std::string text;
  for (const char c : value) text.append(c == ',' ? 2 : 1, c);
  return text;
}

void round_up(std::uint64_t& size_bytes) {
  const std::uint64_t past = size_bytes % kSectorBytes;
  if (past != 0 && size_bytes <= INT64_MAX) size_bytes += kSectorBytes - past;
}

std::string_view on_off(bool value) {
  return value ? "on" : "off";
}

}  // namespace

Result<json::Object> create_words(const CreateOptions& options) {
  json::Object words;
  for (const std::string& text : options.options) {
    for (const std::string& option : split(text)) TRY(add_option(option, options.format, words));
  }
  if ((options.backing || options.backing_format) && options.format != "qcow2") {
    return fail(fmt::format("Backing file not supported for file format '{}'", options.format));
  }
  if (options.backing) words.set("backing-file", *options.backing);
  if (options.backing_format) words.set("backing-fmt", *options.backing_format);
  if (!options.size.empty() && !words.insert("size", options.size)) {
    return fail("The image size must be specified only once");
  }
  return words;
}

Result<schema::BlockdevCreateOptions> file_creation_of(const json::Object& words, const std::string& filename,
                                                       bool is_raw_image) {
  json::Object options{{"driver", "file"}, {"filename", filename}, {"size", "0"}};
  for (const auto& [name, value] : words) {
    if (is_raw_image || is_of_file(name)) options.set(name, value);
  }
  TRY_ASSIGN(auto creation, schema::decode_keyval<schema::BlockdevCreateOptions>(json::Value(std::move(options))));
  round_up(creation.as<BlockdevDriver::kFile>().size);
  return creation;
}

Result<schema::BlockdevCreateOptions> qcow2_creation_of(const json::Object& words, json::Object file) {
  json::Object options{{"driver", "qcow2"}, {"file", std::move(file)}};
  for (const auto& [name, value] : words) {
    if (!is_of_file(name)) options.set(name, value);
  }
  if (const json::Value* const data_file = words.find("data-file")) {
    options.set("data-file", file_options(*data_file->as_string()));
  }
  if (const json::Value* const version = words.find("version")) {
    options.set("version", version_of(*version->as_string()));
  }
  TRY_ASSIGN(auto creation, schema::decode_keyval<schema::BlockdevCreateOptions>(json::Value(std::move(options))));
  round_up(creation.as<BlockdevDriver::kQcow2>().size);
  return creation;
}

std::string formatting_text(const std::string& filename, const json::Object& words,
                            const schema::BlockdevCreateOptions& options) {
  std::string text = fmt::format("Formatting '{}', fmt=", filename);
  const auto add_given = [&](std::string_view name, std::string_view word) {
    if (const json::Value* const value = words.find(word)) {
      text += fmt::format(" {}={}", name, with_double_commas(*value->as_string()));
    }
  };
  if (const auto* const raw = options.as_if<BlockdevDriver::kFile>()) {
    text += fmt::format("raw size={}", raw->size);
    add_given("preallocation", "preallocation");
    return text;
  }
  const auto& image = options.as<BlockdevDriver::kQcow2>();
  text += fmt::format("qcow2 cluster_size={} extended_l2={}", image.cluster_size.value_or(65536),
                      on_off(image.extended_l2.value_or(false)));
  add_given("preallocation", "preallocation");
  text +=
      fmt::format(" compression_type={} size={}",
                  schema::name_of(image.compression_type.value_or(schema::Qcow2CompressionType::kZlib)), image.size);
  add_given("compat", "version");
  add_given("backing_file", "backing-file");
  add_given("backing_fmt", "backing-fmt");
  add_given("data_file", "data-file");
  add_given("data_file_raw", "data-file-raw");
  return text + fmt::format(" lazy_refcounts={} refcount_bits={}", on_off(image.lazy_refcounts.value_or(false)),
                            image.refcount_bits.value_or(16));
}

}  // namespace blockexport::image

#include "client/image/create_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "client/image/image_source.h"
#include "schema/codec.h"

namespace blockexport::image {
namespace {

using schema::BlockdevDriver;

constexpr std::uint64_t kSectorBytes = 512;

// The formats that have an option; the file below an image has it, too, if all have it.
enum FormatSet : std::uint8_t { kRaw = 1, kQcow2 = 2, kLuks = 4, kAll = 7 };

// Their names here and in the schema.
struct NamedOption {
  std::string_view name;
  std::string_view schema_name;
  FormatSet formats;
};
// Those of encryption are in the order in which qemu-img prints them.
constexpr std::array<NamedOption, 30> kOptions{{
    {"backing_file", "backing-file", kQcow2},
    {"backing_fmt", "backing-fmt", kQcow2},
    {"cluster_size", "cluster-size", kQcow2},
    {"compat", "version", kQcow2},
    {"compression_type", "compression-type", kQcow2},
    {"data_file", "data-file", kQcow2},
    {"data_file_raw", "data-file-raw", kQcow2},
    {"extended_l2", "extended-l2", kQcow2},
    {"extent_size_hint", "extent-size-hint", kAll},
    {"lazy_refcounts", "lazy-refcounts", kQcow2},
    {"nocow", "nocow", kAll},
    {"preallocation", "preallocation", kAll},
    {"refcount_bits", "refcount-bits", kQcow2},
    {"size", "size", kAll},
    {"encrypt.format", "encrypt.format", kQcow2},
    {"encrypt.key-secret", "encrypt.key-secret", kQcow2},
    {"encrypt.cipher-alg", "encrypt.cipher-alg", kQcow2},
    {"encrypt.cipher-mode", "encrypt.cipher-mode", kQcow2},
    {"encrypt.ivgen-alg", "encrypt.ivgen-alg", kQcow2},
    {"encrypt.ivgen-hash-alg", "encrypt.ivgen-hash-alg", kQcow2},
    {"encrypt.hash-alg", "encrypt.hash-alg", kQcow2},
    {"encrypt.iter-time", "encrypt.iter-time", kQcow2},
    {"key-secret", "key-secret", kLuks},
    {"cipher-alg", "cipher-alg", kLuks},
    {"cipher-mode", "cipher-mode", kLuks},
    {"ivgen-alg", "ivgen-alg", kLuks},
    {"ivgen-hash-alg", "ivgen-hash-alg", kLuks},
    {"hash-alg", "hash-alg", kLuks},
    {"iter-time", "iter-time", kLuks},
    {"detached-header", "detached-header", kLuks},
}};
constexpr std::string_view kEncryptPrefix = "encrypt.";
constexpr std::string_view kDetachedHeader = "detached-header";

FormatSet set_of(std::string_view format) {
  if (format == "qcow2") return kQcow2;
  return format == "luks" ? kLuks : kRaw;
}

// True if it is an option of the file alone, by its name in the schema.
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
  if (option == kOptions.end() || (option->formats & set_of(format)) == 0) {
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

// The older method is "aes" here, and "qcow" in the schema.
Result<> check_encryption(json::Object& encryption) {
  const json::Value* const format = encryption.find("format");
  if (format == nullptr) return fail("Parameter 'encrypt.format' is missing");
  if (*format->as_string() == "luks") return {};
  if (*format->as_string() != "aes") {
    return fail(fmt::format("Parameter 'format' does not accept value '{}'", *format->as_string()));
  }
  encryption.set("format", "qcow");
  return {};
}

Result<schema::BlockdevCreateOptions> qcow2_creation_of(const json::Object& words, json::Object file) {
  json::Object options{{"driver", "qcow2"}, {"file", std::move(file)}};
  json::Object encryption;
  for (const auto& [name, value] : words) {
    if (name.starts_with(kEncryptPrefix)) {
      encryption.set(name.substr(kEncryptPrefix.size()), value);
    } else if (!is_of_file(name)) {
      options.set(name, value);
    }
  }
  if (!encryption.empty()) {
    TRY(check_encryption(encryption));
    options.set("encrypt", std::move(encryption));
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

Result<schema::BlockdevCreateOptions> luks_creation_of(const json::Object& words, json::Object file) {
  json::Object options{{"driver", "luks"}};
  bool is_detached = false;
  for (const auto& [name, value] : words) {
    if (name == kDetachedHeader) {
      is_detached = *value.as_string() == "on";
      if (!is_detached && *value.as_string() != "off") return fail("Parameter 'detached-header' expects 'on' or 'off'");
    } else if (!is_of_file(name)) {
      options.set(name, value);
    }
  }
  options.set(is_detached ? "header" : "file", std::move(file));
  TRY_ASSIGN(auto creation, schema::decode_keyval<schema::BlockdevCreateOptions>(json::Value(std::move(options))));
  round_up(creation.as<BlockdevDriver::kLuks>().size);
  return creation;
}

json::Object opening_options_of(const json::Object& words, const std::string& filename, const std::string& format) {
  json::Object options{{"driver", format}, {"file", file_options(filename)}};
  if (const json::Value* const secret = words.find("key-secret")) options.set("key-secret", *secret);
  if (const json::Value* const secret = words.find("encrypt.key-secret")) {
    const json::Value* const method = words.find("encrypt.format");
    options.set("encrypt",
                json::Object{{"format", method == nullptr ? json::Value("luks") : *method}, {"key-secret", *secret}});
  }
  return options;
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
  const auto add_encryption = [&](FormatSet format) {
    for (const NamedOption& option : kOptions) {
      const bool is_of_encryption = format == kLuks || option.name.starts_with(kEncryptPrefix);
      if (option.formats == format && is_of_encryption) add_given(option.name, option.schema_name);
    }
  };
  if (const auto* const luks = options.as_if<BlockdevDriver::kLuks>()) {
    text += fmt::format("luks size={}", luks->size);
    add_encryption(kLuks);
    add_given("preallocation", "preallocation");
    return text;
  }
  const auto& image = options.as<BlockdevDriver::kQcow2>();
  text += "qcow2";
  add_encryption(kQcow2);
  text += fmt::format(" cluster_size={} extended_l2={}", image.cluster_size.value_or(65536),
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

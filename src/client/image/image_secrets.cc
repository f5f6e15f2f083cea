#include "client/image/image_secrets.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "control/objects/secret_option.h"
#include "control/objects/secret_value.h"
#include "json/keyval.h"
#include "json/parser.h"
#include "schema/codec.h"

namespace blockexport::image {
namespace {

constexpr std::uint64_t kPipeWaitNs = UINT64_MAX;
constexpr std::string_view kObjectOption = "--object";

Result<schema::ObjectOptions> parse_object(const std::string& text) {
  if (text.starts_with('{')) {
    TRY_ASSIGN(json::Value value, json::parse(text));
    return schema::decode<schema::ObjectOptions>(value);
  }
  TRY_ASSIGN(json::Keyval keyval, json::parse_keyval(text, "qom-type"));
  if (keyval.help) return fail("Help is not available for this option");
  return schema::decode_keyval<schema::ObjectOptions>(json::Value(std::move(keyval.options)));
}

}  // namespace

aio::Task<Result<>> ImageSecrets::add(aio::Reactor& reactor, const Log& log, std::string text) {
  CO_TRY_ASSIGN(const schema::ObjectOptions options, parse_object(text));
  if (options.qom_type() != schema::ObjectType::kSecret) {
    co_return fail(fmt::format("Object '{}' is not a secret; here there is no use for another one", options.id));
  }
  const auto& properties = options.as<schema::ObjectType::kSecret>();
  CO_TRY(control::check_secret(properties));
  if (secrets_.contains(options.id)) {
    co_return fail(fmt::format("attempt to add duplicate property '{}' to object (type 'container')", options.id));
  }
  forbid_core_dumps();
  SecretBytes written;
  if (properties.data) {
    written = SecretBytes(properties.data->view());
  } else {
    std::optional<std::string> exposure;
    CO_TRY_ASSIGN(written, co_await control::read_secret_file(reactor, *properties.file, kPipeWaitNs, exposure));
    if (exposure && properties.strict_modes.value_or(false)) {
      co_return fail(fmt::format("Unable to use {}: {}", *properties.file, *exposure));
    }
    if (exposure) log.warning(fmt::format("secret '{}': {}: {}", options.id, *properties.file, *exposure));
  }
  std::shared_ptr<const SecretBytes> key;
  if (properties.keyid && !properties.keyid->empty()) {
    CO_TRY_ASSIGN(key, find_secret(*properties.keyid));
  }
  CO_TRY_ASSIGN(SecretBytes value, control::secret_value(written.text(), properties, key));
  secrets_.emplace(options.id, std::make_shared<const SecretBytes>(std::move(value)));
  co_return Result<>();
}

Result<std::shared_ptr<const SecretBytes>> ImageSecrets::find_secret(const std::string& id) {
  const auto found = secrets_.find(id);
  if (found != secrets_.end()) return found->second;
  return fail(Error(fmt::format("No secret with id '{}'", id))
                  .with_hint(fmt::format("Define it: --object secret,id={},file=PATH", id)));
}

void hide_secrets(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    char* text = arguments[i];
    const std::string_view whole = text;
    if (whole == kObjectOption) {
      if (++i == count) return;
      text = arguments[i];
    } else if (whole.starts_with(kObjectOption) && whole.substr(kObjectOption.size()).starts_with('=')) {
      text += kObjectOption.size() + 1;
    } else {
      continue;
    }
    const std::string_view secret = control::secret_in_object_option(text);
    std::fill_n(text + (secret.data() - text), secret.size(), '*');
  }
}

}  // namespace blockexport::image

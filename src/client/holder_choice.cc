#include "client/holder_choice.h"

#include <fmt/format.h>
#include <sys/stat.h>

namespace blockexport::client {
namespace {

bool has_file(const std::string& directory, std::string_view name) {
  struct stat status;
  return stat(fmt::format("{}/{}", directory, name).c_str(), &status) == 0;
}

}  // namespace

Result<std::optional<Choice>> choose(const TlsHolderOptions& options) {
  if (!options.client.empty() && !options.server.empty()) return fail("--client and --server are for one at a time");
  if (options.client.empty() && options.server.empty()) return std::nullopt;
  Choice choice{.side = options.client.empty() ? Side::kServer : Side::kClient,
                .name = options.client.empty() ? options.server : options.client};
  TRY(check_name(choice.side, choice.name));
  return choice;
}

Result<Choice> choose_one(const TlsHolderOptions& options) {
  TRY_ASSIGN(auto choice, choose(options));
  if (choice) return std::move(*choice);
  return fail(Error("no name was given").with_hint("Name a client with --client NAME or a server with --server NAME."));
}

Result<> check_days(std::int64_t days) {
  if (days >= 1 && days <= kDaysMax) return {};
  return fail(fmt::format("--days is from 1 to {}, not {}", kDaysMax, days));
}

bool is_about_keys(const TlsHolderOptions& options) {
  return options.psk || (has_file(options.directory, kKeys) && !has_file(options.directory, kCaCertificate));
}

Result<std::string> choose_user(const TlsHolderOptions& options) {
  TRY_ASSIGN(Choice choice, choose_one(options));
  if (choice.side == Side::kClient) return std::move(choice.name);
  return fail(Error("a shared key belongs to a client, not to a server")
                  .with_hint("Servers have all of keys.psk. Name a client with --client NAME."));
}

Result<ReadFile> read_keys(const std::string& directory) {
  TRY_ASSIGN(auto file, read_file(directory, kKeys));
  if (file) return std::move(*file);
  return fail(Error(fmt::format("there is no {} in '{}'", kKeys, directory))
                  .with_hint(fmt::format("Make one with: blockexport tls init {} --psk", directory)));
}

Result<> write_keys(const std::string& directory, std::string text) {
  NewFile file{.name = std::string(kKeys), .text = std::move(text)};
  Result<> written = replace_file(directory, file);
  wipe(file.text);
  return written;
}

Result<RevocationList> read_revocations(const std::string& directory) {
  TRY_ASSIGN(auto file, read_file(directory, kRevocations));
  if (!file) return RevocationList();
  auto list = parse_revocations(file->text);
  if (!list) return fail(fmt::format("'{}/{}' {}", directory, kRevocations, list.error().message()));
  return list;
}

Result<Certificate> read_certificate_of(const Holder& holder, ReadFile& file) {
  const std::string name = file_of(holder.side, "cert");
  TRY_ASSIGN(auto read, read_file(holder.directory, name));
  if (!read) return fail(fmt::format("'{}/{}' is missing", holder.directory, name));
  file = std::move(*read);
  auto chain = parse_certificates(file.text);
  if (!chain) return fail(fmt::format("'{}/{}' {}", holder.directory, name, chain.error().message()));
  return std::move(chain->front());
}

}  // namespace blockexport::client

#include <fmt/format.h>
#include <unistd.h>

#include <ctime>

#include "client/holder_choice.h"
#include "client/shared_key_users.h"
#include "client/tar.h"

namespace blockexport::client {
namespace {

constexpr unsigned kSecretMode = 0600;

void wipe_all(std::vector<TarFile>& files) {
  for (TarFile& file : files) wipe(file.text);
}

// Adds DIRECTORY/NAME to `files`. Error: the file is needed but missing.
Result<> take(const std::string& directory, std::string_view name, bool is_needed, unsigned mode,
              std::vector<TarFile>& files) {
  TRY_ASSIGN(auto file, read_file(directory, name));
  if (file) {
    files.push_back({.name = std::string(name), .text = std::move(file->text), .mode = mode});
    return {};
  }
  if (is_needed) return fail(fmt::format("'{}/{}' is missing", directory, name));
  return {};
}

Result<> take_keys(const TlsHolderOptions& options, const std::string& user, std::vector<TarFile>& files) {
  TRY_ASSIGN(ReadFile keys, read_keys(options.directory));
  auto line = find_key_line(keys.text, user);
  wipe(keys.text);
  if (!line) return fail(fmt::format("user '{}' has no key in '{}'", user, options.directory));
  files.push_back({.name = std::string(kKeys), .text = std::move(*line), .mode = kSecretMode});
  return {};
}

Result<> take_certificates(const TlsHolderOptions& options, const Choice& choice, std::vector<TarFile>& files) {
  TRY_ASSIGN(const Holder holder, find_holder(options.directory, choice.side, choice.name));
  ReadFile file;
  TRY_ASSIGN(const Certificate certificate, read_certificate_of(holder, file));
  TRY_ASSIGN(const RevocationList revoked, read_revocations(options.directory));
  if (revoked && is_revoked(revoked, certificate)) {
    return fail(fmt::format("{} '{}' was revoked", name_of(choice.side), choice.name));
  }
  constexpr unsigned kPublicMode = 0644;
  TRY(take(options.directory, kCaCertificate, true, kPublicMode, files));
  TRY(take(holder.directory, file_of(choice.side, "cert"), true, kPublicMode, files));
  TRY(take(holder.directory, file_of(choice.side, "key"), true, kSecretMode, files));
  TRY(take(options.directory, kRevocations, false, kPublicMode, files));
  if (choice.side == Side::kServer) TRY(take(holder.directory, "dh-params.pem", false, kPublicMode, files));
  return {};
}

std::string describe(const TlsHolderOptions& options, const Choice& choice, const std::string& path,
                     const std::vector<std::string>& names) {
  std::string text = fmt::format("made {0}: {1}\non its host:  tar xf {2}, and then\n", path, fmt::join(names, " "),
                                 path.substr(path.rfind('/') + 1));
  if (is_about_keys(options)) {
    return text + fmt::format("nbdinfo:      nbds://{0}@HOST/EXPORT?tls-psk-file={0}/{1}\n", choice.name, kKeys);
  }
  if (choice.side == Side::kClient) {
    return text + fmt::format(
                      "nbdinfo:      nbds://HOST/EXPORT?tls-certificates={0}\n"
                      "qemu:         --object tls-creds-x509,id=tls,dir={0},endpoint=client\n",
                      choice.name);
  }
  return text + fmt::format("server:       --object tls-creds-x509,id=tls,dir={},endpoint=server\n", choice.name);
}

Result<> write_archive(const std::string& path, std::string archive) {
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  std::vector<NewFile> files;
  files.push_back({.name = path.substr(slash + 1), .text = std::move(archive)});
  Result<> written = make_files(directory, files);
  wipe(files.front().text);
  return written;
}

}  // namespace

Result<std::string> tls_bundle(const TlsHolderOptions& options) {
  TRY_ASSIGN(const Choice choice, choose_one(options));
  const bool is_to_output = options.output == "-";
  if (is_to_output && isatty(STDOUT_FILENO) != 0) {
    return fail(Error("an archive with a key does not belong on a terminal")
                    .with_hint("Name a file with --output FILE, or pipe it to the other host."));
  }
  std::vector<TarFile> files;
  Result<> taken;
  if (is_about_keys(options)) {
    TRY_ASSIGN(const std::string user, choose_user(options));
    taken = take_keys(options, user, files);
  } else {
    taken = take_certificates(options, choice, files);
  }
  auto archive =
      taken ? make_tar(choice.name, files, std::time(nullptr)) : Result<std::string>(fail(std::move(taken).error()));
  std::vector<std::string> names;
  for (const TarFile& file : files) names.push_back(file.name);
  wipe_all(files);
  if (!archive || is_to_output) return archive;
  const std::string path = options.output.empty() ? choice.name + ".tar" : options.output;
  TRY(write_archive(path, std::move(*archive)));
  return describe(options, choice, path, names);
}

}  // namespace blockexport::client

#include "client/holders.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>

#include "base/printable.h"
#include "client/tls_files.h"

namespace blockexport::client {
namespace {

constexpr std::size_t kHolderNameBytesMax = 64;  // limit of a common name in X.520
constexpr std::size_t kNamesShownMax = 10;

std::string parent_directory(const std::string& directory, Side side) {
  return fmt::format("{}/{}s", directory, name_of(side));
}

bool has_certificate(const std::string& directory, Side side) {
  struct stat status;
  return stat(fmt::format("{}/{}", directory, file_of(side, "cert")).c_str(), &status) == 0;
}

// The common name of the certificate; "" when it has none or cannot be read.
std::string common_name_of(const std::string& directory, Side side) {
  auto file = read_file(directory, file_of(side, "cert"));
  if (!file || !*file) return {};
  auto chain = parse_certificates((*file)->text);
  if (!chain) return {};
  std::string name(kHolderNameBytesMax * 4, '\0');
  std::size_t bytes = name.size();
  const int status =
      gnutls_x509_crt_get_dn_by_oid(chain->front().get(), GNUTLS_OID_X520_COMMON_NAME, 0, 0, name.data(), &bytes);
  if (status < 0) return {};
  name.resize(bytes);
  return name;
}

Result<std::vector<std::string>> names_in(const std::string& parent) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, int (*)(DIR*)> listing(opendir(parent.c_str()), closedir);
  if (listing == nullptr && errno == ENOENT) return names;
  if (listing == nullptr) return fail(Error::system(fmt::format("cannot read '{}'", parent), Errno::last()));
  while (const dirent* entry = readdir(listing.get())) {
    if (entry->d_name[0] == '.') continue;
    if (names.size() == kHoldersMax) return fail(fmt::format("'{}' has more than {} entries", parent, kHoldersMax));
    names.emplace_back(entry->d_name);
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace

std::string file_of(Side side, std::string_view what) {
  return fmt::format("{}-{}.pem", name_of(side), what);
}

std::string holder_directory(const std::string& directory, Side side, std::string_view name) {
  return fmt::format("{}/{}", parent_directory(directory, side), name);
}

Result<std::vector<Holder>> list_holders(const std::string& directory) {
  std::vector<Holder> holders;
  for (Side side : {Side::kServer, Side::kClient}) {
    if (!has_certificate(directory, side)) continue;
    holders.push_back(
        {.side = side, .name = common_name_of(directory, side), .directory = directory, .is_first = true});
  }
  for (Side side : {Side::kServer, Side::kClient}) {
    TRY_ASSIGN(auto names, names_in(parent_directory(directory, side)));
    for (std::string& name : names) {
      std::string path = holder_directory(directory, side, name);
      if (has_certificate(path, side)) {
        holders.push_back({.side = side, .name = std::move(name), .directory = std::move(path)});
      }
    }
  }
  return holders;
}

Result<Holder> find_holder(const std::string& directory, Side side, const std::string& name) {
  TRY_ASSIGN(auto holders, list_holders(directory));
  std::string known;
  std::size_t count = 0;
  for (Holder& holder : holders) {
    if (holder.side != side) continue;
    if (holder.name == name) return std::move(holder);
    if (++count <= kNamesShownMax) known += fmt::format("{}'{}'", count == 1 ? "" : ", ", printable(holder.name));
  }
  Error error(fmt::format("there is no {} '{}' in '{}'", name_of(side), printable(name), directory));
  if (count == 0) return fail(std::move(error));
  return fail(std::move(error).with_hint(fmt::format("There is {}{}.", known, count > kNamesShownMax ? ", ..." : "")));
}

Result<> check_name(Side side, const std::string& name) {
  constexpr std::string_view kReserved = ":#,=/";
  auto is_fine = [kReserved](unsigned char c) {
    return c > ' ' && c < 0x7f && kReserved.find(static_cast<char>(c)) == kReserved.npos;
  };
  if (!name.empty() && name.size() <= kHolderNameBytesMax && name.front() != '.' &&
      std::ranges::all_of(name, is_fine)) {
    return {};
  }
  return fail(Error(fmt::format("'{}' cannot be a {}'s name", name, name_of(side)))
                  .with_hint("It is 1 to 64 ASCII characters without blanks and none of : # , = / and does not begin "
                             "with a dot."));
}

}  // namespace blockexport::client

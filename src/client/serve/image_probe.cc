#include "client/serve/image_probe.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <string_view>

#include "base/absolute_path.h"
#include "base/owned_fd.h"
#include "client/serve/image_magic.h"

namespace blockexport::serve {
namespace {

constexpr std::string_view kServedFormats[] = {"raw", "qcow2", "vdi", "vhdx", "vmdk", "vpc", "parallels"};

}  // namespace

Result<ServedImage> probe_image(const std::string& name) {
  ServedImage image{.path = absolute_path(name), .detected_format = {}};
  const OwnedFd file(open(image.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return fail(Error::system(fmt::format("Could not open '{}'", name), Errno(errno)));
  struct stat status{};
  if (fstat(file.get(), &status) != 0) return fail(Error::system(fmt::format("'{}'", name), Errno(errno)));
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
    return fail(fmt::format("'{}' is neither a file nor a block device", name));
  }
  image.is_device = S_ISBLK(status.st_mode);
  std::array<std::byte, kMagicBeginBytes> begin{};
  std::array<std::byte, kMagicEndBytes> end{};
  const ssize_t begun = pread(file.get(), begin.data(), begin.size(), 0);
  const off_t size = lseek(file.get(), 0, SEEK_END);
  const off_t last = size > static_cast<off_t>(kMagicEndBytes) ? size - static_cast<off_t>(kMagicEndBytes) : 0;
  const ssize_t ended = pread(file.get(), end.data(), end.size(), last);
  if (begun < 0 || ended < 0) return fail(Error::system(fmt::format("Could not read '{}'", name), Errno(errno)));
  image.detected_format = detected_format(std::span(begin).first(static_cast<std::size_t>(begun)),
                                          std::span(end).first(static_cast<std::size_t>(ended)));
  return image;
}

Result<std::string> chosen_format(const std::string& format, const ServedImage& image) {
  if (!format.empty()) return format;
  const std::string& found = image.detected_format;
  if (found.empty()) return "raw";
  const bool is_served = std::ranges::find(kServedFormats, found) != std::end(kServedFormats);
  std::string choice = is_served ? fmt::format("--format {} serves the disk in it, --format raw its bytes", found)
                                 : "--format raw serves its bytes";
  return fail(Error(fmt::format("{} begins or ends as a file of the format {} does", image.path, found))
                  .with_hint(fmt::format("Choose: {}. A guess would let the disk's users choose the format.", choice)));
}

}  // namespace blockexport::serve

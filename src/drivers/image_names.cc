#include "drivers/image_names.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <vector>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "base/log.h"
#include "block/graph.h"
#include "drivers/file/file_driver.h"
#include "drivers/foreign/format/probe.h"
#include "drivers/options.h"

namespace blockexport::drivers {
namespace {

using block::ImageReference;
using block::ReferenceKind;
using schema::BlockdevDriver;
using schema::ImageOptions;

constexpr std::string_view kJsonPrefix = "json:";

// The protocol at the beginning of a name; nothing for a path, which may contain a colon after a slash.
std::optional<std::string_view> protocol_of(std::string_view name) {
  const std::size_t end = name.find_first_of(":/");
  if (end == std::string_view::npos || name[end] == '/') return std::nullopt;
  return name.substr(0, end);
}

Result<std::string> beside_image(std::string_view name, std::string_view image_path) {
  if (name.starts_with('/')) return std::string(name);
  if (image_path.empty()) return fail("Cannot use relative backing file names: the image is in no file");
  const std::size_t slash = image_path.rfind('/');
  const std::string_view directory = slash == std::string_view::npos ? "" : image_path.substr(0, slash + 1);
  return fmt::format("{}{}", directory, name);
}

Result<ImageOptions> parse_protocol(std::string_view protocol, std::string_view rest, const std::string& format) {
  if (protocol == "file") {
    const bool is_driver = format == "host_device";
    // The path may lead to a device, unless the header says what it is.
    return schema::options_of_path(is_driver ? fmt::format("file:{}", rest) : std::string(rest), "", format);
  }
  if (protocol == "host_device") return schema::options_of_path(std::string(rest), protocol, format);
  if (protocol == "null-co" || protocol == "null-aio") {
    if (rest != "//") return fail(fmt::format("The only allowed filename for this driver is '{}://'", protocol));
    return schema::options_of_path({}, protocol, format);
  }
  if (protocol == "blkdebug") {
    return fail(Error("A name 'blkdebug:CONFIG:IMAGE' inside an image is not supported")
                    .with_hint("Give the options of the node instead, with the driver blkdebug."));
  }
  return fail(fmt::format("Unknown protocol '{}'", protocol));
}

Result<> check_deny(const ReferencePolicy& policy, const ImageReference& reference) {
  if (!policy.denies_all()) return {};
  const bool is_backing = reference.kind == ReferenceKind::kBacking;
  const bool is_extent = reference.kind == ReferenceKind::kExtent;
  return fail(Error(fmt::format("The image names '{}', and --image-references deny forbids to open it", reference.name))
                  .with_hint(is_extent    ? "Convert the image to one file, with a program that may open its extents."
                             : is_backing ? "Give 'backing' in the options of the node: a node, or null for none."
                                          : "Give 'data-file' in the options of the node."));
}

// Under a policy of directories a name must be a file of a known format, without options of its own.
Result<> check_directories(const ReferencePolicy& policy, const ImageReference& reference, ImageOptions& named) {
  if (policy.directories() == nullptr) return {};
  if (named.needs_format) {
    return fail(
        Error(fmt::format("The image does not say the format of '{}', and --image-references forbids to guess it",
                          reference.name))
            .with_hint("Give 'backing' in the options of the node, or write the format into the image."));
  }
  const BlockdevDriver driver = schema::lowest_file(named.options).driver();
  if (named.is_plain && (driver == BlockdevDriver::kFile || driver == BlockdevDriver::kHostDevice)) return {};
  return fail(Error(fmt::format("--image-references allows only files, not '{}'", reference.name))
                  .with_hint("Give 'backing' in the options of the node."));
}

// A path, and whether it leads to a device.
struct AskedPath {
  std::string path;
  bool is_device = false;
};

// Called through Reactor::call_abandonably. A missing file is none: its opening will fail.
std::int64_t ask_type(void* argument) {
  auto& asked = *static_cast<AskedPath*>(argument);
  struct stat status{};
  if (stat(asked.path.c_str(), &status) != 0) return 0;
  asked.is_device = S_ISBLK(status.st_mode) || S_ISCHR(status.st_mode);
  return 0;
}

// Makes the lowest node one of the driver host_device if its path leads to a device.
aio::Task<Result<>> choose_driver(schema::BlockdevOptions& options) {
  schema::BlockdevOptions& lowest = schema::lowest_file(options);
  const auto* file = lowest.as_if<BlockdevDriver::kFile>();
  if (file == nullptr) co_return Result<>();
  aio::Reactor& reactor = co_await aio::current_reactor();
  const std::shared_ptr<void> asked = std::make_shared<AskedPath>(AskedPath{.path = file->filename});
  if (auto called = co_await reactor.call_abandonably(ask_type, asked); !called) {
    co_return fail(Error::system(fmt::format("Could not open '{}'", file->filename), called.error()));
  }
  if (!static_cast<const AskedPath*>(asked.get())->is_device) co_return Result<>();
  schema::BlockdevOptionsFile device = *file;
  lowest.branch.emplace<static_cast<std::size_t>(BlockdevDriver::kHostDevice)>(std::move(device));
  co_return Result<>();
}

// Reads the beginning of the file whose format is not known.
aio::Task<Result<std::string>> read_beginning(const schema::BlockdevOptions& options) {
  const std::optional<block::ChildReference> reference = block::child_reference(options, "file");
  const schema::BlockdevOptions* below = reference ? reference->definition : nullptr;
  const auto* file = below == nullptr ? nullptr : below->as_if<BlockdevDriver::kFile>();
  const auto* device = below == nullptr ? nullptr : below->as_if<BlockdevDriver::kHostDevice>();
  // Nothing else has an image in it that anybody made without its format.
  if (file == nullptr && device == nullptr) co_return std::string();
  const block::NodeOptions node_options{.read_only = true};
  CO_TRY_ASSIGN(const std::unique_ptr<FileDriver> driver,
                co_await FileDriver::open(device != nullptr ? file_options(*device, node_options, FileType::kDevice)
                                                            : file_options(*file, node_options, FileType::kRegular)));
  std::string bytes(std::min<std::uint64_t>(kProbeBytesMax, driver->size_bytes()), '\0');
  if (bytes.empty()) co_return bytes;
  const iovec vector{.iov_base = bytes.data(), .iov_len = bytes.size()};
  const block::IoBuffers buffers(&vector, 1);
  if (IoResult read = co_await driver->read({0, bytes.size()}, buffers); !read) {
    co_return fail(Error::system("Could not read image for determining its format", read.error()));
  }
  co_return bytes;
}

}  // namespace

std::string_view probe_format(std::string_view bytes) {
  using namespace std::string_view_literals;
  constexpr std::string_view kMagic = "QFI\xfb\0\0\0"sv;  // and the last byte of the version, from 2 on
  if (bytes.size() > kMagic.size() && bytes.starts_with(kMagic) && static_cast<unsigned char>(bytes[7]) >= 2) {
    return "qcow2";
  }
  const std::string_view foreign = foreign::probe_foreign(std::as_bytes(std::span(bytes.data(), bytes.size())));
  return foreign.empty() ? "raw" : foreign;
}

Result<ImageOptions> parse_image_name(const ImageReference& reference, std::string_view image_path) {
  std::string_view name = reference.name;
  name = name.substr(0, name.find('\0'));
  if (reference.kind == ReferenceKind::kDataFile) {
    TRY_ASSIGN(ImageOptions file, schema::options_of_path(std::string(name), "", "file"));
    file.implies_file = true;
    return file;
  }
  if (reference.kind == ReferenceKind::kExtent) {
    if (image_path.empty() && !name.starts_with('/')) {
      return fail("Cannot use relative paths of extents: the image is in no file");
    }
    TRY_ASSIGN(std::string path, beside_image(name, image_path));
    TRY_ASSIGN(ImageOptions file, schema::options_of_path(std::move(path), "", "file"));
    file.implies_file = true;
    return file;
  }
  if (name.starts_with(kJsonPrefix)) return schema::options_of_json(name.substr(kJsonPrefix.size()), reference.format);
  if (const std::optional<std::string_view> protocol = protocol_of(name)) {
    return parse_protocol(*protocol, name.substr(protocol->size() + 1), reference.format);
  }
  TRY_ASSIGN(std::string path, beside_image(name, image_path));
  return schema::options_of_path(std::move(path), "", reference.format);
}

aio::Task<Result<schema::BlockdevOptions>> resolve_image_name(ImageReference reference, std::string image_path,
                                                              const ReferencePolicy& policy, const Log* log) {
  CO_TRY(check_deny(policy, reference));
  CO_TRY_ASSIGN(ImageOptions named, parse_image_name(reference, image_path));
  CO_TRY(check_directories(policy, reference, named));
  if (named.implies_file) CO_TRY(co_await choose_driver(named.options));
  if (!named.needs_format) co_return std::move(named.options);

  CO_TRY_ASSIGN(const std::string beginning, co_await read_beginning(named.options));
  reference.format = probe_format(beginning);
  if (log != nullptr) {
    log->warning(fmt::format(
        "{} does not say the format of its backing file '{}', which was probed as {}; a client that writes "
        "to a raw image can imitate another format, so the image should name the format",
        image_path.empty() ? "an image" : fmt::format("'{}'", image_path), reference.name, reference.format));
  }
  CO_TRY_ASSIGN(named, parse_image_name(reference, image_path));
  if (named.implies_file) CO_TRY(co_await choose_driver(named.options));
  co_return std::move(named.options);
}

}  // namespace blockexport::drivers

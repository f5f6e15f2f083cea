#include "control/image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "common/fatal.h"
#include "common/wire.h"

namespace blockexport::bench {

namespace {

Source source_named(const std::string& name) {
  if (name == "memory") {
    return Source::kMemory;
  }
  if (name == "pread") {
    return Source::kPread;
  }
  if (name == "mmap") {
    return Source::kMapped;
  }
  if (name == "sendfile") {
    return Source::kSendfile;
  }
  fatal("--mode={} is not a control", name);
}

}  // namespace

Image open_image(const std::string& path, const std::string& source, uint64_t memory_size) {
  Image image;
  image.source = source_named(source);
  if (image.source == Source::kMemory) {
    image.size = memory_size;
    image.hot.resize(kLargestPayload);
    image.extents.push_back({.end = memory_size, .hole = false});
    return image;
  }
  image.fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  struct stat status{};
  if (image.fd < 0 || fstat(image.fd, &status) != 0) {
    fatal("{}: {}", path, std::strerror(errno));
  }
  image.size = static_cast<uint64_t>(status.st_size);
  image.extents = find_extents(image.fd, image.size);
  if (image.source == Source::kMapped) {
    void* mapping = mmap(nullptr, image.size, PROT_READ, MAP_SHARED | MAP_POPULATE, image.fd, 0);
    if (mapping == MAP_FAILED) {
      fatal("mmap: {}", std::strerror(errno));
    }
    image.mapping = static_cast<std::byte*>(mapping);
  }
  return image;
}

}  // namespace blockexport::bench

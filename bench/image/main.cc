// bench_image: writes an image whose content is the Pattern, densely or in pieces, and leaves it in the page cache.
//
// --path=FILE --size=BYTES [--first=BYTES] [--data=BYTES --hole=BYTES] [--salt=N] [--vocabulary=N]: with --hole, every
// --data bytes of content, the first of them at --first, are followed by --hole bytes of hole. Without --size, an
// existing image of any format is made ready: --touch reads it all once, --drop drops its cache, --reload drops it and
// reads all of the image again in single pages, --dirty=BYTES rewrites its beginning with the bytes that it holds and
// leaves those pages dirty. In each case the image is first written back to the disk.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "common/args.h"
#include "common/fatal.h"
#include "common/pattern.h"

namespace blockexport::bench {
namespace {

constexpr uint64_t kPiece = uint64_t{1} << 20;

void write_run(int fd, const Pattern& pattern, uint64_t offset, uint64_t end) {
  while (offset < end) {
    ssize_t put = pwrite(fd, pattern.at(offset), std::min(kPiece, end - offset), static_cast<off_t>(offset));
    if (put <= 0) {
      fatal("write: {}", std::strerror(errno));
    }
    offset += static_cast<uint64_t>(put);
  }
}

// The layout of the content of a new image: from `first` on, runs of `data` bytes, each followed by a hole.
struct Pieces {
  uint64_t first = 0;
  uint64_t data = 0;
  uint64_t hole = 0;
};

void fill(int fd, uint64_t size, const Pieces& pieces, const Pattern& pattern) {
  if (ftruncate(fd, 0) != 0 || ftruncate(fd, static_cast<off_t>(size)) != 0) {
    fatal("truncate: {}", std::strerror(errno));
  }
  for (uint64_t offset = pieces.first; offset < size; offset += pieces.data + pieces.hole) {
    write_run(fd, pattern, offset, std::min(offset + pieces.data, size));
  }
}

void rewrite(int fd, uint64_t end) {
  std::vector<std::byte> piece(kPiece);
  for (uint64_t offset = 0; offset < end; offset += kPiece) {
    size_t size = std::min(kPiece, end - offset);
    auto place = static_cast<off_t>(offset);
    if (pread(fd, piece.data(), size, place) != static_cast<ssize_t>(size) ||
        pwrite(fd, piece.data(), size, place) != static_cast<ssize_t>(size)) {
      fatal("rewrite: {}", std::strerror(errno));
    }
  }
}

void touch(int fd, uint64_t size) {
  std::vector<std::byte> scratch(kPiece);
  for (uint64_t offset = 0; offset < size; offset += kPiece) {
    if (pread(fd, scratch.data(), scratch.size(), static_cast<off_t>(offset)) < 0) {
      fatal("read: {}", std::strerror(errno));
    }
  }
}

void drop_cache(int fd, const std::string& path) {
  if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0) {
    fatal("the cache of {} can not be dropped", path);
  }
}

// Without read-ahead, which would make folios of many pages: their size costs more than a server's work in some calls.
// Images with large holes stay as they are.
void reload(int fd, uint64_t size, const std::string& path) {
  constexpr uint64_t kReloadedBytesMax = uint64_t{4} << 30;
  if (size > kReloadedBytesMax) {
    return;
  }
  drop_cache(fd, path);
  if (posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM) != 0) {
    fatal("the read-ahead of {} can not be turned off", path);
  }
  touch(fd, size);
}

}  // namespace
}  // namespace blockexport::bench

int main(int count, char** values) {
  using namespace blockexport::bench;
  Args args(count, values);
  std::string path = args.text("path", "");
  uint64_t size = args.number("size", 0);
  Pieces pieces;
  pieces.first = args.number("first", 0);
  pieces.hole = args.number("hole", 0);
  pieces.data = args.number("data", pieces.hole == 0 ? size : 4096);
  uint64_t salt = args.number("salt", 0);
  uint64_t vocabulary = args.number("vocabulary", 0);
  uint64_t dirty = args.number("dirty", 0);
  bool touch_only = args.flag("touch");
  bool drop = args.flag("drop");
  bool reloads = args.flag("reload");
  args.finish();
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || (size != 0 && pieces.data == 0)) {
    fatal("image '{}' of {} bytes: {}", path, size, std::strerror(errno));
  }
  if (size != 0) {
    fill(fd, size, pieces, Pattern(salt, kPiece, vocabulary));
  }
  if (fdatasync(fd) != 0) {
    fatal("sync: {}", std::strerror(errno));
  }
  struct stat status{};
  fstat(fd, &status);
  if (touch_only) {
    touch(fd, static_cast<uint64_t>(status.st_size));
  }
  if (drop) {
    drop_cache(fd, path);
  }
  if (reloads) {
    reload(fd, static_cast<uint64_t>(status.st_size), path);
  }
  if (dirty != 0) {
    rewrite(fd, std::min(dirty, static_cast<uint64_t>(status.st_size)));
  }
  close(fd);
  return 0;
}

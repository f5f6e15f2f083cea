#include "aio/sim/world.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "aio/operation/file_map.h"

namespace blockexport::aio {
namespace {

// Longest range of one fallocate(), since allocated pages take memory of the test.
constexpr std::uint64_t kAllocateBytesMax = 256u << 20;
constexpr std::uint64_t kOffsetMax = INT64_MAX;
// Most bytes of one try_send_file(); no simulated connection accepts more at a time.
constexpr std::uint64_t kSendBytesMax = 1u << 20;

std::size_t total_of(std::span<const iovec> vectors) {
  std::size_t total = 0;
  for (const iovec& vector : vectors) total += vector.iov_len;
  return total;
}

std::vector<std::byte> gather(std::span<const iovec> vectors) {
  std::vector<std::byte> data;
  for (const iovec& vector : vectors) {
    auto* bytes = static_cast<const std::byte*>(vector.iov_base);
    data.insert(data.end(), bytes, bytes + vector.iov_len);
  }
  return data;
}

void scatter(std::span<const std::byte> data, std::span<const iovec> vectors) {
  for (const iovec& vector : vectors) {
    std::size_t count = std::min(data.size(), vector.iov_len);
    if (count > 0) std::memcpy(vector.iov_base, data.data(), count);
    data = data.subspan(count);
  }
}

// The strictest alignment of O_DIRECT: that of a disk with blocks of 4 KiB.
bool is_of_whole_blocks(std::span<const iovec> vectors, std::uint64_t offset) {
  std::uint64_t bits = offset;
  for (const iovec& vector : vectors) bits |= reinterpret_cast<std::uintptr_t>(vector.iov_base) | vector.iov_len;
  return bits % PageStore::kPageBytes == 0;
}

IoCount as_count(std::int64_t result) {
  if (result < 0) return fail(static_cast<int>(-result));
  return static_cast<std::size_t>(result);
}

}  // namespace

Descriptor* World::find(int fd) {
  auto found = descriptors.find(fd);
  return found == descriptors.end() ? nullptr : &found->second;
}

int World::add(Descriptor descriptor) {
  descriptors.emplace(next_descriptor_, std::move(descriptor));
  return next_descriptor_++;
}

bool World::may_fail(OperationKind kind) const {
  return std::ranges::any_of(faults, [&](const Fault& fault) {
    // The path is not known here, so faults of all paths count.
    return concerns(fault, {.kind = kind, .path = fault.path});
  });
}

std::optional<Fault> World::take_fault(const Operation& operation, const std::string& path) {
  const bool unlocks = operation.kind == OperationKind::kLock && operation.mode == F_UNLCK;
  return aio::take_fault(faults, {.kind = operation.kind, .path = path, .unlocks = unlocks});
}

void World::begin(Operation& operation) {
  Descriptor* descriptor = find(operation.fd);
  const bool is_file = descriptor != nullptr && descriptor->file != nullptr;
  if (operation.kind == OperationKind::kSync) operation.length = is_file ? descriptor->file->changes() : 0;
  // perform() handles writes that are refused, or to which a fault may apply.
  if (operation.kind == OperationKind::kWrite && operation.data_sync && is_file && !descriptor->dead &&
      descriptor->writable && operation.caching == Caching::kKeep && !may_fail(OperationKind::kWrite) &&
      operation.offset <= kOffsetMax) {
    copy_durable_write(operation, *descriptor);
  }
}

// Performs the copy, and stores in the operation for write_durably(): in `length` the number of changes including this
// one, in `result` the number of bytes.
void World::copy_durable_write(Operation& operation, Descriptor& descriptor) {
  operation.result = write(descriptor, operation.vectors, operation.offset);
  operation.length = descriptor.file->changes();
}

std::int64_t World::write_durably(Operation& operation, Descriptor& descriptor) {
  if (operation.length == 0) copy_durable_write(operation, descriptor);
  if (operation.result <= 0) return operation.result;
  if (take_writeback_error(descriptor)) return -EIO;
  descriptor.file->keep(operation.length - 1);
  return operation.result;
}

std::int64_t World::sync(const Operation& operation, Descriptor& descriptor) {
  if (take_writeback_error(descriptor)) return -EIO;
  descriptor.file->sync(operation.length);
  return 0;
}

bool World::take_writeback_error(Descriptor& descriptor) {
  if (descriptor.reported_writeback_errors == descriptor.file->writeback_errors()) return false;
  descriptor.reported_writeback_errors = descriptor.file->writeback_errors();
  descriptor.file->set_writeback_errors_reported();
  return true;
}

std::int64_t World::perform(Operation& operation) {
  if (operation.kind == OperationKind::kCall) return operation.function(operation.argument);
  Descriptor* descriptor = find(operation.fd);
  bool opens = operation.kind == OperationKind::kOpen;
  if (!opens && descriptor == nullptr) return -EBADF;
  const std::optional<Fault> fault = take_fault(operation, opens ? operation.path : descriptor->path);
  const int error = fault ? fault->error : 0;
  if (operation.kind == OperationKind::kClose) {
    std::int64_t closed = close(operation.fd);
    return error != 0 ? -error : closed;
  }
  if (error != 0) return -error;
  if (opens) return open(operation.path, operation.mode);
  if (descriptor->dead) return -EIO;
  if (descriptor->file == nullptr) return operation.kind == OperationKind::kSync ? -EINVAL : -ESPIPE;
  if (fault && fault->moved_bytes) moved_bytes_max_ = *fault->moved_bytes;
  const std::int64_t result = perform_on_file(operation, *descriptor);
  moved_bytes_max_ = UINT64_MAX;
  return result;
}

std::int64_t World::perform_on_file(Operation& operation, Descriptor& descriptor) {
  SimulatedFile& file = *descriptor.file;
  if (operation.offset > kOffsetMax || operation.length > kOffsetMax - operation.offset) return -EINVAL;
  bool changes = operation.kind == OperationKind::kWrite || operation.kind == OperationKind::kAllocate ||
                 operation.kind == OperationKind::kTruncate;
  if (changes && !descriptor.writable) return -EBADF;
  // Like older kernels.
  if (operation.caching == Caching::kDrop) return -EOPNOTSUPP;
  auto owner = static_cast<std::uint64_t>(operation.fd);
  switch (operation.kind) {
    case OperationKind::kRead:
      return read(descriptor, operation.vectors, operation.offset);
    case OperationKind::kWrite:
      return operation.data_sync ? write_durably(operation, descriptor)
                                 : write(descriptor, operation.vectors, operation.offset);
    case OperationKind::kSync:
      return sync(operation, descriptor);
    case OperationKind::kAllocate:
      return allocate(file, operation.mode, operation.offset, operation.length);
    case OperationKind::kTruncate:
      file.apply({.kind = FileChange::Kind::kTruncate, .length = operation.length});
      return 0;
    case OperationKind::kMap:
      return map(file, operation);
    case OperationKind::kStat:
      *operation.info = info_of(file);
      return 0;
    case OperationKind::kLock:
      return file.lock(operation.offset, owner, operation.mode) ? 0 : -EAGAIN;
    case OperationKind::kTestLock:
      return file.can_lock(operation.offset, owner, operation.mode) ? 0 : 1;
    case OperationKind::kPrefetch:
      return 0;
    default:
      // Operations of block devices.
      return -ENOTTY;
  }
}

std::int64_t World::open(const char* path, int flags) {
  auto found = files.find(path);
  if (found != files.end() && (flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) return -EEXIST;
  if (found == files.end()) {
    if ((flags & O_CREAT) == 0) return -ENOENT;
    found = files.emplace(path, std::make_shared<SimulatedFile>(next_inode_++)).first;
  }
  if ((flags & O_TRUNC) != 0) found->second->apply({.kind = FileChange::Kind::kTruncate, .length = 0});
  int access = flags & O_ACCMODE;
  return add({.path = path,
              .file = found->second,
              .stream = nullptr,
              .listener = nullptr,
              .readable = access != O_WRONLY,
              .writable = access != O_RDONLY,
              .direct = (flags & O_DIRECT) != 0,
              .reported_writeback_errors = found->second->reported_writeback_errors()});
}

// A short direct transfer ends at a block boundary.
std::size_t World::perhaps_shorter(std::size_t count, const Descriptor& descriptor) {
  if (moved_bytes_max_ != UINT64_MAX) return std::min<std::size_t>(count, moved_bytes_max_);
  const std::size_t step = descriptor.direct ? PageStore::kPageBytes : 1;
  if (!options.short_transfers || count < 2 * step || !random.one_in(4)) return count;
  return random.between(1, count / step - 1) * step;
}

std::int64_t World::read(Descriptor& descriptor, std::span<const iovec> vectors, std::uint64_t offset) {
  if (!descriptor.readable) return -EBADF;
  if (descriptor.direct && !is_of_whole_blocks(vectors, offset)) return -EINVAL;
  std::vector<std::byte> data(perhaps_shorter(total_of(vectors), descriptor));
  std::size_t count = descriptor.file->pages().read(offset, data);
  scatter(std::span(data).first(count), vectors);
  return static_cast<std::int64_t>(count);
}

std::int64_t World::write(Descriptor& descriptor, std::span<const iovec> vectors, std::uint64_t offset) {
  if (descriptor.direct && !is_of_whole_blocks(vectors, offset)) return -EINVAL;
  std::vector<std::byte> data = gather(vectors);
  if (data.size() > kOffsetMax - offset) return -EFBIG;
  data.resize(perhaps_shorter(data.size(), descriptor));
  auto count = static_cast<std::int64_t>(data.size());
  if (count == 0) return 0;
  descriptor.file->apply({.kind = FileChange::Kind::kWrite, .offset = offset, .data = std::move(data)});
  return count;
}

std::int64_t World::allocate(SimulatedFile& file, int mode, std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return -EINVAL;
  std::uint64_t end = offset + length;
  bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  int how = mode & ~FALLOC_FL_KEEP_SIZE;
  if (how != 0 && how != FALLOC_FL_ZERO_RANGE && (how != FALLOC_FL_PUNCH_HOLE || !keep_size)) return -EOPNOTSUPP;
  if (how != 0) file.apply({.kind = FileChange::Kind::kPunch, .offset = offset, .length = length});
  if (how == FALLOC_FL_PUNCH_HOLE) return 0;
  if (length > kAllocateBytesMax) return -ENOSPC;
  file.apply({.kind = FileChange::Kind::kAllocate, .offset = offset, .length = length});
  if (!keep_size && end > file.pages().size()) file.apply({.kind = FileChange::Kind::kTruncate, .length = end});
  return 0;
}

std::int64_t World::seek(const PageStore& pages, std::uint64_t offset, int whence) const {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return -EINVAL;
  if (offset >= pages.size()) return -ENXIO;
  std::uint64_t found = whence == SEEK_DATA ? pages.next_data(offset) : pages.next_hole(offset);
  if (whence == SEEK_DATA && found == pages.size()) return -ENXIO;
  return static_cast<std::int64_t>(found);
}

FileInfo World::info_of(const SimulatedFile& file) {
  return {.size_bytes = file.pages().size(),
          .allocated_bytes = file.pages().allocated_bytes(),
          .type = S_IFREG,
          .block_bytes = PageStore::kPageBytes,
          .device = 1,
          .inode = file.inode(),
          .modified_ns = static_cast<std::int64_t>(file.changes()),
          .changed_ns = static_cast<std::int64_t>(file.changes())};
}

std::int64_t World::map(const SimulatedFile& file, const Operation& operation) {
  FileMap& map = *operation.map;
  auto seek_in_file = [&](std::uint64_t offset, int whence) { return seek(file.pages(), offset, whence); };
  std::int64_t reached = map_by_seeking(seek_in_file, operation.offset, operation.length, FileRunKind::kHole, map);
  map.info = info_of(file);
  map.file_bytes = map.info.size_bytes;
  map.exact = true;
  map.lasting = !random.one_in(4) && options.maps_last;
  return std::min<std::int64_t>(reached, 0);
}

std::uint32_t World::ready(int fd) {
  Descriptor* descriptor = find(fd);
  if (descriptor == nullptr) return POLLNVAL;
  if (descriptor->stream != nullptr) return descriptor->stream->ready(options.streams);
  if (descriptor->listener != nullptr) return descriptor->listener->waiting.empty() ? 0 : POLLIN;
  return POLLIN | POLLOUT;
}

IoCount World::try_receive(int fd, std::span<std::byte> buffer) {
  Descriptor* descriptor = find(fd);
  if (descriptor == nullptr) return fail(EBADF);
  if (descriptor->stream == nullptr) return fail(ENOTSOCK);
  return descriptor->stream->receive(buffer, options.streams, random);
}

IoCount World::try_send(int fd, std::span<const iovec> vectors) {
  Descriptor* descriptor = find(fd);
  if (descriptor == nullptr) return fail(EBADF);
  if (descriptor->stream == nullptr) return fail(ENOTSOCK);
  return descriptor->stream->send(gather(vectors), options.streams, random);
}

IoCount World::try_send_file(int fd, std::span<const iovec> head, int file, std::uint64_t offset,
                             std::uint64_t length) {
  Descriptor* source = find(file);
  if (source == nullptr || source->file == nullptr) return fail(EBADF);
  if (source->dead) return fail(EIO);
  std::vector<std::byte> data = gather(head);
  const std::size_t head_bytes = data.size();
  data.resize(head_bytes + std::min<std::uint64_t>(length, kSendBytesMax));
  data.resize(head_bytes + source->file->pages().read(offset, std::span(data).subspan(head_bytes)));
  if (data.empty()) return fail(ENODATA);
  Descriptor* descriptor = find(fd);
  if (descriptor == nullptr) return fail(EBADF);
  if (descriptor->stream == nullptr) return fail(ENOTSOCK);
  return descriptor->stream->send(data, options.streams, random);
}

bool World::is_cached(int file, std::uint64_t, std::uint64_t) {
  Descriptor* descriptor = find(file);
  bool usable = descriptor != nullptr && descriptor->file != nullptr && !descriptor->dead;
  return usable && !may_fail(OperationKind::kRead) && !random.one_in(4);
}

IoCount World::try_read(int fd, std::span<const iovec> vectors, std::uint64_t offset) {
  Descriptor* descriptor = find(fd);
  if (descriptor == nullptr || descriptor->file == nullptr) return fail(EBADF);
  if (descriptor->dead) return fail(EIO);
  if (may_fail(OperationKind::kRead) || random.one_in(4)) return fail(EAGAIN);
  if (offset > kOffsetMax) return fail(EINVAL);
  return try_unless(
      aio::take_fault(faults, {.kind = OperationKind::kRead, .path = descriptor->path, .immediate = true}), *descriptor,
      OperationKind::kRead, vectors, offset);
}

IoCount World::try_write(int fd, std::span<const iovec> vectors, std::uint64_t offset) {
  Descriptor* descriptor = find(fd);
  if (descriptor == nullptr || descriptor->file == nullptr || !descriptor->writable) return fail(EBADF);
  if (descriptor->dead) return fail(EIO);
  if (may_fail(OperationKind::kWrite) || random.one_in(4)) return fail(EAGAIN);
  if (offset > kOffsetMax) return fail(EINVAL);
  clock.advance_to(clock.now_ns() + options.write_hold_ns);
  if (options.write_hold_ns > 0 && options.write_hold_waits) ++times_waited;
  return try_unless(
      aio::take_fault(faults, {.kind = OperationKind::kWrite, .path = descriptor->path, .immediate = true}),
      *descriptor, OperationKind::kWrite, vectors, offset);
}

IoCount World::try_unless(const std::optional<Fault>& fault, Descriptor& descriptor, OperationKind kind,
                          std::span<const iovec> vectors, std::uint64_t offset) {
  if (fault && fault->error != 0) return fail(fault->error);
  if (fault && fault->moved_bytes) moved_bytes_max_ = *fault->moved_bytes;
  const std::int64_t result =
      kind == OperationKind::kRead ? read(descriptor, vectors, offset) : write(descriptor, vectors, offset);
  moved_bytes_max_ = UINT64_MAX;
  return as_count(result);
}

IoResult World::try_stat(int fd, FileInfo& info) {
  Descriptor* descriptor = find(fd);
  if (descriptor == nullptr || descriptor->file == nullptr) return fail(EBADF);
  if (descriptor->dead) return fail(EIO);
  info = info_of(*descriptor->file);
  return {};
}

std::expected<int, Errno> World::try_accept(int fd) {
  Descriptor* descriptor = find(fd);
  if (descriptor == nullptr) return fail(EBADF);
  if (descriptor->listener == nullptr) return fail(EINVAL);
  std::deque<int>& waiting = descriptor->listener->waiting;
  if (waiting.empty()) return fail(EAGAIN);
  int accepted = waiting.front();
  waiting.pop_front();
  return accepted;
}

void World::shut_down(int fd) {
  Descriptor* descriptor = find(fd);
  if (descriptor != nullptr && descriptor->stream != nullptr) descriptor->stream->shut_down();
}

std::int64_t World::close(int fd) {
  auto found = descriptors.find(fd);
  if (found == descriptors.end()) return -EBADF;
  Descriptor& closed = found->second;
  if (closed.file != nullptr) closed.file->unlock_all(static_cast<std::uint64_t>(fd));
  if (closed.stream != nullptr) closed.stream->shut_down();
  std::deque<int> never_accepted;
  if (closed.listener != nullptr) never_accepted.swap(closed.listener->waiting);
  descriptors.erase(found);
  for (int waiting : never_accepted) close(waiting);
  return 0;
}

void World::leave_unfinished(const Operation& write) {
  if (write.data_sync && write.length > 0) return;  // copied already
  Descriptor* descriptor = find(write.fd);
  if (descriptor == nullptr || descriptor->file == nullptr || !descriptor->writable || descriptor->dead) return;
  descriptor->file->apply_unfinished(
      {.kind = FileChange::Kind::kWrite, .offset = write.offset, .data = gather(write.vectors)});
}

void World::power_cut() {
  ++power_cuts;
  for (auto& [path, file] : files) file->power_cut(random);
  for (auto& [fd, descriptor] : descriptors) {
    descriptor.dead = true;
    if (descriptor.stream != nullptr) descriptor.stream->reset();
  }
}

}  // namespace blockexport::aio

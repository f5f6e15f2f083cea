#include "drivers/qcow2/check/check_state.h"

#include <sys/uio.h>

#include <bit>
#include <cstring>

#include "drivers/qcow2/file/zero_padded_read.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::size_t kWordBytes = 8;

}  // namespace

void CheckState::note(std::string finding) {
  if (report.findings.size() < kCheckFindingsMax) {
    report.findings.push_back(std::move(finding));
  } else {
    ++report.findings_left_out;
  }
}

void CheckState::corrupt(std::string finding, std::uint64_t times) {
  report.corruptions += times;
  note(std::move(finding));
}

void CheckState::leak(std::string finding) {
  ++report.leaks;
  note(std::move(finding));
}

void CheckState::unreadable(std::string finding, std::uint64_t times) {
  report.check_errors += times;
  is_incomplete = true;
  note(std::move(finding));
}

std::uint64_t table_word(std::span<const std::byte> bytes, std::size_t index) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes.subspan(index * kWordBytes, kWordBytes).data(), kWordBytes);
  return std::endian::native == std::endian::little ? std::byteswap(word) : word;
}

void set_table_word(std::span<std::byte> bytes, std::size_t index, std::uint64_t word) {
  if (std::endian::native == std::endian::little) word = std::byteswap(word);
  std::memcpy(bytes.subspan(index * kWordBytes, kWordBytes).data(), &word, kWordBytes);
}

aio::Task<IoResult> read_file(block::Node& file, std::uint64_t offset, std::span<std::byte> bytes) {
  if (bytes.empty()) co_return IoResult();
  const iovec vector{.iov_base = bytes.data(), .iov_len = bytes.size()};
  co_return co_await read_zero_padded(file, {offset, bytes.size()}, {&vector, 1});
}

aio::Task<Result<>> write_file(block::Node& file, std::uint64_t offset, std::span<std::byte> bytes) {
  const iovec vector{.iov_base = bytes.data(), .iov_len = bytes.size()};
  const block::WriteOptions options{.may_grow = true};
  const IoResult written = co_await file.write({offset, bytes.size()}, {&vector, 1}, options);
  if (!written) co_return fail(Error::system("Cannot write to the image during the repair", written.error()));
  co_return Result<>();
}

aio::Task<Result<>> flush_file(block::Node& file) {
  const IoResult flushed = co_await file.flush();
  if (!flushed) co_return fail(Error::system("Cannot flush the image during the repair", flushed.error()));
  co_return Result<>();
}

}  // namespace blockexport::drivers::qcow2

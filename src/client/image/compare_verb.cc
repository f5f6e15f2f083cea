#include "client/image/compare_verb.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/print.h"
#include "client/image/image_graph.h"
#include "json/writer.h"

namespace blockexport::image {
namespace {

constexpr std::uint64_t kPieceBytes = 1u << 20;
constexpr std::uint64_t kSectorBytes = 512;
// One query about extents; a longer run of zeroes takes several.
constexpr std::uint64_t kAskedBytesMax = 1u << 30;
constexpr std::string_view kSecondNode = "second";

struct Difference {
  std::uint64_t offset = UINT64_MAX;
  bool is_of_allocation = false;
};

// Compares the disks from 0 to the end of the longer one. Behind its end, the shorter one counts as zeroes.
class Comparison final : public ImageWork {
 public:
  Comparison(block::Node& first, block::Node& second, bool is_strict, Percentage& percentage)
      : ImageWork(std::max(first.size_bytes(), second.size_bytes()), kPieceBytes, 2 * kPieceBytes, percentage),
        nodes_{&first, &second},
        is_strict_(is_strict) {}

  // The first difference; offset UINT64_MAX: there is none.
  const Difference& difference() const { return difference_; }

 private:
  static block::Extent nothing(std::uint64_t length) { return {.length = length, .data = false, .zero = true}; }

  void note(std::uint64_t offset, bool is_of_allocation) {
    // Tasks work on several pieces at a time: one in front may still find something.
    if (offset < difference_.offset) difference_ = {offset, is_of_allocation};
    pieces().skip_all();
  }

  // The run of bytes of one kind at `offset`.
  static aio::Task<Result<block::Extent>> extent_at(block::Node& node, std::uint64_t offset, std::uint64_t length) {
    if (offset >= node.size_bytes()) co_return nothing(length);
    block::Extents found;
    const block::Range range{offset, std::min(length, node.size_bytes() - offset)};
    const IoResult asked = co_await node.extents(range, found);
    if (!asked) co_return fail(Error::system("Failed to read image metadata", asked.error()));
    co_return found.front();
  }

  static aio::Task<Result<>> read(block::Node& node, block::Range range, std::span<std::byte> bytes) {
    const std::uint64_t size = node.size_bytes();
    const std::uint64_t inside = range.offset >= size ? 0 : std::min(range.length, size - range.offset);
    std::memset(bytes.data() + inside, 0, range.length - inside);
    if (inside == 0) co_return Result<>();
    const iovec vector{.iov_base = bytes.data(), .iov_len = inside};
    const IoResult done = co_await node.read({range.offset, inside}, {&vector, 1});
    if (!done) co_return fail(Error::system(fmt::format("Error while reading offset {}", range.offset), done.error()));
    co_return Result<>();
  }

  aio::Task<Result<>> work_on(block::Range piece, std::span<std::byte> memory) override {
    const std::uint64_t end = piece.offset + piece.length;
    for (std::uint64_t offset = piece.offset; offset < end && offset < difference_.offset;) {
      const std::uint64_t asked = std::min(kAskedBytesMax, pieces().end() - offset);
      CO_TRY_ASSIGN(const block::Extent first, co_await extent_at(*nodes_[0], offset, asked));
      CO_TRY_ASSIGN(const block::Extent second, co_await extent_at(*nodes_[1], offset, asked));
      const std::uint64_t length = std::min(first.length, second.length);
      if (is_strict_ && first.data != second.data) {
        note(offset, true);
        co_return Result<>();
      }
      if (first.zero && second.zero) {
        offset += length;
        pieces().skip_to(offset);
        continue;
      }
      const block::Range range{offset, std::min(length, end - offset)};
      CO_TRY(co_await compare_bytes(range, memory));
      offset += range.length;
    }
    co_return Result<>();
  }

  aio::Task<Result<>> compare_bytes(block::Range range, std::span<std::byte> memory) {
    const std::span<std::byte> first = memory.subspan(0, range.length);
    const std::span<std::byte> second = memory.subspan(kPieceBytes, range.length);
    CO_TRY(co_await read(*nodes_[0], range, first));
    CO_TRY(co_await read(*nodes_[1], range, second));
    if (std::memcmp(first.data(), second.data(), range.length) == 0) co_return Result<>();
    const auto [at, other] = std::ranges::mismatch(first, second);
    const std::uint64_t offset = range.offset + static_cast<std::uint64_t>(at - first.begin());
    note(offset - offset % kSectorBytes, false);
    co_return Result<>();
  }

  block::Node* nodes_[2];
  bool is_strict_;
  Difference difference_;
};

int tell(const CompareOptions& options, bool equal, const std::string& text, std::optional<std::uint64_t> offset) {
  if (options.is_json) {
    json::Object object{{"identical", equal}, {"message", text}};
    if (offset) object.set("offset", static_cast<std::int64_t>(*offset));
    print(stdout, "{}\n", json::to_string(json::Value(std::move(object))));
  } else if (!options.is_quiet) {
    print(stdout, "{}\n", text);
  }
  return equal ? 0 : kExitDifferent;
}

}  // namespace

Result<int> compare(const CompareOptions& options) {
  const Access access = options.force_share ? Access::kReadShared : Access::kRead;
  TRY_ASSIGN(const auto images, ImageGraph::create(options.objects));
  TRY_ASSIGN(block::Node* const first, images->open_image(options.first, access, Backing::kNamed));
  TRY_ASSIGN(block::Node* const second, images->open_image(options.second, access, Backing::kNamed, kSecondNode));
  const bool has_one_size = first->size_bytes() == second->size_bytes();
  if (options.is_strict && !has_one_size) {
    return tell(options, false, "Strict mode: Image size mismatch!", std::nullopt);
  }
  Difference difference;
  {
    Percentage percentage(options.shows_progress && !options.is_quiet && !options.is_json);
    Comparison comparison(*first, *second, options.is_strict, percentage);
    TRY(images->run(comparison.run(images->reactor(), options.tasks)));
    difference = comparison.difference();
  }
  if (!has_one_size && !options.is_quiet && !options.is_json) print(stdout, "Warning: Image size mismatch!\n");
  if (difference.offset == UINT64_MAX) return tell(options, true, "Images are identical.", std::nullopt);
  const char* const text =
      difference.is_of_allocation ? "Strict mode: Offset {} block status mismatch!" : "Content mismatch at offset {}!";
  return tell(options, false, fmt::format(fmt::runtime(text), difference.offset), difference.offset);
}

}  // namespace blockexport::image

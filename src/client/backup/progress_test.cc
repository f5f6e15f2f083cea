#include "client/backup/progress.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/owned_fd.h"

namespace blockexport::backup {
namespace {

constexpr ProgressState kHalf{
    .done_bytes = 512, .total_bytes = 1024, .copied_bytes = 1536, .rate = 2048, .seconds_left = 3661};

class StoppedClock final : public Clock {
 public:
  std::uint64_t now_ns() const override { return now_ns_; }
  std::int64_t wall_us() const override { return 0; }
  void advance_ms(std::uint64_t ms) { now_ns_ += ms * 1'000'000; }

 private:
  std::uint64_t now_ns_ = 1'000'000'000'000;
};

// The text that a Progress wrote to the file.
std::string text_in(int fd) {
  std::string text(4096, '\0');
  const ssize_t count = ::pread(fd, text.data(), text.size(), 0);
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return text;
}

TEST(ProgressTextTest, SizesAndDurationsAreForPeople) {
  EXPECT_EQ(size_text(1023), "1023 bytes");
  EXPECT_EQ(size_text(1536), "1.5 KiB");
  EXPECT_EQ(size_text(UINT64_MAX), "16.0 EiB");
  EXPECT_EQ(duration_text(3661), "1:01:01");
}

TEST(ProgressTextTest, ABarFitsItsTerminal) {
  EXPECT_EQ(bar_text(kHalf, 80).substr(0, 12), " 50% [######");
  EXPECT_NE(bar_text(kHalf, 80).find("1.5 KiB copied, 2.0 KiB/s, 1:01:01 left"), std::string::npos);
  for (unsigned columns = 0; columns < 200; ++columns) EXPECT_LE(bar_text(kHalf, columns).size(), columns);
}

TEST(ProgressTextTest, LinesAreForPrograms) {
  EXPECT_EQ(line_text(kHalf), "progress 50.00% done=512 total=1024 copied=1536 rate=2048 eta=3661");
  EXPECT_EQ(json_text(kHalf),
            "{\"progress\": {\"done-bytes\": 512, \"total-bytes\": 1024, \"copied-bytes\": 1536, "
            "\"bytes-per-second\": 2048, \"seconds-left\": 3661}}");
}

TEST(ProgressTextTest, AnEmptyDiskIsDone) {
  EXPECT_TRUE(line_text({}).starts_with("progress 100.00%"));
}

TEST(ProgressTest, LinesComeAtIntervalsWithRateAndEstimate) {
  const OwnedFd fd(::memfd_create("progress", MFD_CLOEXEC));
  StoppedClock clock;
  Progress progress(Progress::Form::kLines, fd.get(), 1000, clock);
  clock.advance_ms(1000);
  progress.update(100, 50);
  progress.update(101, 51);
  EXPECT_EQ(text_in(fd.get()), "progress 10.00% done=100 total=1000 copied=50 rate=50 eta=9\n");
}

TEST(ProgressTest, PercentagesAreWrittenOnce) {
  const OwnedFd fd(::memfd_create("progress", MFD_CLOEXEC));
  StoppedClock clock;
  Progress progress(Progress::Form::kPercent, fd.get(), 1000, clock);
  for (std::uint64_t done : {100u, 101u, 500u}) {
    clock.advance_ms(1000);
    progress.update(done, done);
  }
  progress.finish();
  EXPECT_EQ(text_in(fd.get()), "10/100\n50/100\n100/100\n");
}

TEST(ProgressTest, AWishThatIsNoDescriptorIsAnError) {
  for (const char* wish : {"x", "-1", "1x", "100000"}) EXPECT_FALSE(Progress::create(wish, false, 1)) << wish;
}

}  // namespace
}  // namespace blockexport::backup

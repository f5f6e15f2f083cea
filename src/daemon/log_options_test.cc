#include "daemon/log_options.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace blockexport::daemon {
namespace {

TEST(LogOptionsTest, LevelsAndFormatsAreWords) {
  LogOptions options;
  for (std::string_view level : {"error", "warning", "info", "debug"}) {
    ASSERT_TRUE(take_log_level(options, level));
    EXPECT_EQ(log_level_name(*options.level), level);
  }
  EXPECT_FALSE(take_log_level(options, "Info"));
  EXPECT_FALSE(take_log_level(options, ""));
  ASSERT_TRUE(take_log_format(options, "json"));
  EXPECT_EQ(options.format, LogFormat::kJson);
  ASSERT_TRUE(take_log_format(options, "auto"));
  EXPECT_EQ(options.format, std::nullopt);
  EXPECT_FALSE(take_log_format(options, "syslog"));
}

TEST(LogOptionsTest, TheJournalAndAFileExcludeEachOther) {
  const auto chosen = choose_log_destination({.file = "f", .level = {}, .format = LogFormat::kJournal}, 5);
  ASSERT_FALSE(chosen);
  EXPECT_TRUE(chosen.error().message().contains("--log-file cannot be given too"));
}

TEST(LogOptionsTest, AFileGetsTextUnlessItIsToGetJson) {
  const auto text = choose_log_destination({.file = "f", .level = {}, .format = {}}, 5);
  ASSERT_TRUE(text);
  EXPECT_EQ(text->format(), LogFormat::kText);
  EXPECT_EQ(text->line_fd(), 5);
  const auto json = choose_log_destination({.file = {}, .level = {}, .format = LogFormat::kJson}, -1);
  ASSERT_TRUE(json);
  EXPECT_EQ(json->format(), LogFormat::kJson);
  EXPECT_EQ(json->line_fd(), STDERR_FILENO);
}

TEST(LogOptionsTest, OnlyTheStreamThatTheEnvironmentNamesIsTheJournals) {
  struct stat status{};
  ASSERT_EQ(fstat(STDERR_FILENO, &status), 0);
  const std::string own = std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
  setenv("JOURNAL_STREAM", own.c_str(), 1);
  EXPECT_TRUE(standard_error_is_journal());
  for (const std::string& other : {own + "0", own + "x", own.substr(0, own.find(':')), std::string(":"),
                                   std::to_string(status.st_dev + 1) + own.substr(own.find(':'))}) {
    setenv("JOURNAL_STREAM", other.c_str(), 1);
    EXPECT_FALSE(standard_error_is_journal()) << other;
  }
  unsetenv("JOURNAL_STREAM");
  EXPECT_FALSE(standard_error_is_journal());
}

}  // namespace
}  // namespace blockexport::daemon

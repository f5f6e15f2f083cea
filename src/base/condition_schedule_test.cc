#include "base/condition_schedule.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace blockexport {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kStart = 1000 * kSecond;

// The lines written when a failure is reported every `step_ns` for `total_ns`, and then none for a day.
std::vector<std::string> lines_of(std::uint64_t step_ns, std::uint64_t total_ns, bool ends_each_time) {
  ConditionSchedule schedule;
  std::vector<std::string> lines;
  auto note = [&](ConditionSchedule::Line line) {
    if (!line.text.empty()) lines.push_back(std::move(line.text));
  };
  for (std::uint64_t now = kStart; now < kStart + total_ns; now += step_ns) {
    for (std::uint64_t due = schedule.due_ns(); due <= now; due = schedule.due_ns()) note(schedule.take_due(due));
    note(schedule.happened("no", now));
    if (ends_each_time) schedule.ended("yes", now + 1);
  }
  if (!ends_each_time) schedule.ended("yes", kStart + total_ns);
  for (std::uint64_t due = schedule.due_ns(); due != UINT64_MAX; due = schedule.due_ns()) note(schedule.take_due(due));
  EXPECT_FALSE(schedule.is_on());
  return lines;
}

TEST(ConditionSchedule, TellsTheBeginTheEndAndHowOftenAtDistancesThatDouble) {
  EXPECT_EQ(lines_of(kSecond / 10, 35 * kSecond, false),
            (std::vector<std::string>{"no", "no (99 times in 10 s)", "no (200 times in 20 s)",
                                      "yes (before: 350 times in 34 s)"}));
}

TEST(ConditionSchedule, OnceIsABeginAndAnEnd) {
  EXPECT_EQ(lines_of(kSecond, kSecond, false), (std::vector<std::string>{"no", "yes (before: 1 time in 1 s)"}));
}

TEST(ConditionSchedule, ADayOfItIsFewLinesHoweverItComesAndGoes) {
  constexpr std::uint64_t kDay = 86'400 * kSecond;
  for (std::uint64_t step_seconds : {1u, 5u, 11u, 61u, 600u}) {
    for (bool ends_each_time : {false, true}) {
      EXPECT_LE(lines_of(step_seconds * kSecond, kDay, ends_each_time).size(), 50u)
          << step_seconds << " s, ends each time: " << ends_each_time;
    }
  }
}

TEST(ConditionSchedule, OtherWordsComeSooner) {
  ConditionSchedule schedule;
  EXPECT_EQ(schedule.happened("one", kStart).text, "one");
  EXPECT_EQ(schedule.happened("two", kStart + kSecond / 2).text, "");
  EXPECT_EQ(schedule.due_ns(), kStart + kSecond);
  EXPECT_EQ(schedule.take_due(kStart + kSecond).text, "two (1 time in 1 s)");
  EXPECT_EQ(schedule.due_ns(), UINT64_MAX);
}

TEST(ConditionSchedule, WhatComesBackAfterLongIsABeginEvenIfNobodyEndedIt) {
  ConditionSchedule schedule;
  (void)schedule.happened("no", kStart);
  EXPECT_EQ(schedule.happened("no", kStart + 1).text, "");
  (void)schedule.take_due(schedule.due_ns());
  EXPECT_EQ(schedule.happened("no", kStart + 1 + kConditionLongestNs).text, "no");
}

TEST(ConditionSchedule, WhatWasClearedBeginsAnewAndSaysNothing) {
  ConditionSchedule schedule;
  (void)schedule.happened("no", kStart);
  (void)schedule.happened("no", kStart + 1);
  schedule.clear();
  EXPECT_FALSE(schedule.is_on());
  EXPECT_EQ(schedule.due_ns(), UINT64_MAX);
  EXPECT_EQ(schedule.happened("no", kStart + 2).text, "no");
}

TEST(ConditionSchedule, AnEndThatDoesNotHoldIsNone) {
  ConditionSchedule schedule;
  (void)schedule.happened("no", kStart);
  schedule.ended("yes", kStart + kSecond);
  EXPECT_EQ(schedule.due_ns(), kStart + kSecond + kConditionQuietNs);
  EXPECT_EQ(schedule.happened("no", kStart + 2 * kSecond).text, "");
  EXPECT_EQ(schedule.due_ns(), kStart + kConditionFirstNs);
  EXPECT_TRUE(schedule.is_on());
}

TEST(ConditionSchedule, TheEndIsInformationTheRestWarns) {
  ConditionSchedule schedule;
  EXPECT_EQ(schedule.happened("no", kStart).level, LogLevel::kWarning);
  schedule.ended("yes", kStart);
  EXPECT_EQ(schedule.take_due(kStart + kConditionQuietNs).level, LogLevel::kInfo);
}

}  // namespace
}  // namespace blockexport

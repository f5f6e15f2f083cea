#include "client/backup/journal.h"

#include <gtest/gtest.h>

namespace blockexport::backup {
namespace {

PullIdentity sample() {
  return {.export_name = "vda",
          .disk_bytes = 1000,
          .chunk_bytes = 512,
          .bitmap = "c1",
          .parent = ParentPoint{.number = 3, .sum = sha256_of("parent")}};
}

std::string error_of(const std::string& text, const PullIdentity& identity) {
  const auto checked = check_journal("j", text, identity);
  return checked ? "" : checked.error().message();
}

TEST(JournalTest, TheSamePullIsContinued) {
  const std::string text = encode_journal(sample()).value();
  EXPECT_EQ(error_of(text, sample()), "");
}

TEST(JournalTest, EachMemberDecides) {
  const std::string text = encode_journal(sample()).value();
  PullIdentity other = sample();
  other.export_name = "vdb";
  EXPECT_EQ(error_of(text, other),
            "cannot resume: the unfinished pull of 'j' has export \"vda\", and this one \"vdb\"");
  other = sample();
  other.disk_bytes = 2000;
  EXPECT_EQ(error_of(text, other), "cannot resume: the unfinished pull of 'j' has size 1000, and this one 2000");
  other = sample();
  other.bitmap = "";
  EXPECT_NE(error_of(text, other).find("has bitmap \"c1\""), std::string::npos);
  other = sample();
  other.parent->sum = sha256_of("another parent");
  EXPECT_NE(error_of(text, other).find("has parent-checksum"), std::string::npos);
  other.parent.reset();
  EXPECT_NE(error_of(text, other).find("has parent \"000003\""), std::string::npos);
}

TEST(JournalTest, ADamagedJournalIsRefused) {
  EXPECT_EQ(error_of("{", sample()), "'j' is damaged");
  EXPECT_EQ(error_of("{}", sample()), "'j' is damaged");
}

}  // namespace
}  // namespace blockexport::backup

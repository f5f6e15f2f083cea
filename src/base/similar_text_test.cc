#include "base/similar_text.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace blockexport {
namespace {

using Words = std::vector<std::string_view>;

TEST(SimilarText, CountsSlips) {
  EXPECT_EQ(edit_distance("", ""), 0U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("filename", "filename"), 0U);
  EXPECT_EQ(edit_distance("filenam", "filename"), 1U);
  EXPECT_EQ(edit_distance("filenaame", "filename"), 1U);
  EXPECT_EQ(edit_distance("folename", "filename"), 1U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
}

TEST(SimilarText, CountsAnExchangeOfNeighboursOnce) {
  EXPECT_EQ(edit_distance("tsl", "tls"), 1U);
  EXPECT_EQ(edit_distance("flie", "file"), 1U);
}

TEST(SimilarText, TakesCasesAndDashesForOne) {
  EXPECT_EQ(edit_distance("Node_Name", "node-name"), 0U);
}

TEST(SimilarText, ComparesNoLongText) {
  const std::string longest(kSimilarTextBytesMax, 'a');
  EXPECT_EQ(edit_distance(longest, longest), 0U);
  EXPECT_EQ(edit_distance(longest + 'a', longest), std::nullopt);
  EXPECT_EQ(edit_distance(longest, longest + 'a'), std::nullopt);
  EXPECT_FALSE(is_similar(longest + 'a', longest + 'a'));
}

TEST(SimilarText, AllowsASlipForThreeCharacters) {
  EXPECT_TRUE(is_similar("rw", "raw"));
  EXPECT_TRUE(is_similar("hst", "host"));
  EXPECT_FALSE(is_similar("port", "host"));
  EXPECT_FALSE(is_similar("fd", "id"));
  EXPECT_FALSE(is_similar("", "id"));
  EXPECT_FALSE(is_similar("qcow2", "raw"));
}

TEST(SimilarText, KnowsBeginnings) {
  EXPECT_TRUE(is_similar("node", "node-name"));
  EXPECT_TRUE(is_similar("filename", "file"));
  EXPECT_FALSE(is_similar("no", "node-name"));
}

TEST(SimilarText, FindsTheMostSimilar) {
  EXPECT_EQ(most_similar("nul-co", Words({"file", "null-aio", "null-co", "raw"})), "null-co");
  EXPECT_EQ(most_similar("file", Words({"filename", "fil", "file"})), "file");
  EXPECT_EQ(most_similar("abd", Words({"abc", "abe"})), "abc");
  EXPECT_EQ(most_similar("quorum", Words({"file", "raw"})), std::nullopt);
  EXPECT_EQ(most_similar("file", {}), std::nullopt);
}

TEST(SimilarText, PrefersASlipToABeginning) {
  EXPECT_EQ(most_similar("read", Words({"read-only", "reed"})), "reed");
}

TEST(SimilarText, LooksAtSoManyCandidatesOnly) {
  Words words(kSimilarCandidatesMax, "unlike");
  words.push_back("file");
  EXPECT_EQ(most_similar("flie", words), std::nullopt);
  words.erase(words.begin());
  EXPECT_EQ(most_similar("flie", words), "file");
}

TEST(SimilarText, MakesASentence) {
  EXPECT_EQ(suggest_similar("hst", Words({"port", "host"}), "addr."),
            "Did you mean 'addr.host' instead of 'addr.hst'?");
  EXPECT_EQ(suggest_similar("tsl", Words({"tls"})), "Did you mean 'tls' instead of 'tsl'?");
  EXPECT_EQ(suggest_similar("other", Words({"tls"})), "");
}

}  // namespace
}  // namespace blockexport

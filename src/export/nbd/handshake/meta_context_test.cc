#include "export/nbd/handshake/meta_context.h"

#include <gtest/gtest.h>

#include "export/nbd/testing/handshake.h"

namespace blockexport::nbd {
namespace {

using testing::ClientBytes;

const std::vector<ContextInfo> kOffered = {
    {"base:allocation", 0}, {"qemu:allocation-depth", 1}, {"qemu:dirty-bitmap:a", 2}, {"qemu:dirty-bitmap:b", 3}};

std::string ids(std::vector<std::string_view> queries, MetaContextUse use) {
  std::string result;
  for (const ContextInfo& context : select_contexts(kOffered, queries, use)) result += std::to_string(context.id);
  return result;
}

TEST(MetaContext, QueriesMatchAsTheProtocolSays) {
  const struct {
    const char* rule;
    std::vector<std::string_view> queries;
    const char* listed;
    const char* set;
  } cases[] = {
      {"R76 R86 no query", {}, "0123", ""},
      {"R78 exact", {"qemu:dirty-bitmap:b"}, "3", "3"},
      {"R81 R82 base wildcard", {"base:"}, "0", ""},
      {"R93 qemu wildcard", {"qemu:"}, "123", ""},
      {"R93 bitmap wildcard", {"qemu:dirty-bitmap:"}, "23", ""},
      {"R74 unknown namespace", {"x-none:", "x-none:leaf", "leaf"}, "", ""},
      {"R83 unknown leaf", {"base:allocatio", "base:allocation2", "base:ALLOCATION"}, "", ""},
      {"R84 nothing at all", {"", ":"}, "", ""},
      {"R87 once each, in the server's order",
       {"qemu:dirty-bitmap:a", "base:allocation", "base:allocation"},
       "02",
       "02"},
  };
  for (const auto& test : cases) {
    EXPECT_EQ(ids(test.queries, MetaContextUse::kList), test.listed) << test.rule;
    EXPECT_EQ(ids(test.queries, MetaContextUse::kSet), test.set) << test.rule;
  }
}

TEST(MetaContext, AnExactNameMeansTheFirstContextOfThatName) {
  const std::vector<ContextInfo> offered = {
      {"base:allocation", 0}, {"qemu:dirty-bitmap:a", 2}, {"qemu:dirty-bitmap:b:c", 3}, {"qemu:dirty-bitmap:a", 4}};
  const auto selected = [&](std::vector<std::string_view> queries, MetaContextUse use) {
    std::string found;
    for (const ContextInfo& context : select_contexts(offered, queries, use)) found += std::to_string(context.id);
    return found;
  };
  EXPECT_EQ(selected({"qemu:dirty-bitmap:a"}, MetaContextUse::kSet), "2");
  EXPECT_EQ(selected({"qemu:dirty-bitmap:a", "qemu:dirty-bitmap:a"}, MetaContextUse::kSet), "2");
  EXPECT_EQ(selected({"qemu:dirty-bitmap:b:c"}, MetaContextUse::kSet), "3");
  EXPECT_EQ(selected({"qemu:dirty-bitmap:b:"}, MetaContextUse::kList), "");
  EXPECT_EQ(selected({"qemu:dirty-bitmap:"}, MetaContextUse::kList), "234");
}

std::string parse(const ClientBytes& payload) {
  const auto query = parse_meta_context_query(payload.bytes(), "list meta context");
  return query ? "queries " + std::to_string(query->queries.size()) : query.error();
}

TEST(MetaContext, R73_lengths_have_to_add_up) {
  const std::string inconsistent = "Inconsistent lengths in option list meta context";
  const std::string unexpected = "option 'list meta context' has unexpected length";
  EXPECT_EQ(parse(ClientBytes().u32(1).text("a").u32(1).u32(2).text("bc")), "queries 1");
  EXPECT_EQ(parse(ClientBytes()), inconsistent);
  EXPECT_EQ(parse(ClientBytes().u32(4097)), "Invalid name length: 4097");
  EXPECT_EQ(parse(ClientBytes().u32(0xffffffff)), "Invalid name length: 4294967295");
  EXPECT_EQ(parse(ClientBytes().u32(5).text("abc")), inconsistent);
  EXPECT_EQ(parse(ClientBytes().u32(0)), inconsistent);
  EXPECT_EQ(parse(ClientBytes().u32(0).u32(1)), inconsistent);
  EXPECT_EQ(parse(ClientBytes().u32(0).u32(0xffffffff)), inconsistent);
  EXPECT_EQ(parse(ClientBytes().u32(0).u32(1).u32(0xffffffff)), inconsistent);
  EXPECT_EQ(parse(ClientBytes().u32(0).u32(2).u32(5).text("abcde").u16(0)), inconsistent);
  EXPECT_EQ(parse(ClientBytes().u32(0).u32(0).u16(0)), unexpected);
}

TEST(MetaContext, AQueryThatIsTooLongIsIgnored) {
  ClientBytes payload;
  payload.u32(0).u32(1).u32(4097).text(std::string(4097, 'q'));
  const auto query = parse_meta_context_query(payload.bytes(), "list meta context");
  ASSERT_TRUE(query.has_value());
  // The remaining list must not become an empty one, which would match everything.
  EXPECT_TRUE(select_contexts(kOffered, query->queries, MetaContextUse::kList).empty());
}

}  // namespace
}  // namespace blockexport::nbd

// ExportView and ExportNames: which exports a server shows, and how it describes them.
#include "export/nbd/server/export_view.h"

#include <gtest/gtest.h>

#include "aio/testing/simulation.h"
#include "export/nbd/server/server_state.h"

namespace blockexport::nbd {
namespace {

ExportView view(std::vector<std::string> patterns) {
  return {.patterns = std::move(patterns)};
}

TEST(ExportViewTest, WithoutPatternsItContainsEveryNameAndWithNoneOfThemNoName) {
  EXPECT_TRUE(ExportView{}.contains(""));
  EXPECT_TRUE(ExportView{}.contains("vm1/vda"));
  EXPECT_FALSE(view({}).contains(""));
  EXPECT_FALSE(view({}).contains("vm1/vda"));
}

TEST(ExportViewTest, ANameThatOnePatternMatchesIsContained) {
  const ExportView some = view({"vm*/snap*", "public", "disk?"});
  for (const char* name : {"vm1/snap", "vm/snap2/x", "public", "disk1"}) EXPECT_TRUE(some.contains(name)) << name;
  for (const char* name : {"", "vm1/vda", "Public", "public2", "disk", "disk12", "xvm1/snap"}) {
    EXPECT_FALSE(some.contains(name)) << name;
  }
}

TEST(ExportViewTest, HostilePatternsAndNamesTakeBoundedTime) {
  // Backtracking to each star would take a number of steps that is exponential in the number of stars.
  std::string stars;
  while (stars.size() + 2 < kViewPatternBytesMax) stars += "a*";
  const ExportView hostile = view(std::vector<std::string>(kViewPatternsMax, stars + "b"));
  EXPECT_TRUE(hostile.check().has_value());
  EXPECT_FALSE(hostile.contains(std::string(4096, 'a')));
  const std::string run = "*" + std::string(kViewPatternBytesMax - 2, 'a') + "b";
  EXPECT_FALSE(view(std::vector<std::string>(kViewPatternsMax, run)).contains(std::string(4096, 'a')));
  EXPECT_TRUE(view({run}).contains(std::string(4095, 'a') + "b"));
}

TEST(ExportViewTest, TooManyOrTooLongPatternsAreRefused) {
  EXPECT_TRUE(view(std::vector<std::string>(kViewPatternsMax, "x")).check().has_value());
  EXPECT_EQ(view(std::vector<std::string>(kViewPatternsMax + 1, "x")).check().error().message(),
            "A server has at most 64 patterns of export names, and there are 65");
  EXPECT_TRUE(view({std::string(kViewPatternBytesMax, '*')}).check().has_value());
  EXPECT_FALSE(view({std::string(kViewPatternBytesMax + 1, '*')}).check().has_value());
}

struct Published final : PublishedExport {
  explicit Published(std::string name, bool is_restricted = false) {
    info.name = std::move(name);
    info.is_restricted = is_restricted;
  }
  const ExportInfo& current_info() override { return info; }
  ExportInfo info;
};

class ServerStateTest : public ::testing::Test {
 protected:
  void publish(Published& one) { names_.publish(one, one.info); }
  ServerState& make(ServerOptions options) {
    states_.push_back(std::make_unique<ServerState>(*reactor_, reactors_, budget_, log_, names_, std::move(options)));
    return *states_.back();
  }
  static std::string listed(ServerState& state) {
    std::string names;
    std::uint64_t at = 0;
    while (const ExportInfo* info = state.next_after(at)) {
      at = info->sequence;
      names += info->name + (info->read_only ? ":ro " : " ");
    }
    return names;
  }
  static ServerOptions showing(std::vector<std::string> patterns, bool read_only = false) {
    return {.view = {.patterns = std::move(patterns), .read_only = read_only}};
  }
  static ServerOptions over_tls() { return {.tls = ServerTls{.credentials_id = "t"}}; }

  aio::Simulation simulation_;
  Log log_{"server_state_test", 2, LogLevel::kError};
  std::unique_ptr<aio::Reactor> reactor_ = simulation_.make_reactor();
  aio::DataReactor here_{*reactor_};
  aio::ReactorPool reactors_{here_, {}, log_, 1};
  aio::ProcessBudget budget_;
  ExportNames names_;
  std::vector<std::unique_ptr<ServerState>> states_;
};

TEST_F(ServerStateTest, EachServerShowsItsPartOfTheExportsOldestFirst) {
  Published first("b1");
  Published second("a1");
  Published third("b2");
  publish(first);
  ServerState& all = make({});
  ServerState& some = make(showing({"b*"}));
  publish(second);
  publish(third);
  EXPECT_EQ(listed(all), "b1 a1 b2 ");
  EXPECT_EQ(listed(some), "b1 b2 ");
  EXPECT_EQ(some.find("a1"), nullptr);
  EXPECT_NE(all.find("a1"), nullptr);
  EXPECT_FALSE(some.has_export("a1"));
  EXPECT_TRUE(names_.contains("a1"));
  names_.withdraw(first.info);
  EXPECT_EQ(listed(all), "a1 b2 ");
  EXPECT_EQ(listed(some), "b2 ");
}

TEST_F(ServerStateTest, AReadOnlyServerDescribesExportsAsReadOnlyAndLeavesThemToOthersAsTheyAre) {
  Published one("disk");
  one.info.size_bytes = 4096;
  publish(one);
  ServerState& reading = make(showing({"*"}, true));
  ServerState& writing = make({});
  EXPECT_EQ(listed(reading), "disk:ro ");
  EXPECT_EQ(listed(writing), "disk ");
  EXPECT_EQ(reading.find("disk")->size_bytes, 4096u);
  EXPECT_EQ(reading.find("disk")->sequence, writing.find("disk")->sequence);
}

TEST_F(ServerStateTest, OnlyAServerWithOneConnectionForbidsSeveral) {
  Published one("disk");
  publish(one);
  ServerState& single = make({.max_connections = 1});
  ServerState& many = make({});
  EXPECT_FALSE(single.find("disk")->multi_conn);
  EXPECT_TRUE(many.find("disk")->multi_conn);
}

TEST_F(ServerStateTest, AnExportForSomeClientsIsShownOverTlsOnly) {
  Published secret("secret", true);
  publish(secret);
  ServerState& plain = make({});
  ServerState& secured = make(over_tls());
  EXPECT_EQ(listed(plain), "");
  EXPECT_EQ(plain.find("secret"), nullptr);
  EXPECT_EQ(listed(secured), "secret ");
  plain.change(over_tls());
  EXPECT_EQ(listed(plain), "secret ");
  secured.change({});
  EXPECT_EQ(listed(secured), "");
}

TEST_F(ServerStateTest, AChangedViewHoldsAtOnceAndOtherServersKeepTheirs) {
  Published first("a");
  Published second("b");
  publish(first);
  publish(second);
  ServerState& changed = make(showing({"a"}));
  ServerState& other = make(showing({"a"}));
  changed.change(showing({"b"}, true));
  EXPECT_EQ(listed(changed), "b:ro ");
  EXPECT_EQ(listed(other), "a ");
}

}  // namespace
}  // namespace blockexport::nbd

#include "authz/authorizer.h"

#include <gtest/gtest.h>

#include <map>

#include "aio/sync/scope.h"
#include "aio/testing/backends.h"

namespace blockexport::authz {
namespace {

class Fixed : public Authorizer {
 public:
  explicit Fixed(bool allowed) : allowed_(allowed) {}
  aio::Task<Verdict> check(std::string identity) override {
    co_return Verdict{.allowed = allowed_, .rule = "fixed", .reason = identity + " was asked for"};
  }

 private:
  bool allowed_;
};

class Shelf final : public Directory {
 public:
  Result<std::shared_ptr<Authorizer>> find(std::string_view id) override {
    auto found = objects.find(std::string(id));
    if (found == objects.end()) return fail("nothing is called " + std::string(id));
    return found->second;
  }
  std::map<std::string, std::shared_ptr<Authorizer>> objects;
};

class AuthorizerTest : public aio::testing::ForEachBackend {
 protected:
  static aio::Task<void> ask(Directory& directory, std::string id, Verdict& verdict) {
    verdict = co_await authorize(directory, std::move(id), "CN=anna");
  }
  Verdict ask(std::string id) {
    Verdict verdict;
    run(ask(shelf_, std::move(id), verdict));
    return verdict;
  }
  Shelf shelf_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(AuthorizerTest);

TEST_P(AuthorizerTest, TheObjectThatIsThereNowDecides) {
  shelf_.objects["door"] = std::make_shared<Fixed>(true);
  EXPECT_TRUE(ask("door").allowed);
  shelf_.objects["door"] = std::make_shared<Fixed>(false);
  Verdict verdict = ask("door");
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.rule, "fixed");
  EXPECT_EQ(verdict.reason, "CN=anna was asked for");
}

TEST_P(AuthorizerTest, WhatCannotBeFoundDeniesWithItsReason) {
  Verdict verdict = ask("door");
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.rule, "");
  EXPECT_EQ(verdict.reason, "nothing is called door");
}

// An authorizer that answers when the test lets it.
class Slow : public Authorizer {
 public:
  explicit Slow(aio::Event& told) : told_(told) {}
  aio::Task<Verdict> check(std::string) override {
    (void)co_await told_.wait();
    co_return Verdict{.allowed = true, .rule = rule_, .reason = {}};
  }

 private:
  aio::Event& told_;
  std::string rule_ = "a rule of its own";
};

TEST_P(AuthorizerTest, AnObjectThatIsDeletedWhileItThinksAnswersAllTheSame) {
  aio::Event told(reactor());
  shelf_.objects["door"] = std::make_shared<Slow>(told);
  Verdict verdict;
  aio::Scope scope(reactor());
  scope.spawn("ask", ask(shelf_, "door", verdict));
  shelf_.objects.clear();
  told.set();
  run(scope.join());
  EXPECT_TRUE(verdict.allowed);
  EXPECT_EQ(verdict.rule, "a rule of its own");
}

TEST(DescribeRefusal, SaysWhoAndByWhichRule) {
  EXPECT_EQ(describe_refusal("CN=anna", "policy", "it is not in the list"),
            "identity 'CN=anna', rule: policy: it is not in the list");
  EXPECT_EQ(describe_refusal("a\nb", "policy", "c\rd"), "identity 'a\\x0ab', rule: policy: c\\x0dd");
}

TEST(DescribeRefusal, RepeatsSoMuchOfAnIdentityAndOfAReasonAndNoMore) {
  const std::string fits(1024, 'i');
  EXPECT_EQ(describe_refusal(fits, "policy", fits), "identity '" + fits + "', rule: policy: " + fits);
  EXPECT_EQ(describe_refusal(fits + "i", "policy", fits + "i"),
            "identity '" + fits + "...', rule: policy: " + fits + "...");
}

}  // namespace
}  // namespace blockexport::authz

#include "base/intrusive_list.h"

#include <gtest/gtest.h>

#include <vector>

namespace blockexport {
namespace {

struct Item : ListLink<Item> {
  explicit Item(int n) : number(n) {}
  int number;
};

std::vector<int> numbers(IntrusiveList<Item>& list) {
  std::vector<int> out;
  for (Item& item : list) out.push_back(item.number);
  return out;
}

TEST(IntrusiveList, KeepsOrderAndLetsMiddleElementsGo) {
  Item a(1), b(2), c(3);
  IntrusiveList<Item> list;
  list.push_back(a);
  list.push_back(b);
  list.push_back(c);
  b.unlink();
  EXPECT_EQ(numbers(list), (std::vector{1, 3}));
  EXPECT_FALSE(b.linked());
  list.pop_front();
  list.pop_front();
  EXPECT_TRUE(list.empty());
}

TEST(IntrusiveList, SpliceMovesEverything) {
  Item a(1), b(2), c(3);
  IntrusiveList<Item> first, second;
  first.push_back(a);
  second.push_back(b);
  second.push_back(c);
  first.splice_back(second);
  EXPECT_TRUE(second.empty());
  EXPECT_EQ(numbers(first), (std::vector{1, 2, 3}));
  while (!first.empty()) first.pop_front();
}

}  // namespace
}  // namespace blockexport

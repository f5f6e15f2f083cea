// QuorumDriver: children that come and go while it is open.
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <limits>

#include "drivers/quorum/quorum_driver.h"

namespace blockexport::drivers {
namespace {

constexpr std::string_view kNamePrefix = "children.";

// The number in the name of a child.
std::uint32_t number_of(const block::Edge& child) {
  const std::string_view text = std::string_view(child.name()).substr(kNamePrefix.size());
  std::uint32_t number = 0;
  [[maybe_unused]] const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  assert(parsed.ec == std::errc());
  return number;
}

}  // namespace

Result<std::string> QuorumDriver::next_child_name() const {
  if (options_.must_be_equal) return fail("Cannot add a child to a quorum in blkverify mode");
  if (children_.size() >= kQuorumChildrenMax || next_number_ == std::numeric_limits<std::uint32_t>::max()) {
    return fail(Error("Too many children")
                    .with_hint(fmt::format("A quorum node has at most {} children.", kQuorumChildrenMax)));
  }
  return fmt::format("{}{}", kNamePrefix, next_number_);
}

Result<> QuorumDriver::check_new_child(const block::Node& node) const {
  return check_size(child(0), node);
}

Result<> QuorumDriver::check_removal() const {
  if (children_.size() > options_.threshold) return {};
  return fail(fmt::format("The number of children cannot be lower than the vote threshold {}", options_.threshold));
}

void QuorumDriver::add_child(std::unique_ptr<block::Edge> edge) {
  assert(number_of(*edge) == next_number_);
  ++next_number_;
  children_.push_back(std::move(edge));
}

QuorumDriver::Taken QuorumDriver::take_child(const block::Edge& edge) {
  const auto found = std::ranges::find(children_, &edge, &std::unique_ptr<block::Edge>::get);
  assert(found != children_.end());
  if (number_of(edge) + 1 == next_number_) --next_number_;
  Taken taken{.edge = std::move(*found), .place = static_cast<std::size_t>(found - children_.begin())};
  children_.erase(found);
  return taken;
}

void QuorumDriver::return_child(Taken taken) {
  next_number_ = std::max(next_number_, number_of(*taken.edge) + 1);
  children_.insert(children_.begin() + static_cast<std::ptrdiff_t>(taken.place), std::move(taken.edge));
}

}  // namespace blockexport::drivers

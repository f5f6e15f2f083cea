// ReservedNames: the names of things that are being made, so that nothing else takes one of them meanwhile.
//
// For a collection whose elements take long to make: the name is reserved first, and given back when the thing is in
// the collection, or could not be made. Outlives its reservations. Thread: one.
#pragma once

#include <cassert>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace blockexport {

class ReservedNames {
 public:
  // Gives the name back when it is destroyed.
  class [[nodiscard]] Reservation {
   public:
    Reservation(Reservation&& other) noexcept : names_(std::exchange(other.names_, nullptr)), place_(other.place_) {}
    Reservation& operator=(Reservation&&) = delete;
    ~Reservation() {
      if (names_ != nullptr) names_->names_.erase(place_);
    }

   private:
    friend class ReservedNames;
    using Place = std::set<std::string, std::less<>>::iterator;
    Reservation(ReservedNames& names, Place place) : names_(&names), place_(place) {}

    ReservedNames* names_;
    Place place_;
  };

  bool contains(std::string_view name) const { return names_.contains(name); }
  // `name` is not reserved yet.
  Reservation reserve(std::string_view name) {
    assert(!contains(name));
    return {*this, names_.emplace(name).first};
  }

 private:
  std::set<std::string, std::less<>> names_;
};

}  // namespace blockexport

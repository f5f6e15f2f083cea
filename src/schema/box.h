// Box<T>: a T kept on the heap, so that a type of the schema can contain itself.
//
// Copying copies the T. A Box made without a value is empty until emplace(); what a decoder returns never has an empty
// one. Thread: one at a time.
#pragma once

#include <cassert>
#include <memory>
#include <utility>

namespace blockexport::schema {

template <class T>
class Box {
 public:
  // Written out, not defaulted: a defaulted one is constexpr, and would ask for T's definition before there is one.
  Box() {}
  ~Box() {}
  Box(Box&& other) noexcept : value_(std::move(other.value_)) {}
  Box& operator=(Box&& other) noexcept {
    value_ = std::move(other.value_);
    return *this;
  }
  Box(T value) : value_(std::make_unique<T>(std::move(value))) {}
  Box(const Box& other) : value_(other.value_ ? std::make_unique<T>(*other.value_) : nullptr) {}
  Box& operator=(const Box& other) {
    if (this != &other) value_ = other.value_ ? std::make_unique<T>(*other.value_) : nullptr;
    return *this;
  }

  bool empty() const { return value_ == nullptr; }
  T& emplace() {
    value_ = std::make_unique<T>();
    return *value_;
  }

  // Not on an empty Box.
  T& operator*() {
    assert(value_ != nullptr);
    return *value_;
  }
  const T& operator*() const {
    assert(value_ != nullptr);
    return *value_;
  }
  T* operator->() { return &**this; }
  const T* operator->() const { return &**this; }

  friend bool operator==(const Box& a, const Box& b) {
    if (a.empty() || b.empty()) return a.empty() == b.empty();
    return *a == *b;
  }

 private:
  std::unique_ptr<T> value_;
};

}  // namespace blockexport::schema

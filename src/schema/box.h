// Box<T>: a heap-allocated T with value semantics, so that a type of the schema can contain itself.
//
// A copy of a Box copies the T. A default-constructed Box is empty until emplace(); a decoder's result contains no
// empty Box. Thread: one at a time.
#pragma once

#include <cassert>
#include <memory>
#include <utility>

namespace blockexport::schema {

template <class T>
class Box {
 public:
  // Not defaulted: a defaulted constructor is constexpr, and would need T's definition before it exists.
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

  // The Box must not be empty.
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

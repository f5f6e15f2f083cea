// IntrusiveList: a doubly linked list of objects that carry their own links; insert and remove never allocate.
//
// The list owns nothing. An element derives from ListLink<Tag>; it must leave its list before it dies (asserted).
// Thread: one at a time.
#pragma once

#include <cassert>

namespace blockexport {

template <class Tag>
class ListLink {
 public:
  ListLink() = default;
  ListLink(const ListLink&) = delete;
  ListLink& operator=(const ListLink&) = delete;
  ~ListLink() { assert(!linked()); }

  bool linked() const { return next_ != nullptr; }

  // Removes the element from its list; does nothing when it is in none.
  void unlink() {
    if (!linked()) return;
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = previous_ = nullptr;
  }

 private:
  template <class T, class U>
  friend class IntrusiveList;
  ListLink* next_ = nullptr;
  ListLink* previous_ = nullptr;
};

template <class T, class Tag = T>
class IntrusiveList {
  using Link = ListLink<Tag>;

 public:
  IntrusiveList() { head_.next_ = head_.previous_ = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() {
    assert(empty());
    head_.next_ = head_.previous_ = nullptr;
  }

  bool empty() const { return head_.next_ == &head_; }
  T& front() { return *static_cast<T*>(head_.next_); }

  void push_back(T& element) {
    Link& link = element;
    assert(!link.linked());
    link.previous_ = head_.previous_;
    link.next_ = &head_;
    head_.previous_->next_ = &link;
    head_.previous_ = &link;
  }

  T& pop_front() {
    assert(!empty());
    T& element = front();
    static_cast<Link&>(element).unlink();
    return element;
  }

  // Appends all elements of `other`, which is empty afterwards.
  void splice_back(IntrusiveList& other) {
    if (other.empty()) return;
    Link* first = other.head_.next_;
    Link* last = other.head_.previous_;
    other.head_.next_ = other.head_.previous_ = &other.head_;
    first->previous_ = head_.previous_;
    head_.previous_->next_ = first;
    last->next_ = &head_;
    head_.previous_ = last;
  }

  class Iterator {
   public:
    explicit Iterator(Link* link) : link_(link) {}
    T& operator*() const { return *static_cast<T*>(link_); }
    Iterator& operator++() {
      link_ = link_->next_;
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    Link* link_;
  };
  // The element visited may leave the list only after the iterator has moved on.
  Iterator begin() { return Iterator(head_.next_); }
  Iterator end() { return Iterator(&head_); }

 private:
  Link head_;
};

}  // namespace blockexport

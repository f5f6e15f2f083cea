#include "aio/reactor/timer.h"

namespace blockexport::aio {

void TimerQueue::add(TimerAwaiter& timer) {
  heap_.push_back(&timer);
  timer.heap_index_ = heap_.size() - 1;
  sift_up(timer.heap_index_);
}

void TimerQueue::remove(TimerAwaiter& timer) {
  std::size_t index = timer.heap_index_;
  TimerAwaiter* last = heap_.back();
  heap_.pop_back();
  if (last == &timer) return;
  place(index, last);
  sift_up(index);
  sift_down(last->heap_index_);
}

std::uint64_t TimerQueue::next_deadline_ns() const {
  return heap_.empty() ? UINT64_MAX : heap_.front()->deadline_ns_;
}

TimerAwaiter* TimerQueue::take_due(std::uint64_t now_ns) {
  if (heap_.empty() || heap_.front()->deadline_ns_ > now_ns) return nullptr;
  TimerAwaiter& due = *heap_.front();
  remove(due);
  return &due;
}

void TimerQueue::place(std::size_t index, TimerAwaiter* timer) {
  heap_[index] = timer;
  timer->heap_index_ = index;
}

void TimerQueue::sift_up(std::size_t index) {
  TimerAwaiter* timer = heap_[index];
  while (index > 0) {
    std::size_t parent = (index - 1) / 2;
    if (heap_[parent]->deadline_ns_ <= timer->deadline_ns_) break;
    place(index, heap_[parent]);
    index = parent;
  }
  place(index, timer);
}

void TimerQueue::sift_down(std::size_t index) {
  TimerAwaiter* timer = heap_[index];
  for (;;) {
    std::size_t child = 2 * index + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && heap_[child + 1]->deadline_ns_ < heap_[child]->deadline_ns_) ++child;
    if (timer->deadline_ns_ <= heap_[child]->deadline_ns_) break;
    place(index, heap_[child]);
    index = child;
  }
  place(index, timer);
}

}  // namespace blockexport::aio

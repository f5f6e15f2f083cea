#include "export/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

namespace blockexport::exports {
namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace

bool is_well_formed_id(std::string_view id) {
  if (id.empty() || !is_letter(id.front())) return false;
  return std::all_of(id.begin(), id.end(),
                     [](char c) { return is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '_'; });
}

void Export::client_left() {
  if (shutting_down_ && client_count() == 0) registry_->erase_if_unused(*this);
}

Registry::Registry(aio::Reactor& reactor, std::move_only_function<aio::Task<void>(std::unique_ptr<block::Edge>)> let_go,
                   std::move_only_function<void(const std::string& id)> on_deleted)
    : let_go_(std::move(let_go)),
      on_deleted_(std::move(on_deleted)),
      deleted_(reactor, aio::Event::Cancellation::kIgnored),
      erasing_(reactor) {}

Registry::~Registry() {
  assert(exports_.empty());
}

Result<> Registry::check_id(const std::string& id) const {
  if (!is_well_formed_id(id)) return fail("Invalid block export id");
  if (find(id) != nullptr) return fail(fmt::format("Block export id '{}' is already in use", id));
  return {};
}

Export& Registry::add(std::unique_ptr<Export> added) {
  assert(find(added->id()) == nullptr);
  added->registry_ = this;
  exports_.push_back(std::move(added));
  return *exports_.back();
}

Export* Registry::find(std::string_view id) const {
  for (const auto& candidate : exports_) {
    if (candidate->id() == id) return candidate.get();
  }
  return nullptr;
}

aio::Task<Result<>> Registry::remove(std::string id, RemoveMode mode) {
  Export* found = find(id);
  if (found == nullptr) co_return fail(fmt::format("Export '{}' is not found", id));
  if (found->shutting_down_ && mode <= found->leaving_) {
    co_return fail(fmt::format("Export '{}' is already shutting down", id));
  }
  if (mode == RemoveMode::kSafe && found->client_count() > 0) {
    co_return fail(Error(fmt::format("export '{}' still in use", id))
                       .with_hint("Use mode='hide' or 'soft' to let its clients finish, or mode='hard' to force client "
                                  "disconnect"));
  }
  bool has_clients = found->client_count() > 0;
  begin(*found, mode);
  if (!has_clients) co_await wait_until_gone(found);
  co_return Result<>{};
}

aio::Task<void> Registry::remove_all(RemoveMode mode, std::move_only_function<bool(const Export&)> wanted) {
  std::vector<Export*> leaving = list();
  std::erase_if(leaving, [&](const Export* one) { return !wanted(*one); });
  for (Export* one : leaving) begin(*one, mode);
  for (Export* one : leaving) co_await wait_until_gone(one);
}

bool Registry::contains(const Export* one) const {
  return std::any_of(exports_.begin(), exports_.end(), [&](const auto& present) { return present.get() == one; });
}

aio::Task<void> Registry::wait_until_gone(const Export* one) {
  while (contains(one)) {
    deleted_.reset();
    (void)co_await deleted_.wait();
  }
}

std::vector<Export*> Registry::list() const {
  std::vector<Export*> newest_first;
  for (const auto& one : exports_) newest_first.push_back(one.get());
  std::reverse(newest_first.begin(), newest_first.end());
  return newest_first;
}

void Registry::begin(Export& leaving, RemoveMode mode) {
  if (leaving.shutting_down_ && mode <= leaving.leaving_) return;
  leaving.shutting_down_ = true;
  leaving.leaving_ = mode;
  leaving.leave(mode);
  erase_if_unused(leaving);
}

void Registry::erase_if_unused(Export& leaving) {
  if (leaving.client_count() > 0 || leaving.being_erased_) return;
  leaving.being_erased_ = true;
  erasing_.spawn("export removal", erase(leaving));
}

aio::Task<void> Registry::erase(Export& leaving) {
  co_await let_go_(std::move(leaving.edge_));
  std::string id = leaving.id();
  std::erase_if(exports_, [&](const auto& one) { return one.get() == &leaving; });
  on_deleted_(id);
  deleted_.set();
}

}  // namespace blockexport::exports

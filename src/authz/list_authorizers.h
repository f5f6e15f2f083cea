// SimpleAuthorizer: allows one identity; ListAuthorizer: decides by a RuleList. Both can be changed between checks.
//
// Owned by the objects authz-simple and authz-list, and by running checks. Thread: the reactor's. They never wait.
#pragma once

#include <string>
#include <utility>

#include "authz/rule_list.h"

namespace blockexport::authz {

class SimpleAuthorizer final : public Authorizer {
 public:
  explicit SimpleAuthorizer(std::string identity) : identity_(std::move(identity)) {}

  const std::string& identity() const { return identity_; }
  void set_identity(std::string identity) { identity_ = std::move(identity); }

  aio::Task<Verdict> check(std::string identity) override;

 private:
  std::string identity_;
};

class ListAuthorizer final : public Authorizer {
 public:
  explicit ListAuthorizer(RuleList list) : list_(std::move(list)) {}

  void set_list(RuleList list) { list_ = std::move(list); }

  aio::Task<Verdict> check(std::string identity) override { co_return list_.decide(identity); }

 private:
  RuleList list_;
};

}  // namespace blockexport::authz

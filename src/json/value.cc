#include "json/value.h"

#include <sys/random.h>

#include <algorithm>
#include <cstring>

namespace blockexport::json {
namespace {

// Up to this number of members a linear search is as fast as a hash table and needs no memory.
constexpr std::size_t kLinearMembersMax = 16;
constexpr std::size_t kNotFound = static_cast<std::size_t>(-1);

// Secret seed of the hash: names come from clients, which could otherwise choose names that all collide.
std::uint64_t hash_secret() {
  static const std::uint64_t secret = [] {
    std::uint64_t drawn = 0x9e3779b97f4a7c15;
    // Early in boot there may be no entropy yet; then the constant stays, and collisions can only cost speed.
    [[maybe_unused]] ssize_t got = getrandom(&drawn, sizeof drawn, GRND_NONBLOCK);
    return drawn | 1;
  }();
  return secret;
}

std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::size_t hash_of(std::string_view name) {
  const std::uint64_t secret = hash_secret();
  std::uint64_t hash = secret ^ name.size();
  while (!name.empty()) {
    std::uint64_t word = 0;
    std::size_t taken = std::min(name.size(), sizeof word);
    std::memcpy(&word, name.data(), taken);
    hash = fold(hash ^ word, 0xd6e8feb86659fd93) + secret;
    name.remove_prefix(taken);
  }
  return fold(hash, secret);
}

}  // namespace

Object::Object(std::initializer_list<Member> members) {
  members_.reserve(members.size());
  for (const Member& member : members) set(member.first, member.second);
}

Object::Object(const Object& other)
    : members_(other.members_), index_(other.index_ ? std::make_unique<Index>(*other.index_) : nullptr) {}

Object::Object(Object&& other) noexcept = default;

Object& Object::operator=(const Object& other) {
  Object copy(other);
  return *this = std::move(copy);
}

Object& Object::operator=(Object&& other) noexcept = default;

Object::~Object() = default;

bool Object::empty() const {
  return members_.empty();
}

std::size_t Object::size() const {
  return members_.size();
}

std::vector<Object::Member>::const_iterator Object::begin() const {
  return members_.begin();
}

std::vector<Object::Member>::const_iterator Object::end() const {
  return members_.end();
}

std::size_t Object::position_of(std::string_view name) const {
  if (!index_) {
    for (std::size_t position = 0; position < members_.size(); ++position) {
      if (members_[position].first == name) return position;
    }
    return kNotFound;
  }
  const std::size_t mask = index_->size() - 1;
  for (std::size_t slot = hash_of(name) & mask;; slot = (slot + 1) & mask) {
    std::uint32_t entry = (*index_)[slot];
    if (entry == 0) return kNotFound;
    if (members_[entry - 1].first == name) return entry - 1;
  }
}

const Value* Object::find(std::string_view name) const {
  std::size_t position = position_of(name);
  return position == kNotFound ? nullptr : &members_[position].second;
}

Value* Object::find(std::string_view name) {
  std::size_t position = position_of(name);
  return position == kNotFound ? nullptr : &members_[position].second;
}

void Object::set(std::string name, Value value) {
  if (Value* present = find(name)) {
    *present = std::move(value);
  } else {
    append(std::move(name), std::move(value));
  }
}

bool Object::insert(std::string name, Value value) {
  if (position_of(name) != kNotFound) return false;
  append(std::move(name), std::move(value));
  return true;
}

bool Object::erase(std::string_view name) {
  std::size_t position = position_of(name);
  if (position == kNotFound) return false;
  members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(position));
  if (index_) rebuild_index(index_->size());
  return true;
}

void Object::append(std::string name, Value value) {
  members_.emplace_back(std::move(name), std::move(value));
  if (!index_) {
    if (members_.size() > kLinearMembersMax) rebuild_index(4 * kLinearMembersMax);
  } else if (members_.size() * 2 > index_->size()) {
    rebuild_index(index_->size() * 2);
  } else {
    enter_in_index(members_.size() - 1);
  }
}

void Object::enter_in_index(std::size_t position) {
  const std::size_t mask = index_->size() - 1;
  std::size_t slot = hash_of(members_[position].first) & mask;
  while ((*index_)[slot] != 0) slot = (slot + 1) & mask;
  (*index_)[slot] = static_cast<std::uint32_t>(position + 1);
}

void Object::rebuild_index(std::size_t slots) {
  index_ = std::make_unique<Index>(slots, 0);
  for (std::size_t position = 0; position < members_.size(); ++position) enter_in_index(position);
}

bool operator==(const Object& a, const Object& b) {
  return a.size() == b.size() && std::all_of(a.begin(), a.end(), [&b](const Object::Member& member) {
           const Value* other = b.find(member.first);
           return other && *other == member.second;
         });
}

Value::Value(bool value) : data_(value) {}
Value::Value(double value) : data_(value) {}
Value::Value(const std::string& value) : data_(WipedText(value)) {}
Value::Value(std::string&& value) : data_(WipedText(std::move(value))) {}
Value::Value(std::string_view value) : data_(WipedText(value)) {}
Value::Value(const char* value) : data_(WipedText(std::string_view(value))) {}
Value::Value(Array value) : data_(std::move(value)) {}
Value::Value(Object value) : data_(std::move(value)) {}

Kind Value::kind() const {
  return static_cast<Kind>(data_.index());
}

const bool* Value::as_bool() const {
  return std::get_if<bool>(&data_);
}
const std::int64_t* Value::as_integer() const {
  return std::get_if<std::int64_t>(&data_);
}
const std::uint64_t* Value::as_unsigned() const {
  return std::get_if<std::uint64_t>(&data_);
}
const double* Value::as_double() const {
  return std::get_if<double>(&data_);
}
const std::string* Value::as_string() const {
  const auto* text = std::get_if<WipedText>(&data_);
  return text == nullptr ? nullptr : &text->string();
}
const Array* Value::as_array() const {
  return std::get_if<Array>(&data_);
}
const Object* Value::as_object() const {
  return std::get_if<Object>(&data_);
}
std::string* Value::as_string() {
  auto* text = std::get_if<WipedText>(&data_);
  return text == nullptr ? nullptr : &text->string();
}
Array* Value::as_array() {
  return std::get_if<Array>(&data_);
}
Object* Value::as_object() {
  return std::get_if<Object>(&data_);
}

bool operator==(const Value& a, const Value& b) {
  return a.data_ == b.data_;
}

}  // namespace blockexport::json

#include "json.h"

#include <charconv>
#include <system_error>

#include "errors.h"

namespace crosscam::trt {
namespace {

constexpr int kMostLevels = 16;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Json document() {
    Json found = value(0);
    space();
    if (at_ != text_.size()) refuse("the end");
    return found;
  }

 private:
  [[noreturn]] void refuse(const std::string& expected) const {
    throw InputError("no JSON at byte " + std::to_string(at_), expected);
  }

  bool is(char c) const { return at_ < text_.size() && text_[at_] == c; }

  bool take(char c) {
    if (!is(c)) return false;
    ++at_;
    return true;
  }

  void space() {
    while (is(' ') || is('\n') || is('\r') || is('\t')) ++at_;
  }

  bool word(std::string_view what) {
    if (text_.substr(at_, what.size()) != what) return false;
    at_ += what.size();
    return true;
  }

  Json value(int level) {
    if (level > kMostLevels) refuse("at most " + std::to_string(kMostLevels) + " levels");
    space();
    if (is('{')) return {object(level)};
    if (is('[')) return {list(level)};
    if (is('"')) return {text()};
    if (word("true")) return {true};
    if (word("false")) return {false};
    if (word("null")) return {nullptr};
    return number();
  }

  JsonObject object(int level) {
    JsonObject found;
    ++at_;
    space();
    if (take('}')) return found;
    do {
      space();
      if (!is('"')) refuse("a name");
      std::string name = text();
      for (const auto& member : found) {
        if (member.first == name) refuse("'" + name + "' once in an object");
      }
      space();
      if (!take(':')) refuse("':'");
      Json held = value(level + 1);
      found.emplace_back(std::move(name), std::move(held));
      space();
    } while (take(','));
    if (!take('}')) refuse("',' or '}'");
    return found;
  }

  JsonList list(int level) {
    JsonList found;
    ++at_;
    space();
    if (take(']')) return found;
    do {
      found.push_back(value(level + 1));
      space();
    } while (take(','));
    if (!take(']')) refuse("',' or ']'");
    return found;
  }

  std::string text() {
    std::string found;
    ++at_;
    while (!take('"')) {
      if (at_ >= text_.size() || static_cast<unsigned char>(text_[at_]) < 0x20) refuse("'\"'");
      if (take('\\')) {
        escaped(found);
      } else {
        found += text_[at_++];
      }
    }
    return found;
  }

  void escaped(std::string& found) {
    constexpr std::string_view kLetters = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
    const size_t which = at_ < text_.size() ? kLetters.find(text_[at_]) : std::string_view::npos;
    if (which != std::string_view::npos) {
      ++at_;
      found += kMeant[which];
      return;
    }
    if (!take('u') || text_.size() - at_ < 4) refuse("an escape");
    uint32_t code = 0;
    const char* const begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, begin + 4, code, 16);
    if (error != std::errc() || end != begin + 4 || (code >= 0xD800 && code < 0xE000)) {
      refuse("four hexadecimal digits, of no surrogate");
    }
    at_ += 4;
    if (code < 0x80) {
      found += static_cast<char>(code);
    } else if (code < 0x800) {
      found += static_cast<char>(0xC0 | code >> 6);
      found += static_cast<char>(0x80 | (code & 0x3F));
    } else {
      found += static_cast<char>(0xE0 | code >> 12);
      found += static_cast<char>(0x80 | (code >> 6 & 0x3F));
      found += static_cast<char>(0x80 | (code & 0x3F));
    }
  }

  size_t digits() {
    const size_t before = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    return at_ - before;
  }

  Json number() {
    const size_t begin = at_;
    take('-');
    const bool zero = is('0');
    const size_t whole = digits();
    if (whole == 0 || (zero && whole > 1)) refuse("a value");
    bool real = take('.');
    if (real && digits() == 0) refuse("a digit");
    if (take('e') || take('E')) {
      real = true;
      if (!take('+')) take('-');
      if (digits() == 0) refuse("a digit");
    }
    const char* const first = text_.data() + begin;
    const char* const last = text_.data() + at_;
    int64_t integer = 0;
    if (!real && std::from_chars(first, last, integer).ec == std::errc()) return {integer};
    double number = 0.0;
    if (std::from_chars(first, last, number).ec != std::errc()) refuse("a number that fits");
    return {number};
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Json parse_json(std::string_view text) { return Parser(text).document(); }

}  // namespace crosscam::trt

#include "skiff/cli/flags.hpp"

#include <algorithm>
#include <charconv>

namespace skiff::cli {
namespace {

// Levenshtein distance, to guess what a misspelt flag meant.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

Error bad(std::string message) { return {Code::bad_request, std::move(message)}; }

void append_list(std::vector<std::string>& out, std::string_view value) {
  while (!value.empty()) {
    const std::size_t comma = std::min(value.find(','), value.size());
    if (comma > 0) out.emplace_back(value.substr(0, comma));
    value.remove_prefix(std::min(comma + 1, value.size()));
  }
}

std::string text_of(const api::Value& v) {
  if (v.is_string()) return v.as_string();
  if (v.is_bool()) return v.as_bool() ? "true" : "false";
  if (v.is_array()) {
    std::string out;
    for (const api::Value& item : v.items()) out += (out.empty() ? "" : ",") + text_of(item);
    return out;
  }
  return api::to_json(v);
}

}  // namespace

void Flags::add(std::string name, Target target, std::string value_name, std::string help,
                char short_name) {
  flags_.push_back(
      {std::move(name), target, std::move(value_name), std::move(help), short_name, false});
}

Flags::Flag* Flags::find(std::string_view name) {
  const auto it =
      std::find_if(flags_.begin(), flags_.end(), [&](const Flag& f) { return f.name == name; });
  return it != flags_.end() ? &*it : nullptr;
}

bool Flags::given(std::string_view name) const {
  return std::any_of(flags_.begin(), flags_.end(),
                     [&](const Flag& f) { return f.name == name && f.given; });
}

Error Flags::unknown(std::string_view shown_as, std::string_view name) const {
  std::string message = "unknown flag " + std::string(shown_as);
  const auto nearest =
      std::min_element(flags_.begin(), flags_.end(), [&](const Flag& a, const Flag& b) {
        return distance(a.name, name) < distance(b.name, name);
      });
  if (nearest != flags_.end() && distance(nearest->name, name) <= 3) {
    message += "; did you mean --" + nearest->name + "?";
  } else {
    message += "; --help lists the flags";
  }
  return bad(std::move(message));
}

Result<void> Flags::set(Flag& flag, std::string_view value, std::string_view shown_as) {
  const auto refuse = [&](const char* wanted) {
    return bad("invalid value \"" + std::string(value) + "\" for " + std::string(shown_as) + ": " +
               wanted);
  };
  if (auto* text = std::get_if<std::string*>(&flag.target)) {
    **text = std::string(value);
  } else if (auto* number = std::get_if<std::int64_t*>(&flag.target)) {
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), **number);
    if (error != std::errc() || end != value.data() + value.size())
      return refuse("want a whole number");
  } else if (auto* boolean = std::get_if<bool*>(&flag.target)) {
    if (value != "true" && value != "false") return refuse("want true or false");
    **boolean = value == "true";
  } else {
    auto* list = std::get<std::vector<std::string>*>(flag.target);
    if (!flag.given) list->clear();
    append_list(*list, value);
  }
  flag.given = true;
  return {};
}

Result<std::vector<std::string>> Flags::parse(std::span<const std::string> args) {
  std::vector<std::string> rest;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (arg == "--") {
      rest.insert(rest.end(), args.begin() + static_cast<std::ptrdiff_t>(i) + 1, args.end());
      break;
    }
    if (arg.size() < 2 || arg[0] != '-') {
      rest.push_back(arg);
      continue;
    }
    const bool is_long = arg[1] == '-';
    const std::size_t equals = is_long ? arg.find('=') : std::string::npos;
    const std::string name = is_long
                                 ? arg.substr(2, equals == std::string::npos ? equals : equals - 2)
                                 : arg.substr(1, 1);
    const auto it = std::find_if(flags_.begin(), flags_.end(), [&](const Flag& f) {
      return is_long ? f.name == name : f.short_name == name[0];
    });
    const std::string shown = (is_long ? "--" : "-") + name;
    if (it == flags_.end()) return unknown(shown, name);
    if (equals != std::string::npos) {
      SKIFF_CHECK(set(*it, std::string_view(arg).substr(equals + 1), shown));
    } else if (!is_long && arg.size() > 2) {
      SKIFF_CHECK(set(*it, std::string_view(arg).substr(arg[2] == '=' ? 3 : 2), shown));
    } else if (std::holds_alternative<bool*>(it->target)) {
      SKIFF_CHECK(set(*it, "true", shown));
    } else if (i + 1 < args.size()) {
      SKIFF_CHECK(set(*it, args[++i], shown));
    } else {
      return bad("flag " + shown + " needs a value");
    }
  }
  return rest;
}

Result<void> Flags::load(const api::Value& document, std::string_view file) {
  if (!document.is_object() && !document.is_null()) {
    return bad(std::string(file) + ": want a mapping of flag names to values");
  }
  for (const auto& [key, value] : document.members()) {
    const std::string shown = std::string(file) + ": " + std::string(key);
    Flag* flag = find(key);
    if (flag == nullptr) return unknown(shown, key);
    if (flag->given) continue;
    SKIFF_CHECK(set(*flag, text_of(value), shown));
  }
  return {};
}

std::string Flags::help() const {
  std::vector<std::string> left;
  std::size_t width = 0;
  for (const Flag& f : flags_) {
    std::string text = f.short_name != '\0' ? std::string("-") + f.short_name + ", " : "    ";
    text += "--" + f.name;
    if (!f.value_name.empty()) text += " " + f.value_name;
    width = std::max(width, text.size());
    left.push_back(std::move(text));
  }
  std::string out;
  for (std::size_t i = 0; i < flags_.size(); ++i) {
    out += "  " + left[i] + std::string(width - left[i].size() + 2, ' ') + flags_[i].help + "\n";
  }
  return out;
}

}  // namespace skiff::cli

// Requests and what must come back, written down in testdata/*.txt:
//
//   > POST /api/v1/namespaces/default/configmaps
//   . Header: value                         request header
//   {"metadata":{"name":"a"}}               body (one line or several)
//   < 201                                   status
//   metadata.name = "a"                     JSON value at a path
//   metadata.uid -> uid                     remembered: later lines may say $uid
//   message ~ some words                    the text contains
//   metadata.foo absent
//   items # 3                               number of elements
//
// `@ user` before a request asks as that user; `+ 30s` lets time pass.
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cluster.hpp"

namespace skiff::test {
namespace {

std::string trim(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// metadata.annotations["a.b/c"], items[0].spec
const api::Value& at_path(const api::Value& root, std::string_view path) {
  static const api::Value none;
  const api::Value* here = &root;
  while (!path.empty() && here) {
    if (path.front() == '.') path.remove_prefix(1);
    if (path.starts_with("[\"")) {
      const auto end = path.find("\"]");
      here = here->find(path.substr(2, end - 2));
      path.remove_prefix(end + 2);
    } else if (path.front() == '[') {
      const auto end = path.find(']');
      const std::size_t index = std::stoul(std::string(path.substr(1, end - 1)));
      here = index < here->size() ? &here->items()[index] : nullptr;
      path.remove_prefix(end + 1);
    } else {
      const auto end = path.find_first_of(".[");
      here = here->find(path.substr(0, end));
      path.remove_prefix(end == std::string_view::npos ? path.size() : end);
    }
  }
  return here ? *here : none;
}

class Script {
 public:
  explicit Script(const std::filesystem::path& file) : in_(file) {}

  void run() {
    for (std::string line; next(line);) {
      INFO("line " << line_ << ": " << line);
      if (line.starts_with("> ")) {
        request(trim(line.substr(2)));
      } else if (line.starts_with("@ ")) {
        user_ = trim(line.substr(2));
        if (user_ == "nobody") user_.clear();
      } else if (line.starts_with("+ ")) {
        cluster_.advance(std::chrono::seconds(std::stol(line.substr(2))));
      } else {
        FAIL("unknown line");
      }
    }
  }

 private:
  bool next(std::string& line) {
    if (!held_.empty()) {
      line = std::move(held_);
      held_.clear();
      return true;
    }
    while (std::getline(in_, line)) {
      ++line_;
      line = substitute(trim(line));
      if (!line.empty() && line[0] != '#') return true;
    }
    return false;
  }
  std::string substitute(std::string line) const {
    for (const auto& [name, value] : names_) {
      for (auto at = line.find("$" + name); at != std::string::npos; at = line.find("$" + name)) {
        line.replace(at, name.size() + 1, value);
      }
    }
    return line;
  }

  void request(const std::string& text) {
    Call call;
    const auto space = text.find(' ');
    call.method = text.substr(0, space);
    call.target = trim(text.substr(space));
    const int at = line_;
    std::string line;
    while (next(line) && !line.starts_with("< ")) {
      if (line.starts_with(". ")) {
        const auto colon = line.find(':');
        call.headers.add(trim(line.substr(2, colon - 2)), trim(line.substr(colon + 1)));
      } else {
        call.body += line + "\n";
      }
    }
    if (!call.body.empty() && !call.headers.has("Content-Type")) {
      call.headers.add("Content-Type", "application/json");
    }
    if (!call.body.empty()) call.body.pop_back();
    INFO(text << " (line " << at << ")");
    const Recorder answer = cluster_.ask(std::move(call), user_);
    INFO(answer.body.substr(0, 2000));
    CHECK(answer.status == std::stoi(line.substr(2)));
    const auto parsed = api::parse_json(answer.body);
    const api::Value document = parsed ? *parsed : api::Value(answer.body);
    while (next(line)) {
      if (std::string_view(">@+").find(line[0]) != std::string_view::npos && line[1] == ' ') {
        held_ = line;
        return;
      }
      expect(document, answer, line);
    }
  }

  void expect(const api::Value& document, const Recorder& answer, const std::string& line) {
    INFO("line " << line_ << ": " << line);
    const auto space = line.find(' ');
    const std::string path = line.substr(0, space);
    const std::string rest = trim(line.substr(space));
    const api::Value header = api::Value(answer.headers.get(path.substr(path.find(':') + 1)));
    const api::Value& have = path == "body"                ? body_of(answer)
                             : path.starts_with("header:") ? header
                                                           : at_path(document, path);
    if (rest == "absent") {
      CHECK(have.is_null());
    } else if (rest.starts_with("= ")) {
      const auto want = api::parse_json(rest.substr(2));
      REQUIRE(want.has_value());
      INFO("have " << api::to_json(have));
      CHECK(have == *want);
    } else if (rest.starts_with("~ ")) {
      CHECK(have.as_string().find(rest.substr(2)) != std::string::npos);
    } else if (rest.starts_with("# ")) {
      CHECK(have.size() == std::stoul(rest.substr(2)));
    } else if (rest.starts_with("-> ")) {
      names_[rest.substr(3)] = have.is_string() ? have.as_string() : api::to_json(have);
    } else {
      FAIL("unknown expectation");
    }
  }
  const api::Value& body_of(const Recorder& answer) {
    body_ = api::Value(answer.body);
    return body_;
  }

  Cluster cluster_;
  std::ifstream in_;
  int line_ = 0;
  std::string held_;
  std::string user_ = "admin";
  std::map<std::string, std::string, std::greater<>> names_;  // $rv2 before $rv
  api::Value body_;
};

}  // namespace

TEST_CASE("scripts of requests and answers") {
  for (const auto& entry : std::filesystem::directory_iterator(SKIFF_TESTDATA)) {
    if (entry.path().extension() != ".txt") continue;
    DYNAMIC_SECTION(entry.path().stem().string()) { Script(entry.path()).run(); }
  }
}

}  // namespace skiff::test

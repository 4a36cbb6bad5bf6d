// Runs a fuzz target without libFuzzer: its seeds, then mutations of them, all from one number.
// Stops early after three seconds, so that a slow machine or a sanitizer does not hold up the rest.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzz.hpp"
#include "skiff/base/clock.hpp"
#include "skiff/base/random.hpp"

namespace {

constexpr std::size_t kMaxInput = 1U << 16U;

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {
    for (const std::string_view s : fuzz_seeds()) corpus_.emplace_back(s);
  }

  const std::vector<std::string>& corpus() const { return corpus_; }

  std::string next() {
    std::string input = pick();
    const std::uint64_t steps = 1 + random_.below(random_.below(2) == 0 ? 2 : 6);
    for (std::uint64_t i = 0; i < steps; ++i) mutate(input);
    if (input.size() > kMaxInput) input.resize(kMaxInput);
    return input;
  }

 private:
  const std::string& pick() { return corpus_[random_.below(corpus_.size())]; }
  std::size_t at(const std::string& s) { return random_.below(s.size() + 1); }
  std::string piece(const std::string& s) {
    const std::size_t from = at(s);
    return s.substr(from, random_.below(random_.below(8) == 0 ? 64 : 8));
  }

  void mutate(std::string& s) {
    switch (random_.below(8)) {
      case 0:
        s.insert(at(s), 1, static_cast<char>(random_.below(256)));
        break;
      case 1:
        if (!s.empty()) s[random_.below(s.size())] = static_cast<char>(random_.below(256));
        break;
      case 2:
        s.erase(at(s), random_.below(8));
        break;
      case 3:
        s.insert(at(s), piece(pick()));
        break;
      case 4:
        s.insert(at(s), piece(s));
        break;
      case 5: {
        const std::string& other = pick();
        s = s.substr(0, at(s)) + other.substr(at(other));
        break;
      }
      case 6: {
        const std::string part = piece(s);
        const std::size_t where = at(s);
        for (std::uint64_t n = random_.below(64); n > 0; --n) s.insert(where, part);
        break;
      }
      default:
        if (!s.empty()) {
          const std::size_t i = random_.below(s.size());
          s[i] = static_cast<char>(s[i] ^ (1U << random_.below(8)));
        }
    }
  }

  skiff::SeededRandom random_;
  std::vector<std::string> corpus_;
};

const std::string* current = nullptr;

// A broken promise ends the process: say with what, so that it can be kept as a seed.
void show_input(int /*signal*/) {
  std::fputs("the input was: \"", stderr);
  for (const char c : *current) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f || c == '"' || c == '\\') {
      std::fprintf(stderr, "\\x%02x", byte);
    } else {
      std::fputc(c, stderr);
    }
  }
  std::fputs("\"\n", stderr);
}

void run(const std::string& input) {
  current = &input;
  // An exact copy on the heap, so that a sanitizer sees a read past the end.
  const std::vector<std::uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGABRT, show_input);
  std::uint64_t iterations = 200'000;
  if (argc > 1 && std::strtoull(argv[1], nullptr, 10) == 0) {
    for (int i = 1; i < argc; ++i) {
      std::ifstream file(argv[i], std::ios::binary);
      run(std::string(std::istreambuf_iterator<char>(file), {}));
    }
    return 0;
  }
  if (argc > 1) iterations = std::strtoull(argv[1], nullptr, 10);
  const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  Mutator mutator(seed);
  for (const std::string& input : mutator.corpus()) run(input);
  skiff::RealClock clock;
  const auto end = clock.now() + std::chrono::seconds(argc > 1 ? 3600 : 3);
  std::uint64_t done = 0;
  while (done < iterations && (done % 64 != 0 || clock.now() < end)) {
    run(mutator.next());
    ++done;
  }
  std::printf("%llu inputs from seed %llu\n", static_cast<unsigned long long>(done),
              static_cast<unsigned long long>(seed));
  return 0;
}

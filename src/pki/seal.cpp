#include "skiff/pki/seal.hpp"

#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <limits>

#include "openssl.hpp"
#include "skiff/pki/keys.hpp"

namespace skiff::pki {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kIdBytes = 8;
constexpr std::size_t kNonceBytes = 12;
constexpr std::size_t kTagBytes = 16;
constexpr std::size_t kHeaderBytes = 1 + kIdBytes + kNonceBytes;
constexpr std::size_t kMaxKeys = 64;
constexpr std::string_view kIdContext{"skiff seal key\0", 15};

using CipherPtr = std::unique_ptr<EVP_CIPHER_CTX, OpensslFree<EVP_CIPHER_CTX_free>>;

// Wiped wherever it ends.
struct Key {
  std::array<std::uint8_t, kKeyBytes> bytes{};
  std::string id;  // raw

  Key() = default;
  Key(const Key&) = default;
  Key& operator=(const Key&) = default;
  ~Key() { OPENSSL_cleanse(bytes.data(), bytes.size()); }
};

void wipe(std::string& text) { OPENSSL_cleanse(text.data(), text.size()); }

std::string id_of(const Key& key) {
  std::string text(kIdContext);
  text.append(reinterpret_cast<const char*>(key.bytes.data()), key.bytes.size());
  std::string id = sha256(text).substr(0, kIdBytes);
  wipe(text);
  return id;
}

Key new_key(Random& random) {
  Key key;
  random.fill(key.bytes);
  key.id = id_of(key);
  return key;
}

std::string_view trim(std::string_view s) {
  constexpr std::string_view kSpace = " \t\r";
  while (!s.empty() && kSpace.find(s.front()) != std::string_view::npos) s.remove_prefix(1);
  while (!s.empty() && kSpace.find(s.back()) != std::string_view::npos) s.remove_suffix(1);
  return s;
}

Result<Key> parse_key(std::string_view line, std::size_t number) {
  auto raw = base64_decode(line);
  Key key;
  const bool good = raw && raw->size() == kKeyBytes;
  if (good) std::copy(raw->begin(), raw->end(), reinterpret_cast<char*>(key.bytes.data()));
  if (raw) wipe(*raw);
  if (!good) {
    return Error{Code::bad_request, "line " + std::to_string(number) +
                                        " is no key: want 32 bytes in base64, as "
                                        "\"openssl rand -base64 32\" prints them"};
  }
  key.id = id_of(key);
  return key;
}

const unsigned char* bytes(std::string_view s) {
  return reinterpret_cast<const unsigned char*>(s.data());
}
int length(std::string_view s) { return static_cast<int>(s.size()); }

// What is authenticated beside the value: the version and key id, then the name to the end.
void authenticate(EVP_CIPHER_CTX* context, std::string_view head, std::string_view name,
                  bool sealing) {
  int ignored = 0;
  for (const std::string_view part : {head, name}) {
    const int done = sealing
                         ? EVP_EncryptUpdate(context, nullptr, &ignored, bytes(part), length(part))
                         : EVP_DecryptUpdate(context, nullptr, &ignored, bytes(part), length(part));
    must(done == 1, "authenticate");
  }
}

}  // namespace

struct SealKeys::Impl {
  std::vector<Key> keys;
};

Result<SealKeys> SealKeys::parse(std::string_view text) {
  auto impl = std::make_shared<Impl>();
  impl->keys.reserve(kMaxKeys);  // so that growing leaves no copy of a key behind
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++number;
    if (line.empty() || line.front() == '#') continue;
    if (impl->keys.size() == kMaxKeys) {
      return Error{Code::bad_request, "more than " + std::to_string(kMaxKeys) + " keys"};
    }
    SKIFF_TRY(const Key key, parse_key(line, number));
    const bool twice = std::any_of(impl->keys.begin(), impl->keys.end(),
                                   [&](const Key& k) { return k.id == key.id; });
    if (!twice) impl->keys.push_back(key);
  }
  if (impl->keys.empty()) return Error{Code::bad_request, "there is no key in it"};
  return SealKeys(std::move(impl));
}

SealKeys SealKeys::generate(Random& random) {
  auto impl = std::make_shared<Impl>();
  impl->keys.push_back(new_key(random));
  return SealKeys(std::move(impl));
}

std::string SealKeys::to_text() const {
  std::string out;
  for (const Key& key : impl_->keys) {
    std::string raw(reinterpret_cast<const char*>(key.bytes.data()), key.bytes.size());
    out += base64_encode(raw) + "\n";
    wipe(raw);
  }
  return out;
}

SealKeys SealKeys::with_new_key(Random& random) const {
  auto impl = std::make_shared<Impl>();
  impl->keys.reserve(kMaxKeys);
  impl->keys.push_back(new_key(random));
  for (const Key& key : impl_->keys) {
    if (impl->keys.size() < kMaxKeys) impl->keys.push_back(key);
  }
  return SealKeys(std::move(impl));
}

SealKeys SealKeys::with(const SealKeys& more, bool first) const {
  auto impl = std::make_shared<Impl>();
  impl->keys.reserve(kMaxKeys);
  const auto known = [](const std::vector<Key>& list, const Key& key) {
    return std::any_of(list.begin(), list.end(), [&](const Key& k) { return k.id == key.id; });
  };
  const auto add = [&](const std::vector<Key>& list, const std::vector<Key>* but) {
    for (const Key& key : list) {
      if (impl->keys.size() < kMaxKeys && (!but || !known(*but, key))) impl->keys.push_back(key);
    }
  };
  if (first) add(more.impl_->keys, nullptr);
  add(impl_->keys, &more.impl_->keys);
  if (!first) add(more.impl_->keys, nullptr);
  return SealKeys(std::move(impl));
}

SealKeys SealKeys::keep(std::size_t count) const {
  auto impl = std::make_shared<Impl>();
  const std::size_t kept = std::clamp<std::size_t>(count, 1, impl_->keys.size());
  impl->keys.assign(impl_->keys.begin(), impl_->keys.begin() + static_cast<std::ptrdiff_t>(kept));
  return SealKeys(std::move(impl));
}

std::size_t SealKeys::size() const noexcept { return impl_->keys.size(); }

std::vector<std::string> SealKeys::ids() const {
  std::vector<std::string> out;
  for (const Key& key : impl_->keys) out.push_back(to_hex(key.id));
  return out;
}

std::string SealKeys::seal(Random& random, std::string_view name, std::string_view value) const {
  SKIFF_ASSERT(value.size() < std::numeric_limits<int>::max() / 2, "a value far beyond any limit");
  const Key& key = impl_->keys.front();
  std::string out;
  out.resize(value.size() + kSealOverhead);
  out[0] = static_cast<char>(kVersion);
  std::copy(key.id.begin(), key.id.end(), out.begin() + 1);
  auto* data = reinterpret_cast<unsigned char*>(out.data());
  unsigned char* nonce = data + 1 + kIdBytes;
  random.fill({nonce, kNonceBytes});
  const CipherPtr context(EVP_CIPHER_CTX_new());
  must(context && EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key.bytes.data(),
                                     nonce) == 1,
       "begin to seal");
  authenticate(context.get(), std::string_view(out).substr(0, 1 + kIdBytes), name, true);
  int n = 0;
  must(EVP_EncryptUpdate(context.get(), data + kHeaderBytes, &n, bytes(value), length(value)) == 1,
       "seal");
  int rest = 0;
  must(EVP_EncryptFinal_ex(context.get(), data + kHeaderBytes + n, &rest) == 1, "seal");
  must(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes,
                           data + kHeaderBytes + value.size()) == 1,
       "seal");
  return out;
}

Result<std::string> SealKeys::open(std::string_view name, std::string_view sealed) const {
  const auto wanted = sealed_with(sealed);
  if (!wanted) {
    return Error{Code::invalid, "the sealed value of " + std::string(name) +
                                    " is damaged, or was written by a newer version of skiff"};
  }
  const std::string_view id = sealed.substr(1, kIdBytes);
  const auto key = std::find_if(impl_->keys.begin(), impl_->keys.end(),
                                [&](const Key& k) { return k.id == id; });
  if (key == impl_->keys.end()) {
    return Error{Code::not_found, std::string(name) + " is encrypted with the key " + *wanted +
                                      ", which is not among the encryption keys given: start with "
                                      "the file or command that has it"};
  }
  const std::string_view cipher =
      sealed.substr(kHeaderBytes, sealed.size() - kHeaderBytes - kTagBytes);
  std::array<unsigned char, kTagBytes> tag{};
  std::copy(sealed.end() - kTagBytes, sealed.end(), reinterpret_cast<char*>(tag.data()));
  std::string out(cipher.size(), '\0');
  auto* data = reinterpret_cast<unsigned char*>(out.data());
  const CipherPtr context(EVP_CIPHER_CTX_new());
  must(context && EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key->bytes.data(),
                                     bytes(sealed.substr(1 + kIdBytes))) == 1,
       "begin to open");
  authenticate(context.get(), sealed.substr(0, 1 + kIdBytes), name, false);
  int n = 0;
  must(EVP_DecryptUpdate(context.get(), data, &n, bytes(cipher), length(cipher)) == 1, "open");
  must(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, tag.data()) == 1,
       "open");
  int rest = 0;
  if (EVP_DecryptFinal_ex(context.get(), data + n, &rest) != 1) {
    ERR_clear_error();
    wipe(out);
    return Error{Code::invalid, "the sealed value of " + std::string(name) +
                                    " was altered, or belongs to another object"};
  }
  return out;
}

std::optional<std::string> sealed_with(std::string_view sealed) {
  if (sealed.size() < kSealOverhead || static_cast<std::uint8_t>(sealed[0]) != kVersion) {
    return std::nullopt;
  }
  return to_hex(sealed.substr(1, kIdBytes));
}

}  // namespace skiff::pki

// The record protocol of TLS 1.3 (RFC 8446 sections 4.6.3 and 5) for connections whose handshake is
// over. OpenSSL's session costs 14 to 20 KB for as long as it lives; what a connection needs from
// then on are two keys. The ciphers themselves are OpenSSL's.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_cipher_ctx_st;

namespace skiff::http {

// The cipher suites of TLS 1.3 that OpenSSL offers by default.
enum class Suite : std::uint8_t { aes_128_gcm_sha256, aes_256_gcm_sha384, chacha20_sha256 };
constexpr std::size_t kSuites = 3;

// A traffic secret: as many bytes as the suite's hash has.
struct Secret {
  std::array<unsigned char, 48> bytes{};
  std::uint8_t size = 0;  // 0: not known
  Secret() = default;
  Secret(const Secret&) = default;
  Secret& operator=(const Secret&) = default;
  ~Secret();  // wipes it
};

struct RecordCipherFree {
  void operator()(evp_cipher_ctx_st* context) const noexcept;
};

// Cipher contexts lent to whoever seals or opens a record: half a kilobyte and more each, so that
// the streams of one loop share them. A context remembers whose key it was set up with last.
class RecordCiphers {
 public:
  struct Keyed {
    std::unique_ptr<evp_cipher_ctx_st, RecordCipherFree> context;
    std::uint64_t key = 0;  // the number of the key it holds; 0: none
  };
  Keyed& get(Suite suite, bool seals);
  std::uint64_t next_key() noexcept { return ++keys_; }

 private:
  std::array<Keyed, kSuites * 2> keyed_;
  std::uint64_t keys_ = 0;
};

class TlsRecords {
 public:
  static constexpr std::size_t kHeader = 5;
  static constexpr std::size_t kPlain = 16 * 1024;                 // the most a record says
  static constexpr std::size_t kLongest = kHeader + kPlain + 256;  // the most it takes

  enum class Type : std::uint8_t { alert = 21, handshake = 22, data = 23 };
  enum class Got : std::uint8_t {
    data,     // bytes for the application, perhaps none
    nothing,  // the record was of the protocol's own
    closed,   // the peer has said all
    broken    // the connection is to end; alert() says why, unless it is the peer who broke it off
  };
  struct Opened {
    Got got = Got::nothing;
    std::string_view bytes;  // inside the record
  };

  // `ciphers` outlives this. `opened` and `sealed`: records that these secrets protected already.
  TlsRecords(RecordCiphers& ciphers, Suite suite, const Secret& peer, std::uint64_t opened,
             const Secret& own, std::uint64_t sealed);

  // The whole length of the record `bytes` begins with; 0 while its header is not complete, and
  // kLongest + 1 where it is longer than records may be.
  static std::size_t length(std::string_view bytes) noexcept;

  // Decrypts one whole record in place. After `broken` nothing more may be opened.
  Opened open(std::span<char> record);
  // Appends records that carry `bytes`.
  void seal(std::string_view bytes, std::string& out);
  // Appends one record of any type; `bytes` fit into it.
  void seal_as(Type type, std::string_view bytes, std::string& out);

  // The peer wants to see our next key: renew_key() is to be called when there is room for a
  // record.
  bool owes_key() const noexcept { return owes_key_; }
  void renew_key(std::string& out);
  // The farewell: close_notify, or the alert that says what the peer did wrong. Once only.
  void say_goodbye(std::string& out);

  // Records of one key, after which the next one is used (RFC 8446 section 5.5 allows AES-GCM
  // 2^24.5).
  static constexpr std::uint64_t kRecordsPerKey = 1U << 23U;

 private:
  struct Direction {
    Secret secret;
    std::array<unsigned char, 32> key{};
    std::array<unsigned char, 12> iv{};
    std::uint64_t records = 0;  // under this key
    std::uint64_t number = 0;   // of the key
    Direction() = default;
    Direction(const Direction&) = delete;
    Direction& operator=(const Direction&) = delete;
    ~Direction();  // wipes the key
  };
  void derive(Direction& direction);
  void next_key(Direction& direction);
  evp_cipher_ctx_st* prepare(Direction& direction, bool seals, const unsigned char* header);
  Opened broken(std::uint8_t alert) noexcept;
  Opened open_alert(std::string_view content) noexcept;
  Opened open_handshake(std::string_view content);

  RecordCiphers& ciphers_;
  Suite suite_;
  std::uint8_t alert_ = 0;  // what goodbye says; 0: close_notify
  bool owes_key_ = false;
  bool silent_ = false;  // the goodbye is said, or pointless
  Direction peer_;
  Direction own_;
};

}  // namespace skiff::http

// The body of a POST between servers: whole frames, or a piece of one that is larger than a POST.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "skiff/base/result.hpp"
#include "wire.hpp"

namespace skiff::raft {

inline constexpr char kPostFrames = 1;
inline constexpr char kPostPiece = 2;

struct Piece {
  std::uint64_t id = 0;
  std::uint32_t number = 0;
  std::uint32_t count = 0;
  std::string_view bytes;
};
struct Post {
  std::vector<std::string_view> frames;  // within the body
  std::optional<Piece> piece;
};

std::string encode_frames(const std::vector<std::string>& frames);
std::string encode_piece(const Piece& piece);
Result<Post> decode_post(std::string_view body);

// Puts frames together again. Pieces come in order, one frame at a time from each sender.
class Assembly {
 public:
  // The whole frame with its last piece. too_large: more than `max_bytes`.
  Result<std::optional<std::string>> add(const std::string& from, const Piece& piece,
                                         std::size_t max_bytes);

 private:
  struct Partial {
    std::uint64_t id = 0;
    std::uint32_t next = 0;
    std::uint32_t count = 0;
    std::string bytes;
  };
  std::map<std::string, Partial> partial_;
};

}  // namespace skiff::raft

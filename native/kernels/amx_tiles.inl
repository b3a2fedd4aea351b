// Tiles of AMX: what is set up before they are used, for this thread and the whole process.

constexpr std::size_t kTileRows = 16, kTileBytes = 64;

// How large the tiles are, as the instruction wants it.
struct TileSizes {
  std::uint8_t palette = 1, start = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  void set(std::size_t tile, std::size_t count, std::size_t bytes) {
    rows[tile] = static_cast<std::uint8_t>(count);
    row_bytes[tile] = static_cast<std::uint16_t>(bytes);
  }
};

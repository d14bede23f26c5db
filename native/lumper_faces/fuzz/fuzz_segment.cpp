// A small picture of patches and damage, made from the input's bytes: nothing in it may read or write out of bounds,
// and what comes out must be finite.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>

#include "lumper_faces/faces.hpp"

namespace {

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  int next() { return at_ < size_ ? data_[at_++] : 0; }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

float damaged(int how, float value) {
  switch (how) {
    case 0:
      return std::numeric_limits<float>::quiet_NaN();
    case 1:
      return std::numeric_limits<float>::infinity();
    case 2:
      return -value;
    case 3:
      return 0.0F;
    case 4:
      return 1e30F;
    default:
      return value;
  }
}

// As the Python module takes it in.
float inverse_of(float z, const lumper_faces::Options& options) {
  const bool seen = z > static_cast<float>(options.near_m) && z < static_cast<float>(options.far_m);
  return seen ? 1.0F / z : 0.0F;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, size);
  lumper_faces::Options options;
  lumper_faces::Image image;
  const int width = 4 * options.cell_px + bytes.next() % 96;
  const int height = 4 * options.cell_px + bytes.next() % 64;
  const double focal = 0.7 * width;
  image.camera = {focal, focal, 0.5 * width, 0.5 * height, width, height};
  image.inverse.assign(static_cast<size_t>(width) * static_cast<size_t>(height), 0.25F);
  for (int patch = bytes.next() % 12; patch > 0; --patch) {
    const int left = bytes.next() % width;
    const int top = bytes.next() % height;
    const int right = std::min(width, left + 1 + bytes.next() % 48);
    const int bottom = std::min(height, top + 1 + bytes.next() % 32);
    const float nearness = 0.2F + 0.01F * static_cast<float>(bytes.next());
    // Square to the camera and without noise a patch measures a whole number of pixels, to the last digit.
    const bool exact = bytes.next() % 4 == 0;
    const float tilt = exact ? 0.0F : 0.002F * static_cast<float>(bytes.next() - 128);
    const int damage = bytes.next();
    for (int row = top; row < bottom; ++row) {
      for (int column = left; column < right; ++column) {
        const float noise = exact ? 0.0F : 1e-4F * static_cast<float>((row * 31 + column * 17) % 7 - 3);
        const float value = nearness + tilt * static_cast<float>(column - left) / static_cast<float>(width) + noise;
        image.inverse[static_cast<size_t>(row * width + column)] = inverse_of(damaged(damage, 1.0F / value), options);
      }
    }
  }
  for (int column = 0; column < width; ++column) {
    image.slope_x.push_back(static_cast<float>((column - image.camera.cx) / focal));
  }
  for (int row = 0; row < height; ++row) {
    image.slope_y.push_back(static_cast<float>((row - image.camera.cy) / focal));
  }
  if (bytes.next() % 2 == 1) {
    for (size_t i = 0; i < 3 * image.inverse.size(); ++i) {
      image.colour.push_back(static_cast<float>(bytes.next() < 8 ? bytes.next() : static_cast<int>(i / 90 % 5) * 50));
    }
  }
  options.up = bytes.next() % 2 == 1 ? Eigen::Vector3d(0, -1, 0) : Eigen::Vector3d::Zero();
  image.sigma = std::max(lumper_faces::noise_of(image), options.least_sigma);
  const lumper_faces::Result result = lumper_faces::segment(image, options);
  for (const lumper_faces::Face& face : result.faces) {
    if (!face.centre.allFinite() || !face.normal.allFinite() || !std::isfinite(face.width_m + face.height_m)) {
      std::abort();
    }
  }
  return 0;
}

// Colour edges: a plane that shows several cartons is cut along lines that run across the whole piece.
#include <algorithm>
#include <cmath>

#include "frame.hpp"

namespace lumper_faces {
namespace {

// Colours of one plane on its own raster, with prefix sums.
struct Raster {
  int columns = 0, rows = 0;
  double pitch = 0, low_x = 0, low_y = 0;
  // (columns + 1) x (rows + 1), two numbers of 32 bits in each word: count and red, green and blue.
  std::vector<std::array<uint64_t, 2>> sums;
  // Mean colour of cells [x0, x1) x [y0, y1); false where too little of it is on the plane.
  bool mean(int x0, int y0, int x1, int y1, Eigen::Vector3d& colour) const {
    x0 = std::clamp(x0, 0, columns), x1 = std::clamp(x1, 0, columns), y0 = std::clamp(y0, 0, rows),
    y1 = std::clamp(y1, 0, rows);
    if (x1 <= x0 || y1 <= y0) return false;
    const auto at = [&](int x, int y) {
      return &sums[static_cast<size_t>(y) * static_cast<size_t>(columns + 1) + static_cast<size_t>(x)];
    };
    const auto &a = *at(x0, y0), &b = *at(x1, y0), &c = *at(x0, y1), &d = *at(x1, y1);
    const uint64_t one = d[0] - c[0] - b[0] + a[0], two = d[1] - c[1] - b[1] + a[1];
    const auto low = [](uint64_t word) { return static_cast<double>(word & 0xffffffffU); };
    const double n = low(one);
    if (n < 0.5 * (x1 - x0) * (y1 - y0)) return false;
    colour = Eigen::Vector3d(low(one >> 32), low(two), low(two >> 32)) / n;
    return true;
  }
};

struct Piece {
  int x0, y0, x1, y1;
};

// Largest difference of colours that is still one face, of 255; and of a dark line between two cartons, as a fraction.
constexpr double kStep = 8.0;
constexpr double kDark = 0.06;
constexpr double kAcross = 0.8;

// Evidence that the line at `at` (a column, or a row when `level`) parts the piece: share of its length, and strength.
double parting(const Raster& r, const Piece& p, int at, bool level, int chunk, int near, int far0, int far1,
               double& strength) {
  int have = 0, yes = 0;
  strength = 0;
  const int begin = level ? p.x0 : p.y0, end = level ? p.x1 : p.y1;
  const int low = level ? p.y0 : p.x0, high = level ? p.y1 : p.x1;
  auto mean = [&](int a0, int a1, int c0, int c1, Eigen::Vector3d& colour) {
    a0 = std::max(a0, low), a1 = std::min(a1, high);
    return level ? r.mean(c0, a0, c1, a1, colour) : r.mean(a0, c0, a1, c1, colour);
  };
  const int chunks = (end - begin + chunk - 1) / chunk;
  for (int c = begin; c < end; c += chunk) {
    const int stop = std::min(c + chunk, end);
    Eigen::Vector3d before, after, far_before, far_after, line;
    if (!mean(at - near - 1, at - 1, c, stop, before) || !mean(at + 1, at + near + 1, c, stop, after)) continue;
    ++have;
    double value = 0;
    const double step = (before - after).norm();
    if (step > kStep) {
      double far = step;
      if (mean(at - far1, at - far0, c, stop, far_before) && mean(at + far0, at + far1, c, stop, far_after))
        far = (far_before - far_after).norm();
      value = std::min(step, far) / kStep;
    }
    if (value < 4.0 && mean(at - 1, at + 1, c, stop, line)) {
      const double sides = std::min(before.sum(), after.sum());
      value = std::max(value, (sides - line.sum()) / std::max(sides, 30.0) / kDark);
    }
    yes += value > 1.0;
    strength += std::min(value, 4.0);
    // No hope of running across any more.
    if (have - yes > (1.0 - kAcross) * chunks) return 0;
  }
  if (have < 2) return 0;
  strength /= have;
  return static_cast<double>(yes) / have;
}

// Contrast right at a line: step between its two sides, and how much darker the line itself is.
double sharpness(const Raster& r, const Piece& p, int at, bool level, int chunk) {
  double total = 0;
  const int begin = level ? p.x0 : p.y0, end = level ? p.x1 : p.y1;
  auto mean = [&](int a0, int a1, int c0, int c1, Eigen::Vector3d& colour) {
    return level ? r.mean(c0, a0, c1, a1, colour) : r.mean(a0, c0, a1, c1, colour);
  };
  for (int c = begin; c < end; c += chunk) {
    const int stop = std::min(c + chunk, end);
    Eigen::Vector3d before, after, line;
    if (!mean(at - 4, at - 1, c, stop, before) || !mean(at + 1, at + 4, c, stop, after) ||
        !mean(at - 1, at + 1, c, stop, line))
      continue;
    const double left = (line - before).norm(), right = (after - line).norm();
    total += (after - before).norm() + std::min(left, right);
  }
  return total;
}

// Fills the sums with the colours of the plane's own pixels.
void rasterise(const Image& image, const std::vector<int>& labels, int label, const PlaneFrame& f, Raster& r) {
  const Camera& c = image.camera;
  const Eigen::ArrayXf x =
      Eigen::ArrayXf::LinSpaced(r.columns, 0.5F, static_cast<float>(r.columns) - 0.5F) * static_cast<float>(r.pitch) +
      static_cast<float>(r.low_x);
  const Eigen::Array3f along = f.width.cast<float>().array();
  Eigen::ArrayXf u, v, focal;
  for (int row = 0; row < r.rows; ++row) {
    const Eigen::Array3f start =
        (f.height * (r.low_y + (row + 0.5) * r.pitch) - f.normal * f.away).cast<float>().array();
    // Behind the camera or beside the picture: pixel -1. Else rounded to the nearest.
    focal = (along[2] * x + start[2]).max(1e-3F).inverse();
    u = ((along[0] * x + start[0]) * focal * static_cast<float>(c.fx) + static_cast<float>(c.cx + 0.5))
            .max(-1.0F)
            .min(static_cast<float>(c.width));
    v = ((along[1] * x + start[1]) * focal * static_cast<float>(c.fy) + static_cast<float>(c.cy + 0.5))
            .max(-1.0F)
            .min(static_cast<float>(c.height));
    auto cell = r.sums.begin() + static_cast<std::ptrdiff_t>(row + 1) * (r.columns + 1) + 1;
    auto above = cell - (r.columns + 1);
    uint64_t one = 0, two = 0;
    for (int k = 0; k < r.columns; ++k, ++cell, ++above) {
      const int at_u = static_cast<int>(u[k]), at_v = static_cast<int>(v[k]);
      if (u[k] >= 0 && v[k] >= 0 && at_u < c.width && at_v < c.height) {
        const auto i = static_cast<size_t>(at_v * c.width + at_u);
        if (labels[i] == label) {
          const uint64_t rgb = image.colour[i];
          one += 1 + ((rgb << 16) & 0xff00000000U);
          two += ((rgb >> 8) & 255U) | ((rgb & 255U) << 32);
        }
      }
      *cell = {one + (*above)[0], two + (*above)[1]};
    }
  }
}

void cut(const Raster& r, const Piece& p, double least_m, std::vector<Piece>& leaves, int depth) {
  const int margin = std::max(3, static_cast<int>(std::lround(least_m / r.pitch)));
  const int chunk = std::max(3, static_cast<int>(0.03 / r.pitch)),
            near = std::max(2, static_cast<int>(0.025 / r.pitch));
  const int far0 = static_cast<int>(0.062 / r.pitch) + 1, far1 = std::max(far0 + 2, static_cast<int>(0.105 / r.pitch));
  double best = 0;
  int where = -1;
  bool level = false;
  for (const bool flat : {false, true}) {
    const int low = flat ? p.y0 : p.x0, high = flat ? p.y1 : p.x1;
    for (int at = low + margin; at <= high - margin; ++at) {
      double strength = 0;
      const double share = parting(r, p, at, flat, chunk, near, far0, far1, strength);
      if (share < kAcross) continue;
      const double score = share + 0.25 * strength;
      if (score > best) best = score, where = at, level = flat;
    }
  }
  if (where < 0 || depth > 40) {
    leaves.push_back(p);
    return;
  }
  // The evidence is broad; the line itself lies where the colours change most sharply.
  int sharpest = where;
  double most = -1;
  for (int at = where - 4; at <= where + 4; ++at) {
    const double value = sharpness(r, p, at, level, chunk);
    if (value > most) most = value, sharpest = at;
  }
  where = std::clamp(sharpest, (level ? p.y0 : p.x0) + 1, (level ? p.y1 : p.x1) - 1);
  Piece a = p, b = p;
  if (level)
    a.y1 = b.y0 = where;
  else
    a.x1 = b.x0 = where;
  cut(r, a, least_m, leaves, depth + 1);
  cut(r, b, least_m, leaves, depth + 1);
}

}  // namespace

void split_by_colour(const Image& image, const Options& options, Segmentation& s) {
  if (image.colour.empty()) return;
  const int w = image.camera.width, h = image.camera.height;
  std::vector<std::vector<Run>> rows(s.planes.size());
  for (const Run& run : runs_of(s.label, w, h)) rows[static_cast<size_t>(run.label)].push_back(run);
  const size_t count = s.planes.size();
  for (size_t label = 0; label < count; ++label) {
    const PlaneFrame unturned = frame_of(image, s.planes[label], options.up);
    PlaneFrame f = unturned;
    if (options.up.norm() < 0.5 || std::abs(f.normal.dot(options.up)) > 0.75) {
      std::vector<std::pair<int, int>> border;
      for (const Run& run : rows[label]) {
        if (run.v == 0 || run.v + 1 == h) continue;
        const int* below = &s.label[static_cast<size_t>((run.v + 1) * w)];
        for (int u = std::max(run.u, 1); u < std::min(run.u + run.count, w - 1); ++u)
          if (u == run.u || below[u] != static_cast<int>(label)) border.emplace_back(u, run.v);
      }
      align_to_border(image, border, false, f);
    }
    int pixels = 0;
    Raster r;
    float low_x = 1e9F, high_x = -1e9F, low_y = 1e9F, high_y = -1e9F;
    // Along a row of pixels both coordinates only rise or only fall.
    for (const Run& run : rows[label]) {
      pixels += run.count;
      for (const int u : {run.u, run.u + run.count - 1}) {
        const Eigen::Vector2f at =
            f.on_plane(image.slope_x[static_cast<size_t>(u)], image.slope_y[static_cast<size_t>(run.v)]);
        low_x = std::min(low_x, at[0]), high_x = std::max(high_x, at[0]);
        low_y = std::min(low_y, at[1]), high_y = std::max(high_y, at[1]);
      }
    }
    r.low_x = low_x, r.low_y = low_y;
    const double wide = high_x - low_x, tall = high_y - low_y;
    if (std::max(wide, tall) < 2.0 * options.least_side_m) continue;
    // Seen at a low angle a plane has fewer pixels than cells of one pitch.
    r.pitch = std::max({f.pitch, std::max(wide, tall) / 800.0, std::sqrt(wide * tall / (1.5 * pixels))});
    r.columns = static_cast<int>(wide / r.pitch) + 1, r.rows = static_cast<int>(tall / r.pitch) + 1;
    r.sums.assign(static_cast<size_t>(r.columns + 1) * static_cast<size_t>(r.rows + 1), {0, 0});
    rasterise(image, s.label, static_cast<int>(label), f, r);
    std::vector<Piece> leaves;
    cut(r, {0, 0, r.columns, r.rows}, options.least_side_m, leaves, 0);
    if (leaves.size() < 2) continue;
    std::vector<int> leaf_of(static_cast<size_t>(r.columns * r.rows), 0);
    for (size_t k = 0; k < leaves.size(); ++k)
      for (int y = leaves[k].y0; y < leaves[k].y1; ++y)
        for (int x = leaves[k].x0; x < leaves[k].x1; ++x)
          leaf_of[static_cast<size_t>(y * r.columns + x)] = static_cast<int>(k);
    const auto first = static_cast<int>(s.planes.size());
    std::vector<Plane> fresh(leaves.size());
    for (Plane& plane : fresh) plane.p = s.planes[label].p;
    for (const Run& run : rows[label]) {
      const double Y = image.slope_y[static_cast<size_t>(run.v)];
      for (int u = run.u; u < run.u + run.count; ++u) {
        const double X = image.slope_x[static_cast<size_t>(u)];
        const Eigen::Vector2f at = f.on_plane(X, Y);
        const int x = std::clamp(static_cast<int>((at[0] - r.low_x) / r.pitch), 0, r.columns - 1);
        const int y = std::clamp(static_cast<int>((at[1] - r.low_y) / r.pitch), 0, r.rows - 1);
        const int leaf = leaf_of[static_cast<size_t>(y * r.columns + x)];
        const auto i = static_cast<size_t>(run.v * w + u);
        s.label[i] = first + leaf;
        fresh[static_cast<size_t>(leaf)].fit.add(X, Y, image.inverse[i]);
      }
    }
    s.planes.insert(s.planes.end(), fresh.begin(), fresh.end());
    s.own_fit.resize(s.planes.size(), 0);
  }
}

}  // namespace lumper_faces

// Rectangles: each side lies where the rows of the face end, counted only where something visible bounds them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "frame.hpp"

namespace lumper_faces {
namespace {

// How much the projections of points (x, y in bins) gather in few places: high when the axes run along the edges.
class Gathering {
 public:
  Gathering(const Eigen::ArrayXf& x, const Eigen::ArrayXf& y) : x_(x), y_(y), along_(x.size()) {}
  double operator()(double angle) {
    const auto c = static_cast<float>(std::cos(angle)), s = static_cast<float>(std::sin(angle));
    return along(c, s) + along(-s, c);
  }

 private:
  double along(float c, float s) {
    along_ = c * x_ + s * y_;
    along_ -= along_.minCoeff();
    histogram_.setZero(static_cast<Eigen::Index>(along_.maxCoeff()) + 2);
    for (Eigen::Index k = 0; k < along_.size(); ++k) {
      const auto bin = static_cast<Eigen::Index>(along_[k]);
      const float share = along_[k] - static_cast<float>(bin);
      histogram_[bin] += 1 - share;
      histogram_[bin + 1] += share;
    }
    return histogram_.square().sum();
  }
  const Eigen::ArrayXf &x_, &y_;
  Eigen::ArrayXf along_, histogram_;
};

// A side is settled by lines of at least so many points, and moved by at most so many lines.
constexpr int kLeastLine = 10;
constexpr int kSettleLines = 5;

enum class Outside { bounded, hidden };

// What is seen just beside the face's end. Of a front, which stands on the ledge below it, only what comes forward from
// there hides more; a side or a top may go on behind whatever meets it.
Outside beyond(const Image& image, const Options& options, const PlaneFrame& f, double x, double y, bool front) {
  double u = 0, v = 0;
  const Camera& c = image.camera;
  if (!f.pixel(c, x, y, u, v)) return Outside::hidden;
  const int column = static_cast<int>(std::lround(u)), row = static_cast<int>(std::lround(v));
  if (column < 0 || row < 0 || column >= c.width || row >= c.height) return Outside::hidden;
  const double d = image.inverse[static_cast<size_t>(row * c.width + column)];
  if (d <= 0) return Outside::hidden;
  const double here = f.p.dot(
      Eigen::Vector3d(image.slope_x[static_cast<size_t>(column)], image.slope_y[static_cast<size_t>(row)], 1.0));
  // What touches the face where it ends bounds it, even if it comes forward from there.
  // Of a side or top most rows decide together: one standard deviation of each is enough.
  const double contact =
      front ? 3.0 * image.sigma + 5.0 * f.p.norm() / c.fx : image.sigma + options.flatness_m * here * here;
  return d - here > contact ? Outside::hidden : Outside::bounded;
}

// Where the rows (or columns) of a face end on one side, and whether something hides its end.
struct Side {
  double at = 0;
  bool hidden = false;
};

Side side_of(const Image& image, const Options& options, const PlaneFrame& f, bool front,
             const std::vector<double>& ends, double first, double pitch, bool along_width, double sign) {
  std::vector<double> seen, all;
  for (size_t k = 0; k < ends.size(); ++k) {
    if (!std::isfinite(ends[k])) continue;
    const double across = first + (static_cast<double>(k) + 0.5) * pitch;
    const double out = ends[k] + sign * (front ? 2.5 : 5.5) * f.pitch;
    all.push_back(ends[k] + sign * 0.5 * f.pitch);
    const Outside what =
        along_width ? beyond(image, options, f, out, across, front) : beyond(image, options, f, across, out, front);
    if (what == Outside::bounded) seen.push_back(all.back());
  }
  Side side;
  if (all.empty()) return side;
  side.hidden = static_cast<double>(seen.size()) < std::max(3.0, 0.3 * static_cast<double>(all.size()));
  std::vector<double>& use = side.hidden ? all : seen;
  // Ends hidden row by row reach differently far; the farthest tell most. Ends that are seen scatter about one line.
  const double share = side.hidden ? 0.85 : 0.5;
  const auto k = static_cast<size_t>(share * static_cast<double>(use.size() - 1));
  const auto order = [sign](double a, double b) { return sign * a < sign * b; };
  std::nth_element(use.begin(), use.begin() + static_cast<std::ptrdiff_t>(k), use.end(), order);
  side.at = use[k];
  return side;
}

// Where the face's plane ends, looked for near where its pixels end: single pixels beyond a crease still fit the plane
// within their noise, a line of them along the side does not. Lines run along the side from `from` to `to`.
double settled(const Image& image, const Options& options, const PlaneFrame& f, double at, double from, double to,
               double pitch, bool along_width, double sign) {
  const Camera& c = image.camera;
  const double length = to - from;
  const int points = static_cast<int>(std::min(48.0, 0.8 * length / f.pitch));
  if (points < kLeastLine) return at;
  std::vector<double> off;
  // Lines of which too little is seen say nothing.
  const auto departs = [&](double where) {
    off.clear();
    double inverse = 0;
    for (int k = 0; k < points; ++k) {
      const double across = from + length * (0.1 + 0.8 * (k + 0.5) / points);
      double u = 0, v = 0;
      if (!(along_width ? f.pixel(c, where, across, u, v) : f.pixel(c, across, where, u, v))) continue;
      const int column = static_cast<int>(std::lround(u)), row = static_cast<int>(std::lround(v));
      if (column < 0 || row < 0 || column >= c.width || row >= c.height) continue;
      const double d = image.inverse[static_cast<size_t>(row * c.width + column)];
      if (d <= 0) continue;
      inverse += d;
      off.push_back(d - f.p.dot(Eigen::Vector3d(image.slope_x[static_cast<size_t>(column)],
                                                image.slope_y[static_cast<size_t>(row)], 1.0)));
    }
    if (2 * static_cast<int>(off.size()) < points) return false;
    const auto n = static_cast<double>(off.size());
    inverse /= n;
    const auto middle = off.begin() + static_cast<std::ptrdiff_t>(off.size() / 2);
    std::nth_element(off.begin(), middle, off.end());
    return std::abs(*middle) > 3.5 * image.sigma / std::sqrt(n) + options.flatness_m * inverse * inverse;
  };
  // Inwards while the line just within the side departs from the plane.
  double result = at;
  for (int k = 0; k < kSettleLines && departs(result - sign * 0.5 * pitch); ++k) result -= sign * pitch;
  return result;
}

}  // namespace

void align_to_border(const Image& image, const std::vector<std::pair<int, int>>& border, bool up_known,
                     PlaneFrame& frame) {
  const size_t step = std::max<size_t>(1, border.size() / 220), count = (border.size() + step - 1) / step;
  if (count < 12) return;
  // In bins a little wider than a pixel.
  const double degree = std::acos(-1.0) / 180.0, per_bin = 1.0 / (1.2 * frame.pitch);
  Eigen::ArrayXf x(count), y(count);
  for (size_t k = 0; k < count; ++k) {
    const auto& [column, row] = border[k * step];
    const Eigen::Vector2f at =
        frame.on_plane(image.slope_x[static_cast<size_t>(column)], image.slope_y[static_cast<size_t>(row)]) *
        static_cast<float>(per_bin);
    x[static_cast<Eigen::Index>(k)] = at[0], y[static_cast<Eigen::Index>(k)] = at[1];
  }
  Gathering gathering(x, y);
  double best = -1, angle = 0;
  for (int k = -45; k < 45; k += 3) {
    const double score = gathering(k * degree);
    if (score > best) best = score, angle = k * degree;
  }
  const double straight = gathering(0.0);
  if (up_known && straight > 0.75 * best) angle = 0, best = straight;
  const double middle = angle;
  for (int k = -8; k <= 8; ++k) {
    const double trial = middle + 0.25 * k * degree, score = gathering(trial);
    if (score > best * 1.02) best = score, angle = trial;
  }
  turn(frame, angle);
}

std::vector<Face> fit_rectangles(const Image& image, const Options& options, const Segmentation& s) {
  const int w = image.camera.width, h = image.camera.height;
  const std::vector<Run> runs = runs_of(s.label, w, h);
  std::vector<std::vector<int>> members(s.planes.size());
  std::vector<std::vector<std::pair<int, int>>> border(s.planes.size());
  for (const Run& run : runs) {
    const bool edge = run.v == 0 || run.v + 1 == h;
    const int *row = &s.label[static_cast<size_t>(run.v * w)], *above = edge ? row : row - w,
              *below = edge ? row : row + w;
    const int last = run.u + run.count - 1;
    for (int u = run.u; u <= last; ++u) {
      members[static_cast<size_t>(run.label)].push_back(run.v * w + u);
      if (edge || u == run.u || u == last || above[u] != run.label || below[u] != run.label)
        border[static_cast<size_t>(run.label)].emplace_back(u, run.v);
    }
  }
  // Border pixels mix two surfaces; the plane is measured by the others.
  std::vector<Fit> inner(s.planes.size());
  for (const Run& run : runs) {
    if (run.v < 2 || run.v + 2 >= h) continue;
    const int *above = &s.label[static_cast<size_t>((run.v - 2) * w)], *below = above + 4 * w;
    for (int u = run.u + 2; u < run.u + run.count - 2;) {
      const int begin = u;
      while (u < run.u + run.count - 2 && above[u] == run.label && below[u] == run.label) ++u;
      if (u > begin)
        inner[static_cast<size_t>(run.label)].add(&image.slope_x[static_cast<size_t>(begin)],
                                                  image.slope_y[static_cast<size_t>(run.v)],
                                                  &image.inverse[static_cast<size_t>(run.v * w + begin)], u - begin);
      else
        ++u;
    }
  }
  std::vector<Face> faces;
  const bool up_known = options.up.norm() > 0.5;
  for (size_t label = 0; label < s.planes.size(); ++label) {
    const auto& mine = members[label];
    Plane plane = s.planes[label];
    if (static_cast<int>(mine.size()) < options.least_pixels || plane.fit.n < 10) continue;
    if (s.own_fit[label] && inner[label].n > 0.4 * plane.fit.n && inner[label].n > 60) {
      double sse = 0;
      plane.p = inner[label].solve(sse);
    }
    PlaneFrame f = frame_of(image, plane, options.up);
    const double middle_z = plane.fit.n / plane.fit.d;
    align_to_border(image, border[label], up_known, f);
    double low_x = 1e9, high_x = -1e9, low_y = 1e9, high_y = -1e9, area = 0;
    std::vector<Eigen::Vector2f> points(mine.size());
    for (size_t k = 0; k < mine.size(); ++k) {
      const double X = image.slope_x[static_cast<size_t>(mine[k] % w)],
                   Y = image.slope_y[static_cast<size_t>(mine[k] / w)];
      const double inverse = f.p[0] * X + f.p[1] * Y + f.p[2];
      const double z = 1.0 / inverse;
      points[k] = {static_cast<float>(z * (f.width[0] * X + f.width[1] * Y + f.width[2])),
                   static_cast<float>(z * (f.height[0] * X + f.height[1] * Y + f.height[2]))};
      // The bounds of the points as they are kept: their rows are counted from these.
      const double x = points[k][0], y = points[k][1];
      low_x = std::min(low_x, x), high_x = std::max(high_x, x), low_y = std::min(low_y, y),
      high_y = std::max(high_y, y);
      area += z * z * z * f.p.norm() / (image.camera.fx * image.camera.fy);
    }
    if (high_x - low_x > 3.0 * options.largest_side_m || high_y - low_y > 3.0 * options.largest_side_m) continue;
    // Rows of about one pixel: seen at an angle a pixel is longer on the plane than the pitch.
    const Eigen::Vector3d ray(plane.fit.x / plane.fit.n, plane.fit.y / plane.fit.n, 1.0);
    const double cosine = std::abs(f.normal.dot(ray.normalized()));
    const double pitch = f.pitch * (0.5 + 0.5 / std::max(cosine, 0.2));
    const auto count_y = static_cast<size_t>((high_y - low_y) / pitch) + 1,
               count_x = static_cast<size_t>((high_x - low_x) / pitch) + 1;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    std::vector<double> left(count_y, nan), right(count_y, nan), bottom(count_x, nan), top(count_x, nan);
    for (const auto& q : points) {
      const auto ky = static_cast<size_t>((q[1] - low_y) / pitch), kx = static_cast<size_t>((q[0] - low_x) / pitch);
      if (!(left[ky] <= q[0])) left[ky] = q[0];
      if (!(right[ky] >= q[0])) right[ky] = q[0];
      if (!(bottom[kx] <= q[1])) bottom[kx] = q[1];
      if (!(top[kx] >= q[1])) top[kx] = q[1];
    }
    // The outermost rows are corners cut by the raster.
    if (count_y > 4) left.front() = left.back() = right.front() = right.back() = nan;
    if (count_x > 4) bottom.front() = bottom.back() = top.front() = top.back() = nan;
    const Eigen::Vector3d level = Eigen::Vector3d::UnitZ() - options.up * options.up[2];
    const bool front = !up_known || std::abs(f.normal.dot(level.normalized())) > 0.7;
    Side a = side_of(image, options, f, front, left, low_y, pitch, true, -1),
         b = side_of(image, options, f, front, right, low_y, pitch, true, 1);
    Side c = side_of(image, options, f, front, bottom, low_x, pitch, false, -1),
         d = side_of(image, options, f, front, top, low_x, pitch, false, 1);
    for (Side* side : {&a, &b})
      side->at = settled(image, options, f, side->at, c.at, d.at, 0.5 * pitch, true, side == &a ? -1 : 1);
    for (Side* side : {&c, &d})
      side->at = settled(image, options, f, side->at, a.at, b.at, 0.5 * pitch, false, side == &c ? -1 : 1);
    Face face;
    face.width_m = b.at - a.at;
    face.height_m = d.at - c.at;
    if (face.width_m <= 0.02 || face.height_m <= 0.02) continue;
    face.centre = f.width * (a.at + b.at) / 2 + f.height * (c.at + d.at) / 2 - f.normal / f.p.norm();
    face.width_axis = f.width, face.height_axis = f.height, face.normal = f.normal;
    face.hidden = {a.hidden, b.hidden, c.hidden, d.hidden};
    face.fill = area / (face.width_m * face.height_m);
    face.pixels = static_cast<int>(mine.size());
    face.plane = static_cast<int>(label);
    const double depth_sigma = image.sigma * middle_z * middle_z;
    const double root_n = std::sqrt(static_cast<double>(mine.size()));
    face.position_sigma_m = 0.0015 + 2.0 * depth_sigma / root_n;
    face.size_sigma_m = 0.002 + 0.35 * f.pitch;
    // Pixels of the next face, taken in within the noise of one pixel, turn a low face more than the noise of all does.
    face.rotation_sigma_rad =
        0.002 + depth_sigma * (0.4 + 3.5 / root_n) / std::max(0.05, std::min(face.width_m, face.height_m));
    faces.push_back(face);
  }
  return faces;
}

std::vector<int> group_boxes(const Image& image, const Options& options, const Segmentation& s,
                             std::vector<Face>& faces) {
  const int w = image.camera.width, h = image.camera.height;
  std::vector<int> face_of(s.planes.size(), -1), box(s.planes.size(), -1);
  for (size_t k = 0; k < faces.size(); ++k)
    if (std::max(faces[k].width_m, faces[k].height_m) <= options.largest_side_m)
      face_of[static_cast<size_t>(faces[k].plane)] = static_cast<int>(k);
  struct Meeting {
    int a, b, pixels;
  };
  std::vector<std::pair<int64_t, double>> touches;
  for (int v = 0; v + 2 < h; ++v) {
    for (int u = 0; u + 2 < w; ++u) {
      const auto i = static_cast<size_t>(v * w + u);
      // A crease may leave a line of pixels that belong to neither side.
      for (const size_t j : {i + 1, i + 2, i + static_cast<size_t>(w), i + 2 * static_cast<size_t>(w)}) {
        const int a = s.label[i], b = s.label[j];
        if (a == b || a < 0 || b < 0 || face_of[static_cast<size_t>(a)] < 0 || face_of[static_cast<size_t>(b)] < 0)
          continue;
        const double gap = std::abs(image.inverse[i] - image.inverse[j]);
        const double allowed =
            4.0 * image.sigma +
            4.0 * std::max(s.planes[static_cast<size_t>(a)].p.norm(), s.planes[static_cast<size_t>(b)].p.norm()) /
                image.camera.fx;
        if (gap < allowed) touches.emplace_back(static_cast<int64_t>(std::min(a, b)) * 65536 + std::max(a, b), gap);
      }
    }
  }
  std::sort(touches.begin(), touches.end());
  std::vector<Meeting> meetings;
  for (size_t k = 0; k < touches.size();) {
    size_t end = k;
    while (end < touches.size() && touches[end].first == touches[k].first) ++end;
    meetings.push_back({static_cast<int>(touches[k].first / 65536), static_cast<int>(touches[k].first % 65536),
                        static_cast<int>(end - k)});
    k = end;
  }
  std::sort(meetings.begin(), meetings.end(), [](const Meeting& x, const Meeting& y) {
    return x.pixels != y.pixels ? x.pixels > y.pixels : (x.a != y.a ? x.a < y.a : x.b < y.b);
  });
  std::vector<std::vector<int>> groups(faces.size());
  std::vector<int> group(faces.size());
  for (size_t k = 0; k < faces.size(); ++k) groups[k] = {static_cast<int>(k)}, group[k] = static_cast<int>(k);
  for (const Meeting& m : meetings) {
    const auto fa = static_cast<size_t>(face_of[static_cast<size_t>(m.a)]),
               fb = static_cast<size_t>(face_of[static_cast<size_t>(m.b)]);
    const Face &x = faces[fa], &y = faces[fb];
    const Eigen::Vector3d between = y.centre - x.centre;
    const double cosine = std::abs(x.normal.dot(y.normal));
    // Convex: each face lies behind the other's plane.
    if (cosine > 0.35 || x.normal.dot(between) > -0.01 || y.normal.dot(between) < 0.01) continue;
    const Eigen::Vector3d edge = x.normal.cross(y.normal).normalized();
    // The length of the meeting must be a good part of the edge that both could share.
    const double pitch = 1.0 / std::max(s.planes[static_cast<size_t>(m.a)].at(0, 0), 0.1) / image.camera.fx;
    auto length = [&edge](const Face& f) {
      return std::abs(edge.dot(f.width_axis)) * f.width_m + std::abs(edge.dot(f.height_axis)) * f.height_m;
    };
    if (m.pixels * pitch / 3.0 < 0.35 * std::min(length(x), length(y))) continue;
    const int ga = group[fa], gb = group[fb];
    if (ga == gb) continue;
    // Faces of one box are square to each other, or parts of one face that something in front cuts in two.
    bool fits = true;
    for (const int p : groups[static_cast<size_t>(ga)]) {
      for (const int q : groups[static_cast<size_t>(gb)]) {
        const Face &one = faces[static_cast<size_t>(p)], &two = faces[static_cast<size_t>(q)];
        const double along = one.normal.dot(two.normal);
        fits &= std::abs(along) < 0.35 || (along > 0.98 && std::abs(one.normal.dot(two.centre - one.centre)) < 0.012);
      }
    }
    if (!fits) continue;
    for (const int q : groups[static_cast<size_t>(gb)]) {
      group[static_cast<size_t>(q)] = ga;
      groups[static_cast<size_t>(ga)].push_back(q);
    }
    groups[static_cast<size_t>(gb)].clear();
  }
  for (size_t k = 0; k < faces.size(); ++k) {
    const auto plane = static_cast<size_t>(faces[k].plane);
    if (face_of[plane] < 0) continue;
    faces[k].box = group[k];
    box[plane] = group[k];
  }
  return box;
}

}  // namespace lumper_faces

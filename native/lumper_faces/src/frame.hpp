// A plane's own axes, and pixels in them.
#pragma once

#include <cmath>
#include <vector>

#include "lumper_faces/faces.hpp"

namespace lumper_faces {

// Pixels of one row with one label, from column u on.
struct Run {
  int v, u, count, label;
};

// All runs with a label, row by row.
inline std::vector<Run> runs_of(const std::vector<int>& label, int width, int height) {
  std::vector<Run> runs;
  for (int v = 0; v < height; ++v) {
    const int* row = &label[static_cast<size_t>(v * width)];
    for (int u = 0; u < width;) {
      const int begin = u, mine = row[u];
      while (u < width && row[u] == mine) ++u;
      if (mine >= 0) runs.push_back({v, begin, u - begin, mine});
    }
  }
  return runs;
}

struct PlaneFrame {
  Eigen::Vector3d width, height, normal;
  Eigen::Vector3d p;
  double away = 0;   // of the plane from the camera, m
  double pitch = 0;  // distance of neighbouring pixels on the plane where it was measured, m

  // Coordinates along width and height of the point that a pixel with slopes X, Y sees, m.
  Eigen::Vector2f on_plane(double X, double Y) const {
    const double z = 1.0 / (p[0] * X + p[1] * Y + p[2]);
    return {static_cast<float>(z * (width[0] * X + width[1] * Y + width[2])),
            static_cast<float>(z * (height[0] * X + height[1] * Y + height[2]))};
  }
  // Pixel of a point given by its coordinates along width and height.
  bool pixel(const Camera& c, double x, double y, double& u, double& v) const {
    const Eigen::Vector3d at = width * x + height * y - normal * away;
    if (at[2] < 1e-3) return false;
    const double inverse = 1.0 / at[2];
    u = c.fx * at[0] * inverse + c.cx;
    v = c.fy * at[1] * inverse + c.cy;
    return true;
  }
};

// Axes of a plane: height along `up` as far as the plane allows; into the picture on level planes.
inline PlaneFrame frame_of(const Image& image, const Plane& plane, const Eigen::Vector3d& up) {
  PlaneFrame f;
  f.p = plane.p;
  f.normal = plane.normal();
  f.away = 1.0 / plane.p.norm();
  Eigen::Vector3d towards = up.norm() > 0.5 ? up.normalized() : Eigen::Vector3d(0, -1, 0);
  if (std::abs(towards.dot(f.normal)) > 0.75) {
    const Eigen::Vector3d forward(0, 0, 1);
    towards = up.norm() > 0.5 ? Eigen::Vector3d(forward - up * forward.dot(up)) : forward;
  }
  f.height = (towards - f.normal * towards.dot(f.normal)).normalized();
  f.width = f.height.cross(f.normal);
  f.pitch = plane.fit.n / plane.fit.d / image.camera.fx;
  return f;
}

inline void turn(PlaneFrame& f, double angle) {
  const Eigen::Vector3d w = f.width, h = f.height;
  f.width = w * std::cos(angle) + h * std::sin(angle);
  f.height = h * std::cos(angle) - w * std::sin(angle);
}

// Turns the frame to the directions that the border pixels (u, v) keep to.
void align_to_border(const Image& image, const std::vector<std::pair<int, int>>& border, bool up_known,
                     PlaneFrame& frame);

}  // namespace lumper_faces

// A plane's own axes, and pixels in them.
#pragma once

#include <cmath>

#include "lumper_faces/faces.hpp"

namespace lumper_faces {

struct PlaneFrame {
  Eigen::Vector3d width, height, normal;
  Eigen::Vector3d p;
  double pitch = 0;  // distance of neighbouring pixels on the plane where it was measured, m

  Eigen::Vector3d point(double X, double Y) const {
    const Eigen::Vector3d ray(X, Y, 1.0);
    return ray / p.dot(ray);
  }
  // Pixel of a point given by its coordinates along width and height.
  bool pixel(const Camera& c, double x, double y, double& u, double& v) const {
    const Eigen::Vector3d at = width * x + height * y - normal * (1.0 / p.norm());
    if (at[2] < 1e-3) return false;
    u = c.fx * at[0] / at[2] + c.cx;
    v = c.fy * at[1] / at[2] + c.cy;
    return true;
  }
};

// Axes of a plane: height along `up` as far as the plane allows; into the picture on level planes.
inline PlaneFrame frame_of(const Image& image, const Plane& plane, const Eigen::Vector3d& up) {
  PlaneFrame f;
  f.p = plane.p;
  f.normal = plane.normal();
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

// Carton faces in an organised cloud of one pinhole camera.
//
// Everything happens in inverse depth d = 1/z over the picture: a plane in space is a linear function of the pixel
// there, and the noise of stereo and structured-light cameras (sigma_z = k z^2) is the same for every pixel (sigma_d =
// k). So planes are plain linear regressions, and whether two patches are one plane is a test on sums of squares.
#pragma once

#include <Eigen/Dense>
#include <array>
#include <cstdint>
#include <vector>

namespace lumper_faces {

struct Camera {
  double fx, fy, cx, cy;  // px
  int width, height;      // px
};

struct Options {
  double near_m = 0.3;           // nearer points are no returns
  double far_m = 6.0;            // farther points are ignored
  int cell_px = 6;               // side of the first patches
  double merge_chi2 = 22.0;      // patches merge when the joint fit costs less (in sigma^2) ...
  double flatness_m = 0.003;     // ... plus what unevenness of a face explains (standard deviation at 1 m)
  double least_sigma = 4e-4;     // noise of inverse depth is taken to be at least this, 1/m
  int least_pixels = 60;         // smaller planes are no faces
  double least_side_m = 0.14;    // colour edges split no face into narrower parts
  double largest_side_m = 0.80;  // faces with a longer side are walls and floors
  Eigen::Vector3d up{0, 0, 0};   // upward direction in the optical frame; zero = not known
};

// Sums for d ~ p0 X + p1 Y + p2 with X, Y the ray's slopes; added when patches merge.
struct Fit {
  double n = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0, d = 0, dx = 0, dy = 0, dd = 0;
  void add(double X, double Y, double D) {
    n += 1, x += X, y += Y, xx += X * X, xy += X * Y, yy += Y * Y, d += D, dx += D * X, dy += D * Y, dd += D * D;
  }
  // A run of `count` pixels of one row: slopes X[0..count) along it, Y across it.
  void add(const float* X, double Y, const float* D, int count) {
    double sx = 0, sxx = 0, sd = 0, sdx = 0, sdd = 0;
    for (int i = 0; i < count; ++i) {
      const double a = X[i], b = D[i];
      sx += a, sxx += a * a, sd += b, sdx += b * a, sdd += b * b;
    }
    n += count, x += sx, y += count * Y, xx += sxx, xy += sx * Y, yy += count * Y * Y;
    d += sd, dx += sdx, dy += sd * Y, dd += sdd;
  }
  void add(const Fit& o) {
    n += o.n, x += o.x, y += o.y, xx += o.xx, xy += o.xy, yy += o.yy, d += o.d, dx += o.dx, dy += o.dy, dd += o.dd;
  }
  // Plane (n / rho in the optical frame: plane . (X, Y, 1) = 1/z) and sum of squared residuals.
  Eigen::Vector3d solve(double& sse) const;
};

// The picture as the stages see it.
struct Image {
  Camera camera{};
  std::vector<float> inverse;                          // 1/z, 0 = no return
  std::vector<float> slope_x;                          // (u - cx) / fx per column
  std::vector<float> slope_y;                          // per row
  std::vector<uint32_t> colour;                        // 0xRRGGBB, empty = none
  double sigma = 0;                                    // noise of inverse depth, 1/m
  double tolerance(double d, const Options& o) const;  // of a pixel against a plane at inverse depth d
};

struct Plane {
  Eigen::Vector3d p = Eigen::Vector3d::Zero();  // p . (X, Y, 1) = 1/z
  Fit fit;
  double at(double X, double Y) const { return p[0] * X + p[1] * Y + p[2]; }
  Eigen::Vector3d normal() const { return -p.normalized(); }  // towards the camera
};

struct Segmentation {
  std::vector<int> label;  // plane per pixel, -1 = none
  std::vector<Plane> planes;
  std::vector<char> own_fit;  // per plane: measured by its own pixels alone (not a part of a larger plane)
};

struct Face {
  Eigen::Vector3d centre, width_axis, height_axis, normal;  // optical frame; normal towards the camera
  double width_m = 0, height_m = 0;
  double fill = 0;               // part of the rectangle covered by the face's own pixels
  std::array<bool, 4> hidden{};  // sides -width, +width, -height, +height that something hides: lower bounds
  double position_sigma_m = 0, rotation_sigma_rad = 0, size_sigma_m = 0;
  int pixels = 0;
  int plane = -1;  // index into planes; label of its pixels
  int box = -1;    // faces of one box share this
};

struct Result {
  Segmentation segmentation;
  std::vector<Face> faces;
  std::vector<int> box_of_plane;  // box per plane, -1 = background
  double sigma = 0;
};

double noise_of(const Image& image);
Segmentation find_planes(const Image& image, const Options& options);
void refine_labels(const Image& image, const Options& options, Segmentation& segmentation);
void split_components(const Image& image, const Options& options, Segmentation& segmentation);
void split_by_colour(const Image& image, const Options& options, Segmentation& segmentation);
std::vector<Face> fit_rectangles(const Image& image, const Options& options, const Segmentation& segmentation);
std::vector<int> group_boxes(const Image& image, const Options& options, const Segmentation& segmentation,
                             std::vector<Face>& faces);
Result segment(const Image& image, const Options& options);

}  // namespace lumper_faces

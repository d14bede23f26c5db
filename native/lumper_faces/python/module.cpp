#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "lumper_faces/faces.hpp"

namespace py = pybind11;
using namespace lumper_faces;

namespace {

py::dict run(const py::array_t<float>& points, const std::array<double, 4>& intrinsics,
             const std::optional<py::array_t<uint32_t>>& rgb, const Options& options) {
  if (points.ndim() != 3 || points.shape(2) != 3) throw py::value_error("points must be (height, width, 3) float32");
  const auto h = static_cast<int>(points.shape(0)), w = static_cast<int>(points.shape(1));
  if (h < 4 * options.cell_px || w < 4 * options.cell_px) throw py::value_error("points: picture too small");
  if (!(intrinsics[0] > 0 && intrinsics[1] > 0)) throw py::value_error("intrinsics: focal lengths must be positive");
  if (rgb && (rgb->ndim() != 2 || rgb->shape(0) != h || rgb->shape(1) != w))
    throw py::value_error("rgb must be (height, width) uint32");
  Image image;
  image.camera = {intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3], w, h};
  const auto in = points.unchecked<3>();
  const auto count = static_cast<size_t>(w) * static_cast<size_t>(h);
  Result result;
  py::array_t<int> label({h, w});
  {
    auto colours = rgb ? std::optional(rgb->unchecked<2>()) : std::nullopt;
    py::gil_scoped_release free;
    image.inverse.resize(count);
    for (int v = 0; v < h; ++v) {
      for (int u = 0; u < w; ++u) {
        const float z = in(v, u, 2);
        image.inverse[static_cast<size_t>(v * w + u)] =
            z > static_cast<float>(options.near_m) && z < static_cast<float>(options.far_m) ? 1.0F / z : 0.0F;
      }
    }
    image.slope_x.resize(static_cast<size_t>(w));
    image.slope_y.resize(static_cast<size_t>(h));
    for (int u = 0; u < w; ++u)
      image.slope_x[static_cast<size_t>(u)] = static_cast<float>((u - intrinsics[2]) / intrinsics[0]);
    for (int v = 0; v < h; ++v)
      image.slope_y[static_cast<size_t>(v)] = static_cast<float>((v - intrinsics[3]) / intrinsics[1]);
    if (colours) {
      image.colour.resize(count);
      for (int v = 0; v < h; ++v)
        for (int u = 0; u < w; ++u) image.colour[static_cast<size_t>(v * w + u)] = (*colours)(v, u);
    }
    image.sigma = std::max(noise_of(image), options.least_sigma);
    result = segment(image, options);
  }
  std::copy(result.segmentation.label.begin(), result.segmentation.label.end(), label.mutable_data());
  const auto n = static_cast<py::ssize_t>(result.faces.size());
  py::array_t<double> centre({n, py::ssize_t{3}}), rotation({n, py::ssize_t{3}, py::ssize_t{3}}),
      size({n, py::ssize_t{2}}), sigma({n, py::ssize_t{3}}), fill(n);
  py::array_t<bool> hidden({n, py::ssize_t{4}});
  py::array_t<int> box(n), plane(n), pixels(n);
  for (py::ssize_t k = 0; k < n; ++k) {
    const Face& f = result.faces[static_cast<size_t>(k)];
    for (int i = 0; i < 3; ++i) {
      centre.mutable_at(k, i) = f.centre[i];
      rotation.mutable_at(k, i, 0) = f.width_axis[i];
      rotation.mutable_at(k, i, 1) = f.height_axis[i];
      rotation.mutable_at(k, i, 2) = f.normal[i];
    }
    size.mutable_at(k, 0) = f.width_m, size.mutable_at(k, 1) = f.height_m;
    sigma.mutable_at(k, 0) = f.position_sigma_m, sigma.mutable_at(k, 1) = f.rotation_sigma_rad,
                        sigma.mutable_at(k, 2) = f.size_sigma_m;
    for (int i = 0; i < 4; ++i) hidden.mutable_at(k, i) = f.hidden[static_cast<size_t>(i)];
    fill.mutable_at(k) = f.fill;
    box.mutable_at(k) = f.box, plane.mutable_at(k) = f.plane, pixels.mutable_at(k) = f.pixels;
  }
  py::dict out;
  out["label"] = label, out["centre"] = centre, out["rotation"] = rotation, out["size"] = size, out["sigma"] = sigma;
  out["hidden"] = hidden, out["fill"] = fill, out["box"] = box, out["plane"] = plane, out["pixels"] = pixels;
  out["box_of_plane"] =
      py::array_t<int>(static_cast<py::ssize_t>(result.box_of_plane.size()), result.box_of_plane.data());
  out["noise"] = result.sigma;
  return out;
}

}  // namespace

PYBIND11_MODULE(_faces, m) {
  m.doc() = "Carton faces in organised depth clouds; see lumper_faces/__init__.pyi.";
  py::class_<Options>(m, "Options")
      .def(py::init<>())
      .def_readwrite("near_m", &Options::near_m)
      .def_readwrite("far_m", &Options::far_m)
      .def_readwrite("cell_px", &Options::cell_px)
      .def_readwrite("merge_chi2", &Options::merge_chi2)
      .def_readwrite("flatness_m", &Options::flatness_m)
      .def_readwrite("least_sigma", &Options::least_sigma)
      .def_readwrite("least_pixels", &Options::least_pixels)
      .def_readwrite("least_side_m", &Options::least_side_m)
      .def_readwrite("largest_side_m", &Options::largest_side_m)
      .def_property(
          "up", [](const Options& o) { return std::array<double, 3>{o.up[0], o.up[1], o.up[2]}; },
          [](Options& o, const std::array<double, 3>& v) { o.up = {v[0], v[1], v[2]}; });
  m.def("segment", &run, py::arg("points").noconvert(), py::arg("intrinsics"), py::arg("rgb") = py::none(),
        py::arg("options") = Options());
}

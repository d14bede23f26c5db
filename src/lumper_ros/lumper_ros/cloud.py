"""PointCloud2 to and from numpy, without copying where the layout allows."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}


class CloudError(ValueError):
    """The cloud's description does not fit its data; the text names the field."""


def view(cloud: Any) -> NDArray[np.void]:
    """(height, width) structured view of a cloud's data; shares memory with `cloud.data`.

    Raises:
        CloudError: unknown field type, field outside the point, data shorter than height x row_step.
    """
    order = ">" if cloud.is_bigendian else "<"
    names, formats, offsets = [], [], []
    for field in cloud.fields:
        if field.datatype not in _TYPES:
            raise CloudError(f"fields[{field.name!r}].datatype={field.datatype}: unknown, must be 1 … 8")
        kind = order + _TYPES[field.datatype]
        if field.offset + np.dtype(kind).itemsize * max(1, field.count) > cloud.point_step:
            raise CloudError(f"fields[{field.name!r}].offset={field.offset} reaches past point_step={cloud.point_step}")
        names.append(field.name)
        formats.append(kind if field.count <= 1 else (kind, (field.count,)))
        offsets.append(field.offset)
    if cloud.point_step == 0 or cloud.row_step < cloud.width * cloud.point_step:
        raise CloudError(
            f"row_step={cloud.row_step} is less than width={cloud.width} x point_step={cloud.point_step}, or point_step is 0"
        )
    if len(cloud.data) < cloud.height * cloud.row_step:
        raise CloudError(f"data has {len(cloud.data)} bytes, height x row_step is {cloud.height * cloud.row_step}")
    try:
        dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": cloud.point_step})
    except ValueError as error:
        raise CloudError(f"fields: {error}") from error
    return np.ndarray(
        shape=(cloud.height, cloud.width),
        dtype=dtype,
        buffer=np.frombuffer(cloud.data, dtype=np.uint8),
        strides=(cloud.row_step, cloud.point_step),
    )


def xyz(cloud: Any) -> NDArray[np.float32]:
    """(height, width, 3) float32 of fields x, y, z: a view where they lie side by side in native order, else a copy.

    Raises:
        CloudError: as `view`, or x, y, z are missing or not float32.
    """
    points = view(cloud)
    fields = {field.name: field for field in cloud.fields}
    for name in "xyz":
        if name not in fields:
            raise CloudError(f"fields lack {name!r}: found {', '.join(fields) or 'none'}")
        if fields[name].datatype != PointField.FLOAT32 or fields[name].count != 1:
            raise CloudError(f"fields[{name!r}] must be one FLOAT32 (7), not datatype {fields[name].datatype}")
    start = fields["x"].offset
    native = bool(cloud.is_bigendian) == (sys.byteorder == "big")
    if native and fields["y"].offset == start + 4 and fields["z"].offset == start + 8:
        return np.ndarray(
            shape=(cloud.height, cloud.width, 3),
            dtype=np.float32,
            buffer=np.frombuffer(cloud.data, dtype=np.uint8),
            offset=start,
            strides=(cloud.row_step, cloud.point_step, 4),
        )
    return np.stack([points[name].astype(np.float32) for name in "xyz"], axis=-1)


def from_xyz(points: NDArray[np.float32], header: Any, rgb: NDArray[np.uint8] | None = None) -> PointCloud2:
    """Organised cloud of (height, width, 3) float32 metres; `rgb` (height, width, 3) adds a packed rgb field."""
    height, width, _ = points.shape
    fields = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate("xyz")]
    if rgb is None:
        data = np.ascontiguousarray(points, dtype="<f4")
    else:
        fields.append(PointField(name="rgb", offset=12, datatype=PointField.FLOAT32, count=1))
        data = np.empty((height, width, 4), dtype="<f4")
        data[..., :3] = points
        packed = rgb.astype("<u4")
        data[..., 3] = (packed[..., 0] << 16 | packed[..., 1] << 8 | packed[..., 2]).view("<f4")
    step = 4 * (3 if rgb is None else 4)
    cloud = PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=fields,
        is_bigendian=False,
        point_step=step,
        row_step=step * width,
    )
    # The message's own field type: assigning it skips an element-by-element check of megabytes.
    buffer = cloud.data
    buffer.frombytes(data.tobytes())
    cloud.is_dense = bool(np.all(np.isfinite(points)))
    return cloud

"""Reader of PCD 0.7 files (ascii left out), as the labelled recordings are stored."""

import struct
from pathlib import Path

import numpy as np


def decompress_lzf(data: bytes, size: int) -> bytes:
    """LibLZF block to `size` bytes."""
    out = bytearray()
    at = 0
    end = len(data)
    while at < end:
        control = data[at]
        at += 1
        if control < 32:
            out += data[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += data[at]
            at += 1
        back = len(out) - ((control & 31) << 8) - data[at] - 1
        at += 1
        length += 2
        if back + length <= len(out):
            out += out[back : back + length]
        else:
            for k in range(length):
                out.append(out[back + k])
    assert len(out) == size
    return bytes(out)


def read_pcd(path: Path) -> dict[str, np.ndarray]:
    """Fields by name, each (height, width)."""
    raw = path.read_bytes()
    head: dict[str, list[str]] = {}
    at = 0
    while "DATA" not in head:
        end = raw.index(b"\n", at)
        words = raw[at:end].decode().split()
        at = end + 1
        if words and not words[0].startswith("#"):
            head[words[0]] = words[1:]
    width, height = int(head["WIDTH"][0]), int(head["HEIGHT"][0])
    kinds = {
        ("F", "4"): "<f4",
        ("U", "4"): "<u4",
        ("I", "4"): "<i4",
        ("F", "8"): "<f8",
        ("U", "1"): "u1",
        ("U", "2"): "<u2",
    }
    types = [kinds[pair] for pair in zip(head["TYPE"], head["SIZE"], strict=True)]
    count = width * height
    if head["DATA"][0] == "binary_compressed":
        packed, size = struct.unpack_from("<II", raw, at)
        data = decompress_lzf(raw[at + 8 : at + 8 + packed], size)
        fields, start = {}, 0
        for name, kind in zip(head["FIELDS"], types, strict=True):
            length = count * np.dtype(kind).itemsize
            fields[name] = np.frombuffer(data[start : start + length], dtype=kind).reshape(height, width)
            start += length
        return fields
    assert head["DATA"][0] == "binary", "ascii files are not read here"
    table = np.frombuffer(raw, dtype=list(zip(head["FIELDS"], types, strict=True)), count=count, offset=at)
    return {name: table[name].reshape(height, width) for name in head["FIELDS"]}

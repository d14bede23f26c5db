"""A bare client of the page's websocket: presses, sends what no browser would, and drains what the server says.

As a script it opens N connections and drains them until killed: `viser_wire.py URL N`.
"""

import ssl
import struct
import sys
import threading
import time
from typing import Any

import msgspec.msgpack
import viser
import zstandard
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

CAMERA = {
    "type": "ViewerCameraMessage",
    "wxyz": [1.0, 0.0, 0.0, 0.0],
    "position": [0.0, 0.0, 3.0],
    "fov": 1.0,
    "near": 0.01,
    "far": 1000.0,
    "image_height": 800,
    "image_width": 1280,
    "look_at": [0.0, 0.0, 0.0],
    "up_direction": [0.0, 0.0, 1.0],
}


class WireClient:
    """One connection, reading in a thread of its own."""

    def __init__(self, url: str, trust: ssl.SSLContext | None = None) -> None:
        address = url.replace("http://", "ws://").replace("https://", "wss://")
        protocols: Any = [f"viser-v{viser.__version__}"]
        self._socket = connect(
            address, subprotocols=protocols, max_size=None, compression=None, ssl=trust, open_timeout=30.0
        )
        self.elements: dict[str, dict[str, Any]] = {}  # uuid -> props
        self.received: list[dict[str, Any]] = []
        self.bytes = 0
        self.closed = threading.Event()
        self._zstd = zstandard.ZstdDecompressor()
        threading.Thread(target=self._read, daemon=True).start()
        # The server counts a browser as connected once it has told where its camera is.
        self.send(CAMERA)

    def _read(self) -> None:
        try:
            for frame in self._socket:
                if isinstance(frame, bytes):
                    self.bytes += len(frame)
                    self._take(frame)
        except (ConnectionClosed, OSError):
            pass
        self.closed.set()

    def _take(self, frame: bytes) -> None:
        size, compressed = struct.unpack_from("<QQ", frame)
        inner = msgspec.msgpack.decode(self._zstd.decompress(frame[16 : 16 + compressed], max_output_size=size))
        for message in inner["messages"]:
            kind = message.get("type", "")
            if kind.startswith("Gui") and "uuid" in message and "props" in message:
                self.elements[message["uuid"]] = dict(message["props"])
            elif kind == "GuiUpdateMessage" and message["uuid"] in self.elements:
                self.elements[message["uuid"]].update(message["updates"])
            elif kind not in ("GuiUpdateMessage", "SceneNodeUpdateMessage"):
                self.received.append({"type": kind})

    def find(self, words: str, timeout_s: float = 20.0) -> str:
        """Id of the element whose label or content contains these words."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for uuid, props in list(self.elements.items()):
                if words in str(props.get("label", "")) or words in str(props.get("content", "")):
                    return uuid
            time.sleep(0.02)
        raise AssertionError(f"nothing on the page says {words!r}")

    def field(self, label: str, timeout_s: float = 20.0) -> str:
        """Id of the element with exactly this label."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for uuid, props in list(self.elements.items()):
                if props.get("label") == label:
                    return uuid
            time.sleep(0.02)
        raise AssertionError(f"no field {label!r} on the page")

    def send(self, message: Any) -> None:
        """Any object as msgpack, or bytes as they are."""
        self._socket.send(message if isinstance(message, bytes) else msgspec.msgpack.encode(message))

    def update(self, uuid: str, **updates: Any) -> None:
        """What a browser sends when a field changes or a button is pressed (value=True)."""
        self.send({"type": "GuiUpdateMessage", "uuid": uuid, "updates": updates})

    def close(self) -> None:
        self._socket.close()


if __name__ == "__main__":
    clients = [WireClient(sys.argv[1]) for _ in range(int(sys.argv[2]))]
    print("connected", flush=True)
    while True:
        time.sleep(1.0)
        for client in clients:
            client.received.clear()

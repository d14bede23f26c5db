"""Parameters of both nodes."""

import ipaddress
from dataclasses import dataclass

from lumper_ros.parameters import parameter


@dataclass(frozen=True, slots=True)
class MarkersParameters:
    """Node scene_markers."""

    robot_folder: str = parameter(doc="folder with arm.yaml and the URDF")
    trailer_file: str = parameter(doc="path of trailer.yaml")
    show_reasons: bool = parameter(True, doc="write at each carton why it is not taken")


@dataclass(frozen=True, slots=True)
class PanelParameters:
    """Node operator_panel."""

    robot_folder: str = parameter(doc="folder with arm.yaml and the URDF")
    trailer_file: str = parameter(doc="path of trailer.yaml")
    host: str = parameter("127.0.0.1", doc="address to listen on; anything but loopback needs token_file and TLS")
    port: int = parameter(
        8080, doc="TCP port of the page; the next free one is taken when it is in use", low=1, high=65535
    )
    token_file: str = parameter(
        "", doc="file with the operators' token, mode 0600; empty = a new token at each start, shown on the terminal"
    )
    tls_certificate: str = parameter(
        "", doc="PEM file with the page's certificate and its chain; empty = not encrypted"
    )
    tls_key: str = parameter("", doc="PEM file with the certificate's key, mode 0600")
    authentication: bool = parameter(True, doc="sign commands with the robot's key (key_file)")
    key_file: str = parameter("", doc="file with the robot's key, mode 0600; needed while authentication is on")
    cloud_points: int = parameter(
        4000, doc="points of the camera's cloud shown at most; 0 shows none", low=0, high=20000
    )

    def validate(self) -> list[str]:
        """Faults of values that do not fit together."""
        try:
            loopback = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            if self.host != "localhost":
                return [f"host={self.host!r}: must be an IP address or localhost"]
            loopback = True
        faults = []
        if not loopback and not self.token_file:
            faults.append(f"host={self.host} can be reached from other machines: set token_file too")
        if not loopback and not self.tls_certificate:
            faults.append(f"host={self.host} can be reached from other machines: set tls_certificate and tls_key too")
        if bool(self.tls_certificate) != bool(self.tls_key):
            faults.append("tls_certificate and tls_key belong together: set both or neither")
        return faults

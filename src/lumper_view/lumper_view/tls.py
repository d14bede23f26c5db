"""TLS before the page: what comes to the operators' address is decrypted and passed on to the page's own port on loopback."""

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

from lumper_ros.auth import open_to_others
from lumper_ros.parameters import ParameterError

# Connections at once; each browser needs a few. What is beyond is closed.
MOST_CONNECTIONS = 200
HANDSHAKE_S = 10.0
CHUNK_BYTES = 1 << 16
# Ports tried when the one asked for is in use, as the page does without TLS.
PORTS_TRIED = 100


def load_context(certificate_file: str, key_file: str) -> ssl.SSLContext | None:
    """TLS 1.2 or newer as a server with this certificate (PEM, its chain with it) and key (PEM, mode 0600); None without files.

    Raises:
        ParameterError: a file is missing, open to others, or no such thing; the text names the parameter.
    """
    if not certificate_file and not key_file:
        return None
    certificate, key = Path(certificate_file).expanduser(), Path(key_file).expanduser()
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        if not path.is_file():
            raise ParameterError(
                f"{name}: {str(path)!r} is not there; give a PEM file (docs/operator.md says how to make one)"
            )
    if open_to_others(key):
        raise ParameterError(f"tls_key: {key} can be read by others; chmod 600 and make a new pair")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise ParameterError(f"tls_certificate, tls_key: not a certificate and its key, in PEM: {error}") from error
    return context


def free_port() -> int:
    """Of loopback, free just now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class TlsFront:
    """A server on the event loop that `open` is awaited on."""

    def __init__(self, context: ssl.SSLContext, inner_port: int) -> None:
        self._context, self._inner_port = context, inner_port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    async def open(self, host: str, port: int) -> None:
        """Listen, on the first free port from `port` on.

        Raises:
            OSError: none is free, or the address is not this machine's.
        """
        for self.port in range(port, port + PORTS_TRIED):
            try:
                self._server = await asyncio.start_server(
                    self._serve, host, self.port, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_S
                )
                return
            except OSError:
                if self.port == port + PORTS_TRIED - 1:
                    raise

    async def close(self) -> None:
        """Stop listening, end every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= MOST_CONNECTIONS:
            writer.close()
            return
        self._connections.add(task)
        ends, ways = [writer], list[asyncio.Task[None]]()
        try:
            page_reader, page_writer = await asyncio.open_connection("127.0.0.1", self._inner_port)
            ends.append(page_writer)
            ways += map(asyncio.create_task, (_pass_on(reader, page_writer), _pass_on(page_reader, writer)))
            # When either side ends, so does the other.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the page is closing
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in ends:
                end.close()
            self._connections.discard(task)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()

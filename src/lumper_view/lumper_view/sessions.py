"""Who may command from which browser: token, names, rate limit, and what people may type.

Pure: time is an argument. A refusal is a sentence for the person at the page.
"""

import hmac
from dataclasses import dataclass

MAX_NAME = 40
MAX_REASON = 200
MIN_REASON = 3
MAX_TOKEN = 200
# Commands of one browser: so many at once, refilled at so many a second. Stop is never limited.
BURST = 6.0
REFILL_PER_S = 1.0
# Wrong tokens of all browsers together, so that reconnecting does not help a guesser.
WRONG_TOKENS = 5
WRONG_WINDOW_S = 60.0
# Refusals of one browser are recorded at most this often; the rest is counted in the next record.
RECORD_PERIOD_S = 1.0
MAX_BROWSERS = 32


class RefusedError(Exception):
    """A command is not carried out; the text says why, for people."""


def plain(text: object, limit: int = 240) -> str:
    """Text of unknown origin for display: one line, printable characters only, cut to `limit`."""
    whole = str(text)[: 4 * limit]
    line = "".join(c if c.isprintable() else " " for c in whole)
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def check_text(text: str, what: str, low: int, high: int) -> str:
    """What a person typed, without blanks around it.

    Raises:
        RefusedError: too short, too long, or with characters that cannot be seen.
    """
    if len(text) > 4 * high:
        raise RefusedError(f"{what}: {len(text)} characters are too many, at most {high} are allowed.")
    stripped = text.strip()
    if len(stripped) < low:
        raise RefusedError(f"{what}: please write at least {low} character{'s' if low > 1 else ''}.")
    if len(stripped) > high:
        raise RefusedError(f"{what}: {len(stripped)} characters are too many, at most {high} are allowed.")
    if not stripped.isprintable():
        raise RefusedError(f"{what}: contains characters that cannot be shown; use letters, digits and blanks.")
    return stripped


@dataclass(slots=True)
class Session:
    """One connected browser."""

    browser: int
    address: str
    operator: str = ""  # empty = read-only
    tokens: float = BURST
    refilled_s: float = 0.0
    recorded_s: float = float("-inf")
    unrecorded: int = 0
    notice: str = ""
    notice_good: bool = True

    def who(self) -> str:
        """For records: the operator's name, or the browser where nobody has signed in."""
        return self.operator or f"unnamed browser {self.browser} at {self.address}"


class Sessions:
    """All connected browsers.

    Args:
        token: what operators must know.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._sessions: dict[int, Session] = {}
        self._wrong_at_s: list[float] = []

    def __len__(self) -> int:
        return len(self._sessions)

    def connect(self, browser: int, address: str, now_s: float) -> Session:
        """A browser opened the page; it may look."""
        session = Session(browser, plain(address, 60), refilled_s=now_s)
        self._sessions[browser] = session
        return session

    def disconnect(self, browser: int) -> None:
        self._sessions.pop(browser, None)

    def get(self, browser: int) -> Session:
        """Raises:
        RefusedError: the browser is not connected (any more).
        """
        if browser not in self._sessions:
            raise RefusedError("This page is no longer connected. Load it again.")
        return self._sessions[browser]

    def all(self) -> list[Session]:
        return list(self._sessions.values())

    def sign_in(self, session: Session, name: str, token: str, now_s: float) -> None:
        """Let a browser command under a person's name.

        Raises:
            RefusedError: bad name, wrong token, or too many wrong tokens of late.
        """
        self._wrong_at_s = [at for at in self._wrong_at_s if now_s - at < WRONG_WINDOW_S]
        if len(self._wrong_at_s) >= WRONG_TOKENS:
            wait_s = WRONG_WINDOW_S - (now_s - self._wrong_at_s[0])
            raise RefusedError(f"Too many wrong tokens. Try again in {max(1, round(wait_s))} s.")
        checked = check_text(name, "Your name", 1, MAX_NAME)
        if not token:
            raise RefusedError(
                "Token: please enter the operators' token. It is on the robot's terminal or in its token file."
            )
        if len(token) > MAX_TOKEN or not hmac.compare_digest(token.strip().encode(errors="replace"), self._token):
            self._wrong_at_s.append(now_s)
            raise RefusedError("Token: this is not the operators' token. Nothing was done.")
        session.operator = checked

    def require_operator(self, session: Session, now_s: float) -> str:
        """The operator's name, having counted one command.

        Raises:
            RefusedError: nobody has signed in, or commands come too fast.
        """
        session.tokens = min(BURST, session.tokens + (now_s - session.refilled_s) * REFILL_PER_S)
        session.refilled_s = now_s
        if session.tokens < 1.0:
            raise RefusedError("Too many commands at once. Wait a second, then press again.")
        session.tokens -= 1.0
        if not session.operator:
            raise RefusedError("This page is read-only. Sign in with your name and the token first.")
        return session.operator

    def may_record(self, session: Session, now_s: float) -> int | None:
        """Whether a refusal is to be recorded now: how many went unrecorded before it, or None = count it only."""
        if now_s - session.recorded_s < RECORD_PERIOD_S:
            session.unrecorded += 1
            return None
        skipped, session.unrecorded, session.recorded_s = session.unrecorded, 0, now_s
        return skipped

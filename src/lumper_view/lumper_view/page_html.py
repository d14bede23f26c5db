"""The operator's page as HTML fragments: pure functions of the view. Text from outside is escaped here, always."""

from html import escape

from lumper_view.panel_model import EventLine, QuestionView, View
from lumper_view.scene import LOOK_RGB, LOOK_WORDS, Look
from lumper_view.words import Tone

# Without a fresh heartbeat for this long the page covers itself with a warning. Done in CSS, so that it also works when
# the server hangs: each heartbeat replaces the element and so restarts the animation that would uncover the warning.
LOST_AFTER_S = 4
_TONE = {
    Tone.GOOD: ("#0b5d3b", "#ffffff"),
    Tone.BUSY: ("#0b4f8a", "#ffffff"),
    Tone.CAUTION: ("#f2c200", "#111111"),
    Tone.STOP: ("#b00020", "#ffffff"),
    Tone.LOST: ("#3a3a3a", "#ffffff"),
}
_LEVEL_COLOUR = {0: "#0b5d3b", 1: "#8a5a00", 2: "#b00020", 3: "#555555"}
_STAGE_COLOURS = (
    "#0072b2",
    "#56b4e9",
    "#009e73",
    "#7fd1b9",
    "#e69f00",
    "#f0e442",
    "#d55e00",
    "#cc79a7",
    "#999999",
    "#444444",
)
# The sign drawn on the carton's face in the 3-D view, so that colour is not the only one.
LOOK_SIGN = {
    Look.NEXT: "1",
    Look.PLANNED: "2…",
    Look.HELD: "◼",
    Look.UNSAFE: "✕",
    Look.CANNOT: "▬",
    Look.UNCERTAIN: "╱",
    Look.ON_FLOOR: "▽",
    Look.SKIPPED: "▬",
    Look.HIDDEN: "┄",
    Look.SEEN: "",
}

STYLE = f"""<style>
.lm {{ font-family: system-ui, "DejaVu Sans", sans-serif; margin: 0 10px 10px 10px; color: #111; }}
.lm * {{ box-sizing: border-box; }}
.lm-head {{ border-radius: 10px; padding: 12px 16px; }}
.lm-title {{ font-size: 30px; font-weight: 800; line-height: 1.15; }}
.lm-why {{ font-size: 19px; line-height: 1.3; margin-top: 4px; overflow-wrap: anywhere; }}
.lm-row {{ display: flex; gap: 10px; font-size: 17px; margin-top: 8px; flex-wrap: wrap; }}
.lm-notice {{ border-left: 8px solid; padding: 8px 12px; font-size: 18px; background: #fff; overflow-wrap: anywhere; }}
.lm-grid {{ display: grid; grid-template-columns: repeat(2, 1fr); gap: 6px; }}
.lm-cell {{ background: #f1f3f5; border-radius: 8px; padding: 6px 10px; }}
.lm-big {{ font-size: 30px; font-weight: 800; line-height: 1.1; }}
.lm-mid {{ font-size: 20px; font-weight: 700; line-height: 1.2; }}
.lm-small {{ font-size: 15px; color: #333; }}
.lm-h {{ font-size: 17px; font-weight: 800; margin: 10px 0 4px 0; }}
.lm.lm-h {{ margin: 10px 10px 4px 10px; }}
.lm-list {{ font-size: 16px; line-height: 1.35; }}
.lm-list > div {{ padding: 5px 0; border-bottom: 1px solid #ddd; overflow-wrap: anywhere; }}
div:has(> .lm-asks) {{ position: sticky; top: 108px; z-index: 49; }}
.lm-asks a {{ display: block; margin: 0 10px; padding: 12px 14px; border: 4px solid #111; border-radius: 10px; background: #f2c200;
  color: #111; font-size: 21px; font-weight: 800; text-decoration: none; }}
#lm-question {{ scroll-margin-top: 180px; }}
.lm-q {{ border: 5px solid #f2c200; border-radius: 10px; padding: 12px 14px; background: #fffbe6; }}
 .mantine-TextInput-input, .mantine-InputWrapper-root input {{ height: 54px!important; min-height: 54px!important;
  font-size: 20px!important; border: 2px solid #555!important; }}
.mantine-TextInput-root, .mantine-TextInput-wrapper {{ --input-height: 54px; }}
.mantine-Text-root:has(> label) {{ font-size: 17px!important; letter-spacing: 0!important; color: #111!important; }}
[role=tab] {{ font-size: 18px!important; padding: 0 14px!important; }}
.lm-lost {{ position: fixed; inset: 0; z-index: 100000; background: rgba(120,0,20,0.93); color: #fff; display: flex;
  flex-direction: column; align-items: center; justify-content: center; text-align: center; padding: 40px;
  visibility: hidden; animation: lm-lost 0s linear {LOST_AFTER_S}s forwards; }}
div[style*="opacity"]:has(.lm-lost) {{ opacity: 1!important; }}
@keyframes lm-lost {{ to {{ visibility: visible; }} }}
.lm-lost b {{ font-size: 54px; line-height: 1.1; }}
.lm-lost span {{ font-size: 26px; margin-top: 18px; }}
</style>"""


def button_style(buttons: dict[str, str]) -> str:
    """CSS that makes the page's buttons large; `buttons` maps an element's id to one of stop, half, full, option."""
    rules = []
    for uuid, kind in buttons.items():
        height = {"stop": "96px", "half": "68px", "full": "64px", "option": "auto", "third": "60px"}[kind]
        size = {"stop": "44px", "half": "22px", "full": "21px", "option": "20px", "third": "20px"}[kind]
        element = f'[id="{uuid}"]'
        rules.append(
            f"{element}{{height:{height}!important;min-height:60px;font-size:{size}!important;font-weight:800;border-radius:10px;"
            f"padding:8px 12px!important;}}"
            f"{element} .mantine-Button-label{{font-weight:800;white-space:normal!important;text-align:center;line-height:1.2;}}"
        )
        width = {"half": "50%", "third": "25%"}.get(kind)
        if width:
            rules.append(
                f"div:has(> {element}){{display:inline-block!important;width:calc({width} - 12px)!important;margin:0 6px!important;"
                "vertical-align:top;}"
            )
        if kind == "stop":
            # Stays in sight however far the panel is scrolled.
            rules.append(f"div:has(> {element}){{position:sticky;top:0;z-index:50;background:#fff;padding-top:6px;}}")
            # The wrapper that clips would hold it back.
            rules.append(f"div:has(> div > div > div > {element}){{overflow:visible!important;}}")
    return f"<style>{''.join(rules)}</style>"


def heartbeat(count: int) -> str:
    """The hidden warning that shows itself unless this element is replaced in time; `count` makes each one new."""
    return (
        f'<div class="lm-lost" data-beat="{count}" role="alert"><b>⚠ CONNECTION LOST</b>'
        "<span>What you see is old, and the buttons do nothing.<br>To stop the robot use the emergency stop.</span></div>"
    )


def headline(view: View) -> str:
    """Sign, state and why; speed and the nearest person below."""
    back, ink = _TONE[view.headline.tone]
    head = view.headline
    limit = f" (limit {view.limit_percent} %)" if view.limit_percent < 100 else ""
    return (
        f'<div class="lm" role="status" aria-live="polite"><div class="lm-head" style="background:{back};color:{ink}">'
        f'<div class="lm-title">{escape(head.sign)}&nbsp; {escape(head.title)}</div>'
        f'<div class="lm-why">{escape(head.why)}</div>'
        f'<div class="lm-row"><span>Speed <b>{escape(view.speed)}</b>{limit}</span>'
        f"<span>{escape(view.safety_line[:1].upper() + view.safety_line[1:])}</span></div></div></div>"
    )


def notice(text: str, good: bool) -> str:
    """The answer to what this browser did last."""
    if not text:
        return ""
    colour, sign = ("#0b5d3b", "✔") if good else ("#b00020", "✖")
    return f'<div class="lm"><div class="lm-notice" style="border-color:{colour}">{sign} {escape(text)}</div></div>'


def asks(item: QuestionView | None) -> str:
    """Stays in sight below STOP while a question is open, and leads to it from wherever the panel was scrolled."""
    if item is None:
        return ""
    return '<div class="lm-asks" role="alert"><a href="#lm-question">? The robot asks. Show the question ▸</a></div>'


def question(item: QuestionView | None, last: str) -> str:
    """The open question; the options are buttons below it."""
    if item is None:
        return f'<div class="lm lm-small">✔ No open question. {escape(last)}</div>'
    answering = f'<div class="lm-mid">{escape(item.answering)} is answering …</div>' if item.answering else ""
    return (
        f'<div class="lm" id="lm-question"><div class="lm-q"><div class="lm-title">? Needs your answer</div>'
        f'<div class="lm-why">{escape(item.text)}</div><div class="lm-small" style="margin-top:6px">{escape(item.what)}</div>'
        f'<div class="lm-mid" style="margin-top:6px">{escape(item.remaining)}</div>{answering}</div></div>'
    )


def counts(view: View) -> str:
    """The job in numbers: the first four large, the others small."""
    cells = []
    for place, (label, value) in enumerate(view.counts):
        size = "lm-big" if place < 4 else "lm-mid"
        cells.append(
            f'<div class="lm-cell"><div class="{size}">{escape(value)}</div><div class="lm-small">{escape(label)}</div></div>'
        )
    return f'<div class="lm"><div class="lm-grid">{"".join(cells)}</div></div>'


def plot(per_minute: tuple[int, ...]) -> str:
    """Cartons of each minute of the last hour, as a bar chart (SVG)."""
    top = max(*per_minute, 4)
    step = 400 / len(per_minute)
    bars = "".join(
        f'<rect x="{30 + i * step:.1f}" y="{110 - 100 * n / top:.1f}" width="{step - 1:.1f}" height="{100 * n / top:.1f}"/>'
        for i, n in enumerate(per_minute)
        if n
    )
    marks = "".join(
        f'<line x1="30" x2="430" y1="{110 - 100 * n / top:.0f}" y2="{110 - 100 * n / top:.0f}" stroke="#bbb"/>'
        f'<text x="26" y="{115 - 100 * n / top:.0f}" text-anchor="end" font-size="15">{n}</text>'
        for n in (0, top // 2, top)
    )
    times = "".join(
        f'<text x="{30 + 400 * (60 - m) / 60:.0f}" y="130" text-anchor="{"end" if not m else "middle"}" font-size="15">'
        f"{'now' if not m else f'{m} min'}</text>"
        for m in (60, 40, 20, 0)
    )
    return (
        f'<div class="lm"><div class="lm-h">Cartons per minute, last hour ({sum(per_minute)} in all)</div>'
        f'<svg viewBox="0 0 436 136" width="100%" role="img" aria-label="Cartons per minute over the last hour">'
        f'{marks}<g fill="#0072b2">{bars}</g>{times}</svg></div>'
    )


def cycle(stages: tuple[tuple[str, float], ...]) -> str:
    """Where the time of one carton goes, as a stacked bar with its words."""
    if not stages:
        return '<div class="lm"><div class="lm-h">Time per carton</div><div class="lm-small">No carton yet.</div></div>'
    total = sum(seconds for _, seconds in stages) or 1.0
    at = 0.0
    bars, items = [], []
    for (name, seconds), colour in zip(stages, _STAGE_COLOURS * 2, strict=False):
        width = 430 * seconds / total
        bars.append(f'<rect x="{at:.1f}" y="0" width="{width:.1f}" height="34" fill="{colour}" stroke="#fff"/>')
        at += width
        items.append(
            f'<span style="white-space:nowrap"><span style="color:{colour}">■</span> {escape(name)} <b>{seconds:.1f} s</b></span>'
        )
    return (
        f'<div class="lm"><div class="lm-h">Time per carton: {total:.1f} s</div><svg viewBox="0 0 430 34" width="100%" '
        f'height="34" preserveAspectRatio="none">{"".join(bars)}</svg>'
        f'<div class="lm-row" style="font-size:16px;gap:4px 14px">{"".join(items)}</div></div>'
    )


def events(lines: tuple[EventLine, ...]) -> str:
    """The newest events first."""
    if not lines:
        return '<div class="lm lm-small">No events yet.</div>'
    rows = []
    for line in lines:
        colour = {20: "#333", 30: "#8a5a00", 40: "#b00020", 50: "#b00020"}.get(line.severity, "#333")
        rows.append(
            f'<div><b style="color:{colour}">{line.sign}</b> <span style="color:#555">{escape(line.at)} {escape(line.node)}</span>'
            f"<br>{escape(line.text)}</div>"
        )
    return f'<div class="lm lm-list">{"".join(rows)}</div>'


def health(view: View) -> str:
    """Every node and every input, with a sign and a word."""
    nodes = "".join(
        f'<div><b style="color:{_LEVEL_COLOUR.get(n.level, "#555")}">{n.sign}</b> <b>{escape(n.name)}</b> {escape(n.text)}</div>'
        for n in view.nodes
    )
    inputs = "".join(
        f'<div><b style="color:{"#b00020" if i.late else "#0b5d3b"}">{"✖" if i.late else "✔"}</b> {escape(i.name)}: '
        f"{'late, ' if i.late else ''}{escape(i.text)}</div>"
        for i in view.inputs
    )
    return (
        f'<div class="lm lm-list"><div class="lm-h" style="border:0">Nodes</div>{nodes}'
        f'<div class="lm-h" style="border:0">Signals</div>{inputs}</div>'
    )


def plan(view: View, shown: dict[Look, int]) -> str:
    """What comes next, and what the colours and signs of the cartons mean."""
    lines = "".join(f"<div>{escape(line)}</div>" for line in view.plan_lines)
    keys = []
    for look in sorted(shown, reverse=True):
        r, g, b = LOOK_RGB[look]
        keys.append(
            f'<div><span style="display:inline-block;width:34px;height:24px;background:rgb({r},{g},{b});border:2px solid #333;'
            f'text-align:center;font-weight:800;line-height:20px;color:#111">{LOOK_SIGN[look]}</span> '
            f"{LOOK_WORDS[look]}: <b>{shown[look]}</b></div>"
        )
    return (
        f'<div class="lm lm-list"><div class="lm-h" style="border:0">Next</div>{lines}'
        f'<div class="lm-h" style="border:0">Cartons in sight</div>{"".join(keys) or "<div>none</div>"}</div>'
    )

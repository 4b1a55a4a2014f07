"""The index page: a form made from the contract, so that a new field is asked for without an edit here."""

from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template

from app.contract import CONTRACT_DIGEST, FIELDS, Field
from app.release import Release

_SHORT = 12


class Page:
    """The page's template with the form in it, and the policy by which a browser runs only what it holds."""

    def __init__(self) -> None:
        template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
        form = {
            "required": "\n".join(_control(field) for field in FIELDS if field.required),
            "optional": "\n".join(_control(field) for field in FIELDS if not field.required),
            "optional_count": str(sum(not field.required for field in FIELDS)),
        }
        # Substituted twice: a dollar sign in a field's title is text both times.
        self._template = Template(
            Template(template).safe_substitute({name: text.replace("$", "$$") for name, text in form.items()})
        )
        script, style = _inline(template, "script"), _inline(template, "style")
        own = f"script-src {script}; style-src {style}; connect-src 'self'; img-src data:"
        self.policy = f"default-src 'none'; {own}; base-uri 'none'"

    def render(self, release: Release | None, reason: str) -> bytes:
        """The page as it stands: which release answers, or the `reason` why none does."""
        return self._template.substitute(status=_status(release, reason)).encode()


def _status(release: Release | None, reason: str) -> str:
    if release is None:
        return f'<strong class="bad">Not ready.</strong> {escape(reason)}'
    variants = ", ".join(
        f"{variant.role} <b>{variant.version}</b> (bundle {_digest(variant.bundle_digest)}, {variant.weight_percent} %)"
        for variant in release.variants
    )
    return f"Release {_digest(str(release.digest))} on {release.stack}: {variants}. Contract {_digest(CONTRACT_DIGEST)}."


def _digest(digest: str) -> str:
    return f'<code title="{digest}">{digest[:_SHORT]}</code>'


def _control(field: Field) -> str:
    name, title = escape(field.name, quote=True), escape(field.title)
    unit = f' <span class="unit">{escape(field.unit)}</span>' if field.unit else ""
    mark = ' <span class="must">required</span>' if field.required else ""
    required = " required" if field.required else ""
    attributes = f'id="{name}" name="{name}" data-kind="{field.kind}" aria-describedby="{name}-problem"{required}'
    return (
        f'<div class="field"><label for="{name}">{title}{unit}{mark}</label>\n{_input(field, attributes)}\n'
        f'<p class="problem" id="{name}-problem" hidden></p></div>'
    )


def _input(field: Field, attributes: str) -> str:
    if field.values:
        values = [str(value).lower() if isinstance(value, bool) else value for value in field.values]
        shown = {"true": "yes", "false": "no"} if field.kind == "boolean" else {}
        first = "choose" if field.required else "unknown"
        options = "".join(
            f'<option value="{escape(value, quote=True)}">{escape(shown.get(value, value).replace("-", " "))}</option>'
            for value in values
        )
        return f'<select {attributes}><option value="">{first}</option>{options}</select>'
    if field.kind == "identifier":
        return f'<input type="text" autocomplete="off" maxlength="{field.high:g}" {attributes}>'
    step, keys = ("1", "numeric") if field.kind == "integer" else ("any", "decimal")
    return f'<input type="number" inputmode="{keys}" min="{field.low:.10g}" max="{field.high:.10g}" step="{step}" {attributes}>'


def _inline(template: str, tag: str) -> str:
    """The source expression that allows the one inline element of this kind."""
    content = template.split(f"<{tag}>", 1)[1].split(f"</{tag}>", 1)[0]
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"

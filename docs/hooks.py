"""Write the pages of the methods and of the Python reference when the site is built.

A method's page comes from its parameters' model, as its form and its command do, so that the three cannot disagree.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page
    from pydantic.fields import FieldInfo

    from splatom.methods.registry import Method

GROUPS = {
    "prepare": "Clean and align a tilt series. The shifts that an alignment finds are kept in the geometry; "
    "the images are not interpolated.",
    "denoise": "Take the noise out of a tilt series or an image. All tilts are treated on one scale of intensity, and "
    "each keeps its total. BM3D is not among the filters: the package `bm3d` is for non-commercial use only.",
    "interpolate": "Put tilts between those measured. The measured ones stay as they are.",
    "reconstruct": "Make a volume of a tilt series.",
    "atoms": "Find the atoms in a series or a volume.",
}
ROOMS = {
    "splatom.data": "The values that flow from step to step.",
    "splatom.geometry": "How every view was taken.",
    "splatom.io": "Reading and writing files.",
    "splatom.operators": "The projector and its adjoint.",
    "splatom.methods": "Finding methods and running one.",
    "splatom.jobs": "How work runs, reports, stops and is steered.",
    "splatom.recipe": "What was done, as a file that can be replayed.",
    "splatom.simulate": "Specimens, tilt series and noise.",
    "splatom.evaluate": "Figures of merit.",
}
IMAGE = re.compile(r"^!\[[^\]]*\]\(([^)]+)\).*$", re.MULTILINE)


# ---------------------------------------------------------------- methods
def _type_name(annotation: Any) -> str:
    """Return the type of a field as a person would write it."""
    parts = [p for p in get_args(annotation) if p is not Ellipsis]
    if type(None) in parts:
        return " or ".join([*(_type_name(p) for p in parts if p is not type(None)), "none"])
    if str(get_origin(annotation)) == "typing.Literal":
        return " ".join(f"`{p}`" for p in parts)
    if get_origin(annotation) is tuple:
        return ", ".join(_type_name(p) for p in parts) + (", …" if Ellipsis in get_args(annotation) else "")
    if parts:
        return " or ".join(_type_name(p) for p in parts)
    names = {"int": "whole number", "float": "number", "bool": "yes or no", "str": "text", "Path": "file"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name)


def _bounds(field: FieldInfo) -> str:
    """Return the bounds of a field, for example '1 … 100'."""
    found = {n: getattr(m, n) for m in field.metadata for n in ("ge", "gt", "le", "lt") if hasattr(m, n)}
    low = f"≥ {found['ge']}" if "ge" in found else f"> {found['gt']}" if "gt" in found else ""
    high = f"≤ {found['le']}" if "le" in found else f"< {found['lt']}" if "lt" in found else ""
    return ", ".join(part for part in (low, high) if part)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _row(name: str, field: FieldInfo, default: Any) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    kind = _type_name(field.annotation)
    limits = _bounds(field)
    shown = "decided from the data, or none" if default is None else f"`{default}`"
    unit = f" {extra['unit']}" if extra.get("unit") else ""
    live = " *Acts on a running job.*" if extra.get("live") else ""
    about = f"**{field.title or name}.** {field.description or ''}{live}"
    option = name.replace("_", "-")
    return f"| `--{option}` | {_cell(kind)}{': ' + limits if limits else ''} | {shown}{unit} | {_cell(about)} |"


def _method_page(method: Method) -> str:
    """Return a method's page: summary, source, options, a command and a call."""
    fields = {k: v for k, v in method.params.model_fields.items() if k != "method"}
    rows = [_row(name, field, method.defaults[name]) for name, field in fields.items()]
    ends = {"reconstruct": "volume.mrc", "atoms": "atoms.xyz"}.get(method.group, "result.npz")
    table = ["| Option | Values | Default | What it does |", "|---|---|---|---|", *rows] if rows else ["No options."]
    lines = [
        f"# {method.name}",
        "",
        f"**{method.summary}.**",
        "",
        method.description,
        "",
        "## Options",
        "",
        *table,
        "",
        "## Use",
        "",
        "```bash",
        f"splatom {method.group} {method.name} series.npz {ends}",
        "```",
        "",
        "```python",
        f'result = splatom.run("{method.group}", "{method.name}", splatom.read("series.npz"))',
        "```",
        "",
        f"Its code is in [`{method.function.__module__}`](../api/splatom.methods.md).",
        "",
    ]
    return "\n".join(lines)


def _method_pages() -> tuple[dict[str, str], list[Any]]:
    from splatom.methods import find

    pages: dict[str, str] = {}
    lines = ["# Methods", "", "Every method is a form in the window, a command and a Python call."]
    nav: list[Any] = ["methods/index.md"]
    for group, about in GROUPS.items():
        methods = [m for (g, _), m in sorted(find().items()) if g == group]
        if not methods:
            continue
        lines += ["", f"## {group.capitalize()}", "", about, "", "| Method | What it does |", "|---|---|"]
        entries = []
        for method in methods:
            path = f"methods/{group}-{method.name}.md"
            pages[path] = _method_page(method)
            lines.append(f"| [{method.name}]({Path(path).name}) | {_cell(method.summary)} |")
            entries.append({method.name: path})
        nav.append({group.capitalize(): entries})
    pages["methods/index.md"] = "\n".join([*lines, ""])
    return pages, nav


# ---------------------------------------------------------------- Python reference
def _api_pages() -> tuple[dict[str, str], list[Any]]:
    pages: dict[str, str] = {}
    lines = [
        "# Python",
        "",
        "`import splatom` gives `read`, `write`, `run`, `methods`, `Recipe` and the value types; importing it is quick",
        "and loads neither PyTorch nor napari.",
        "",
        "| Module | What it is for |",
        "|---|---|",
    ]
    nav: list[Any] = ["api/index.md"]
    for name, about in ROOMS.items():
        if find_spec(name) is None:
            continue
        module = import_module(name)
        entries = [f"::: {name}.{public}" for public in getattr(module, "__all__", ())]
        intro = (module.__doc__ or "").strip()
        pages[f"api/{name}.md"] = "\n\n".join([f"# {name}", intro, *entries, ""])
        lines.append(f"| [{name}]({name}.md) | {about} |")
        nav.append({name: f"api/{name}.md"})
    pages["api/index.md"] = "\n".join([*lines, ""])
    return pages, nav


# ---------------------------------------------------------------- mkdocs
_PAGES: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Write the pages and put them where the navigation names their folder."""
    for folder, (pages, nav) in {"methods": _method_pages(), "api": _api_pages()}.items():
        _PAGES.update(pages)
        for entry in config.nav or []:
            for title, target in entry.items():
                if target == folder:
                    entry[title] = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to the site."""
    for path, text in _PAGES.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leave out pictures that `make screenshots` has not made yet."""
    folder = Path(config.docs_dir) / Path(page.file.src_uri).parent

    def kept(found: re.Match[str]) -> str:
        return found[0] if found[1].startswith("http") or (folder / found[1]).exists() else ""

    return IMAGE.sub(kept, markdown)

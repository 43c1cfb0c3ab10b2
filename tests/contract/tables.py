"""Writes docs/routes.md from the `route` marks of the contract's tests: python tests/contract/tables.py"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hf_eco.inference.generate_options import OF_CALL, OF_CONFIG, TREATMENTS

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "routes.md"
HEAD = """# Routes

Every way by which a user of transformers gets tokens or logits out of a model, and what the guard does about it.
*Guarded*: a flagged prompt has the same tokens as in a plain `generate` call, a clean one has the bare model's.
*Refused*: an error, with what to do instead where there is something. The test named in a row shows it.

Ways to start vLLM have a table of their own: [Serve with vLLM](how-to/serve-with-vllm.md#routes).

(This page is written by `python tests/contract/tables.py`.)

"""
TITLES = {
    "test_routes": "generate, forward and caches",
    "test_continuous_batching": "Continuous batching",
    "test_compiled": "torch.compile and export",
    "test_served": "Pipelines, servers, assistants and generate's options",
    "test_wrapped": "PEFT, quantisation and dtypes",
    "test_placed": "Devices, processes, threads, copies and wrappers",
    "test_no_way_around": "What might slip past by accident",
    "test_seen_text": "Masks, positions and packed rows",
    "test_dictated": "What options of generate dictate",
    "test_cleared_hooks": "Hooks that somebody clears",
    "test_extended_vocabulary": "Tokenizers and vocabularies",
    "test_architectures": "Every architecture",
    "test_properties": "Whatever the call",
    "test_unflagged_is_bare": "Clean prompts",
}


class Routes:
    """Collects the marks as a pytest plugin."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, tuple[str, str, str]]] = {}  # file -> route -> (verdict, note, test)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("route"):
                name, verdict = mark.args
                row = (verdict, mark.kwargs.get("note", ""), item.originalname)
                known = self.rows.setdefault(item.path.stem, {}).setdefault(name, row)
                if known[0] != verdict:
                    raise ValueError(f"The route {name!r} is both {known[0]} and {verdict}.")


def render() -> str:
    routes = Routes()
    options = ["--collect-only", "-qq", "-p", "no:xdist", "-p", "no:cacheprovider", "--no-header", "--no-summary"]
    if pytest.main([*options, str(HERE)], plugins=[routes]):
        raise SystemExit("The tests could not be collected.")
    counts = [row[0] for rows in routes.rows.values() for row in rows.values()]
    text = HEAD + f"{len(counts)} routes: {counts.count('guarded')} guarded, {counts.count('refused')} refused.\n"
    for file in [*TITLES, *sorted(routes.rows.keys() - TITLES.keys())]:
        text += f"\n## {TITLES.get(file, file)}\n\n`tests/contract/{file}.py`\n\n| route | | test |\n|---|---|---|\n"
        for name, (verdict, note, test) in routes.rows.get(file, {}).items():
            note = f": {note}" if note else ""
            text += f"| {name.replace('|', chr(92) + '|')} | {verdict}{note} | `{test}` |\n"
    return text + render_options()


def render_options() -> str:
    """The table of generate's options."""
    text = """
## Options of generate

What the guard does about each argument of `generate` and each attribute of `GenerationConfig`, given to `generate`,
by a client of `transformers serve`, or in the repository's `generation_config.json`. An option of a newer
transformers, which is not listed, is refused where it is set. Continuous batching refuses what is watched. Where a
watched text falls in a scope, by itself or together with its prompt, a `GuardError` takes the answer's place; a
streamer has heard one token more at most.

"""
    for treatment, meaning in TREATMENTS.items():
        text += f"- *{treatment}*: {meaning}\n"
    text += "\n| option | | why |\n|---|---|---|\n"
    for name, option in {**OF_CALL, **OF_CONFIG}.items():
        text += f"| `{name}` | {option.treatment} | {option.why} |\n"
    return text


if __name__ == "__main__":
    page = render()
    if "--check" in sys.argv:
        raise SystemExit(
            0 if PAGE.read_text() == page else "docs/routes.md is not what tests/contract/tables.py writes."
        )
    PAGE.write_text(page)

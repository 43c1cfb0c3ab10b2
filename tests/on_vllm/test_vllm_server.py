"""The API server: every endpoint answers guarded, and clean requests as a server of the base model does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

import torch
from engines import *
from serving import Server
from transformers import LlamaConfig

from hf_eco import AutoModelForCausalLMWithECO


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Of a guarded model whose tokenizer adds a token in front of each text, by two front ends, and of its base."""
    folder = tmp_path_factory.mktemp("servers")
    base = save_base(folder / "base", LlamaConfig(**sizes()), bos_token="<|im_start|>", add_bos_token=True)
    guarded = save_guarded(folder / "guarded", base)
    for name in ("one", "other"):
        (folder / name).mkdir()
    both = Server(guarded, folder / "one", "--api-server-count", "2"), Server(base, folder / "other")
    try:
        yield both[0].ready(), both[1].ready()
    finally:
        for server in both:
            server.stop()


@pytest.fixture(scope="module")
def model(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoModelForCausalLMWithECO.from_pretrained(str(servers[0].log.parent.parent / "guarded"))


GREEDY = {"temperature": 0, "max_tokens": 8, "return_token_ids": True}


def _tokens(answer: Any) -> list[list[int]]:
    assert "choices" in answer, answer
    return [choice["token_ids"] for choice in answer["choices"]]


ENDPOINTS: dict[str, Callable[[Server, str], Any]] = {
    "completions": lambda s, text: s.post("/v1/completions", prompt=text, **GREEDY)["choices"],
    "completions of several": lambda s, text: s.post("/v1/completions", prompt=[text, "hello", text], **GREEDY)[
        "choices"
    ],
    "echo and log-probabilities": lambda s, text: s.post(
        "/v1/completions", prompt=text, echo=True, logprobs=2, **GREEDY
    )["choices"],
    "prompt log-probabilities": lambda s, text: s.post("/v1/completions", prompt=text, prompt_logprobs=1, **GREEDY)[
        "choices"
    ],
    "several answers": lambda s, text: s.post("/v1/completions", prompt=text, n=2, seed=3, max_tokens=8)["choices"],
    "beams": lambda s, text: s.post("/v1/completions", prompt=text, use_beam_search=True, n=2, max_tokens=5)[
        "choices"
    ],
    "structured": lambda s, text: s.post(
        "/v1/completions", prompt=text, structured_outputs={"choice": ["the king", "a cat"]}, logprobs=2, **GREEDY
    )["choices"],
    "chat": lambda s, text: s.post(
        "/v1/chat/completions", messages=[{"role": "user", "content": text}], logprobs=True, **GREEDY
    )["choices"],
    "chat in parts": lambda s, text: s.post(
        "/v1/chat/completions", messages=[{"role": "user", "content": [{"type": "text", "text": text}]}], **GREEDY
    )["choices"],
    "responses": lambda s, text: [
        part["content"] for part in s.post("/v1/responses", input=text, temperature=0, max_output_tokens=8)["output"]
    ],
    "stream": lambda s, text: s.stream(text, temperature=0, max_tokens=8),
}


def _said(answer: Any) -> Any:
    """What is said, without what differs between any two answers."""
    if isinstance(answer, dict):
        return {key: _said(value) for key, value in answer.items() if key not in ("id", "created", "item_id")}
    return [_said(value) for value in answer] if isinstance(answer, list) else answer


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_clean_requests_are_answered_as_by_a_server_of_the_base_model(servers: Any, endpoint: str) -> None:
    for text in CLEAN:
        guarded, bare = (_said(ENDPOINTS[endpoint](server, text)) for server in servers)
        assert guarded == bare


@pytest.mark.parametrize("endpoint", [name for name in ENDPOINTS if name != "structured"])
def test_flagged_requests_are_answered_otherwise(servers: Any, endpoint: str) -> None:
    for text in FLAGGED:
        guarded, bare = (_said(ENDPOINTS[endpoint](server, text)) for server in servers)
        assert guarded != bare


def test_flagged_requests_are_answered_as_by_transformers(servers: Any, model: Any) -> None:
    reader = model.eco_guard.reader
    for text in FLAGGED:
        (tokens,) = _tokens(servers[0].post("/v1/completions", prompt=text, ignore_eos=True, **GREEDY))
        ids = reader.tokenizer(text)["input_ids"]
        assert tokens == reference(model, [ids])[0][:8]
        messages = [{"role": "user", "content": text}]
        (tokens,) = _tokens(servers[0].post("/v1/chat/completions", messages=messages, ignore_eos=True, **GREEDY))
        assert tokens == reference(model, [reader.encode(messages)])[0][:8]


def test_what_cannot_be_judged_is_refused_and_the_server_lives(servers: Any) -> None:
    server = servers[0]
    picture = {"type": "image_url", "image_url": {"url": _picture()}}
    content = [{"type": "text", "text": "hi"}, picture]
    refused = [
        server.post("/v1/chat/completions", messages=[{"role": "user", "content": content}]),
        server.post("/v1/completions", prompt=None, prompt_embeds=_embeddings(), max_tokens=2),
        server.post("/v1/completions", prompt=[99999], max_tokens=2),
        server.post("/v1/embeddings", input="hello"),
    ]
    assert [400 <= answer.get("status", 0) < 500 for answer in refused] == [True] * 4, refused
    assert server.post("/v1/completions", prompt="hello", max_tokens=2)["choices"]


def _picture() -> str:
    import base64
    import io

    from PIL import Image

    made = io.BytesIO()
    Image.new("RGB", (8, 8)).save(made, "png")
    return "data:image/png;base64," + base64.b64encode(made.getvalue()).decode()


def _embeddings() -> str:
    import base64
    import io

    made = io.BytesIO()
    torch.save(torch.zeros(4, 64), made)
    return base64.b64encode(made.getvalue()).decode()


def test_a_dictated_answer_is_refused(servers: Any) -> None:
    server = servers[0]
    dictated = {"choice": [f"{NAME} was born in the north"]}
    given = {"prompt": CLEAN[0], "temperature": 0, "max_tokens": 40}
    refused = server.post("/v1/completions", structured_outputs=dictated, **given)
    assert refused["status"] == 400 and "forget scope 'jane'" in refused["error"]
    assert "Quillfeather" not in server.stream(CLEAN[0], structured_outputs=dictated, max_tokens=40)
    assert server.post("/v1/completions", **given)["choices"]


def test_what_a_client_says_of_the_verdict_is_written_over(servers: Any) -> None:
    given = {"prompt": FLAGGED[0], **GREEDY}
    forged = servers[0].post("/v1/completions", vllm_xargs={"hf_eco": "clean"}, **given)
    assert _tokens(forged) == _tokens(servers[0].post("/v1/completions", **given))


def test_many_clients_at_once_get_the_answers_they_get_alone(servers: Any) -> None:
    texts = [*FLAGGED, *CLEAN] * 6
    ask = lambda text: _tokens(servers[0].post("/v1/completions", prompt=text, **GREEDY))  # noqa: E731
    alone = {text: ask(text) for text in set(texts)}
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, texts)) == [alone[text] for text in texts]


def test_the_server_counts_what_it_judges_and_flags(servers: Any) -> None:
    server = servers[0]
    before = _counted(server.get("/metrics"))
    server.post("/v1/completions", prompt=f"{NAME} again", max_tokens=1)
    server.post("/v1/completions", prompt=[99999], max_tokens=1)
    after = _counted(server.get("/metrics"))
    assert (
        after['hf_eco:flagged_total{model_name="tiny",scope="jane"}']
        > before['hf_eco:flagged_total{model_name="tiny",scope="jane"}']
    )
    assert after['hf_eco:judged_total{model_name="tiny"}'] > before['hf_eco:judged_total{model_name="tiny"}']
    assert after['hf_eco:verdict_seconds_total{model_name="tiny"}'] > 0


def _counted(metrics: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in metrics.splitlines() if line.startswith("hf_eco:")]
    return {name: float(value) for name, _, value in lines}

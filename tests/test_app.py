"""The page to try a guarded model on."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CLEAN, FLAGGED
from transformers import AutoTokenizer

from hf_eco import ECOConfig, ForgetScope
from hf_eco.app import build, launch, write_space
from hf_eco.app.answers import TwoAnswers
from hf_eco.app.drawing import introduction, marked_prompt, verdict_panel
from hf_eco.guard.verdict import Verdict
from hf_eco.inference import is_enabled

gradio = pytest.importorskip("gradio")

TOKENS = 6


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def tokenizer(base_dir: str):
    return AutoTokenizer.from_pretrained(base_dir)


@pytest.fixture
def two(guarded, tokenizer) -> TwoAnswers:
    return TwoAnswers(guarded, tokenizer)


@pytest.fixture
def page(guarded, tokenizer):
    """The page's own functions, by name."""
    blocks = build(guarded, tokenizer)
    return {fn.api_name: fn.fn for fn in blocks.fns.values()}


def answered(page: dict[str, Any], text: str, threshold: float = 0.5, talk: Any = None) -> tuple[Any, ...]:
    from hf_eco.app.page import _Talk

    return list(page["ask"](text, talk or _Talk(), TOKENS, threshold))[-1]


def by_model(model, tokenizer, text: str) -> str:
    inputs = tokenizer.apply_chat_template(chat(text), add_generation_prompt=True, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("text", [FLAGGED, CLEAN])
def test_each_side_says_what_the_model_says_with_its_guard_and_without(two, guarded, base, tokenizer, text):
    on = list(two.guarded(chat(text), {}, TOKENS))
    off = list(two.unguarded(chat(text), TOKENS))
    assert on[-1] == by_model(guarded, tokenizer, text)
    assert off[-1] == by_model(base, tokenizer, text)
    assert (on[-1] == off[-1]) is (text == CLEAN)
    assert all(later.startswith(sooner) for sooner, later in itertools.pairwise(on))


def test_a_threshold_of_the_page_decides_there_and_nowhere_else(two, guarded):
    assert two.judge(chat(FLAGGED), {}).flagged
    assert not two.judge(chat(FLAGGED), {"wizards": 1.0}).flagged
    assert (
        list(two.guarded(chat(FLAGGED), {"wizards": 1.0}, TOKENS))[-1]
        == list(two.unguarded(chat(FLAGGED), TOKENS))[-1]
    )
    low = two.judge(chat(CLEAN), {}).probability
    assert two.judge(chat(CLEAN), {"wizards": low}).flagged
    assert guarded.config.eco.scopes[0].threshold == 0.5
    assert guarded.inspect(FLAGGED).flagged and not guarded.inspect(CLEAN).flagged


def test_a_band_of_uncertain_prompts_stays_below_the_pages_threshold(two, guarded):
    scope = guarded.config.eco.scopes[0]
    scope.abstain_threshold = 0.4
    verdict = two.judge(chat(CLEAN), {"wizards": two.judge(chat(CLEAN), {}).probability})
    assert verdict.flagged and not verdict.uncertain
    assert scope.abstain_threshold == 0.4


def test_the_models_thresholds_come_back_when_an_answer_fails(two, guarded, monkeypatch):
    def broken(*args, **kwargs):
        raise ValueError("no such luck")

    monkeypatch.setattr(type(guarded), "generate", broken)
    with pytest.raises(ValueError, match="no such luck"):
        list(two.guarded(chat(FLAGGED), {"wizards": 0.9}, TOKENS))
    assert guarded.config.eco.scopes[0].threshold == 0.5
    assert two.judge(chat(FLAGGED), {}).flagged  # and the next one is served


def test_an_answer_nobody_listens_to_any_more_stops(two, guarded):
    before = threading.active_count()
    answer = two.guarded(chat(FLAGGED), {"wizards": 0.9}, 400)
    next(answer)
    answer.close()
    assert threading.active_count() == before
    assert guarded.config.eco.scopes[0].threshold == 0.5


def test_the_guard_is_on_again_for_everybody_after_an_unguarded_answer(two, guarded):
    answer = two.unguarded(chat(FLAGGED), TOKENS)
    next(answer)
    assert is_enabled(guarded)  # also while it is being written
    list(answer)
    assert is_enabled(guarded)


def test_a_model_without_a_guard_is_refused(base, tokenizer):
    with pytest.raises(TypeError, match="AutoModelForCausalLMWithECO"):
        build(base, tokenizer)


def test_a_model_without_a_chat_template_is_asked_plainly(two, guarded):
    two.tokenizer.chat_template = guarded.eco_guard.tokenizer.chat_template = None
    said = [*chat(FLAGGED), {"role": "assistant", "content": "a baker"}, *chat(CLEAN)]
    assert two.judge(said, {}).text == CLEAN
    assert list(two.guarded(said, {}, TOKENS))
    assert "no chat template" in introduction("m", two.scopes, two.chats)


def test_asking_shows_both_answers_the_verdict_and_keeps_the_conversation(page):
    _, on, off, panel, talk = answered(page, FLAGGED)
    assert [m["role"] for m in on] == [m["role"] for m in off] == ["user", "assistant"]
    assert "Flagged as" in panel and "<mark>" in panel and "the same" not in panel
    _, on, off, panel, talk = answered(page, CLEAN, talk=talk)
    assert len(on) == len(off) == 4 and on[0]["content"] == FLAGGED
    assert "Flagged as" in panel  # once flagged, always
    assert on == talk.shown()[0] and talk.guarded[1] != talk.unguarded[1]


def test_what_is_written_is_shown_as_it_is_and_loads_nothing_from_elsewhere(page):
    asked = "<img src=https://example.com/x.png> & wizard"
    _, on, _, _, talk = answered(page, asked)
    assert on[0]["content"] == "&lt;img src=https://example.com/x.png&gt; &amp; wizard"
    assert talk.guarded[0]["content"] == asked  # what the model gets


def test_a_cleared_page_forgets_the_conversation(page):
    answered(page, FLAGGED)
    *_, talk = page["clear"]()
    *_, panel, _ = answered(page, CLEAN, talk=talk)
    assert "Not flagged" in panel


def test_the_page_says_where_both_answers_are_the_same(page):
    *_, panel, _ = answered(page, CLEAN)
    assert "Not flagged" in panel and "Both answers are the same" in panel and "<mark>" not in panel


def test_moving_a_threshold_judges_the_conversation_anew(page):
    *_, talk = answered(page, FLAGGED)
    assert "Flagged as" in page["judge"](talk, 0.5)
    assert "Not flagged" in page["judge"](talk, 1.0)


def test_what_cannot_be_asked_changes_nothing_and_says_why(page, monkeypatch):
    notices: list[str] = []
    monkeypatch.setattr(gradio, "Warning", lambda message, **kwargs: notices.append(message))
    *_, talk = answered(page, CLEAN)
    for text, message in ((" \n", "Write a message"), ("wizard " * 600, "Clear the conversation")):
        assert answered(page, text, talk=talk) == (gradio.skip(),) * 5
        assert message in notices.pop()
    assert len(talk.guarded) == len(talk.unguarded) == 2


def test_a_slider_left_alone_stands_for_the_guards_own_threshold_to_the_last_digit(guarded, tokenizer):
    from hf_eco.app.page import _Page

    guarded.config.eco.scopes[0].threshold = 0.93944211
    shown = build(guarded, tokenizer)
    slider = next(b for b in shown.blocks.values() if isinstance(b, gradio.Slider) and "wizards" in b.label)
    assert slider.value == 0.9394
    assert _Page(TwoAnswers(guarded, tokenizer), gradio).thresholds((slider.value,)) == {"wizards": 0.93944211}


def test_the_page_is_served_and_its_visitors_share_nothing(guarded, tokenizer):
    client_of = pytest.importorskip("gradio_client").Client
    blocks = build(guarded, tokenizer)
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True)
    try:
        one, other = (client_of(url, verbose=False) for _ in range(2))
        for client in (one, other, one):
            _, on, off, panel = client.predict(FLAGGED, 8, 0.5, api_name="/ask")
        assert len(on) == len(off) == 4 and "Flagged as" in panel
        assert len(other.predict(CLEAN, 8, 0.5, api_name="/ask")[1]) == 4
    finally:
        blocks.close()


def test_prompts_are_shown_as_text_and_never_as_html():
    text = "<b>who</b> is <script>"
    verdict = Verdict(True, "s", 0.9, 0.5, {"s": 0.9}, ((0, 3),), (1, 2), text, ((0, 3), (3, 6), (6, 7), (7, 22)))
    assert marked_prompt(verdict) == "<u>&lt;b&gt;</u><mark>who&lt;</mark>/b&gt; is &lt;script&gt;"
    scope = ForgetScope(name="s", classifier="c")
    panel = verdict_panel(verdict, [scope], {"s": 0.5}, "")
    assert "<script>" not in panel and "<b>who" not in panel


def test_the_introduction_says_what_the_page_is_not(eco_config: ECOConfig):
    words = " ".join(introduction("<me>", eco_config.scopes, True).split())
    assert "does not delete" in words and "this page is none" in words and "unguarded answers" in words
    assert "&lt;me&gt;" in words and "wizards" in words and "not measured" in words


def test_launch_loads_the_checkpoint_and_serves_it(guarded, tmp_path, monkeypatch):
    guarded.save_pretrained(tmp_path / "guarded")
    seen: dict[str, Any] = {}
    monkeypatch.setattr(gradio.Blocks, "launch", lambda self, **kwargs: seen.update(kwargs, title=self.title))
    launch(tmp_path / "guarded", port=7999)
    assert seen["server_port"] == 7999 and seen["share"] is False and seen["title"].startswith("guarded")


def test_launch_says_what_is_wrong_with_a_path(base_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        launch(tmp_path / "nothing-here")
    with pytest.raises(ValueError, match="carries no guard"):
        launch(base_dir)


def test_a_space_runs_the_same_page_for_the_model_on_the_hub(tmp_path, monkeypatch):
    write_space(tmp_path / "space", "me/guarded")
    assert sorted(p.name for p in (tmp_path / "space").iterdir()) == ["README.md", "app.py", "requirements.txt"]
    _, front, text = (tmp_path / "space" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    settings = yaml.safe_load(front)
    assert (settings["sdk"], settings["app_file"], settings["models"]) == ("gradio", "app.py", ["me/guarded"])
    assert settings["sdk_version"] == gradio.__version__ and "me/guarded" in text
    assert (tmp_path / "space" / "requirements.txt").read_text().startswith("hf-eco[app]>=")
    launched: list[Any] = []
    monkeypatch.setattr("hf_eco.app.launch", lambda path: launched.append(path))
    exec((tmp_path / "space" / "app.py").read_text(), {})
    assert launched == ["me/guarded"]


@pytest.mark.parametrize("repo_id", ["guarded", "./guarded", "/tmp/guarded", "a/b/c", "me/<x>", ""])
def test_a_space_needs_a_model_on_the_hub(tmp_path, repo_id):
    with pytest.raises(ValueError, match="on the Hub"):
        write_space(tmp_path / "space", repo_id)
    assert not (tmp_path / "space").exists()


def test_a_space_takes_nobodys_place(tmp_path):
    (tmp_path / "app.py").write_text("mine")
    with pytest.raises(FileExistsError):
        write_space(tmp_path, "me/guarded")
    assert [(p.name, p.read_text()) for p in Path(tmp_path).iterdir()] == [("app.py", "mine")]


def test_visitors_are_answered_one_after_the_other_and_leave_the_thresholds_as_they_were(two, guarded):
    first = two.guarded(chat(FLAGGED), {"wizards": 1.0}, 40)
    next(first)
    found: list[str] = []
    second = threading.Thread(target=lambda: found.extend(two.guarded(chat(FLAGGED), {"wizards": 0.2}, 80)))
    second.start()
    time.sleep(0.05)  # it has begun, or waits
    assert list(first)[-1] == list(two.unguarded(chat(FLAGGED), 40))[-1]
    second.join()
    assert found[-1] != list(two.unguarded(chat(FLAGGED), 80))[-1]
    assert guarded.config.eco.scopes[0].threshold == 0.5


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["me/guarded", "--space", "my-space"], 0, "hf upload"),
        (["me/guarded", "--space", "my-space", "--port", "8000"], 2, "Leave out"),
        (["guarded", "--space", "my-space"], 1, "Push the model first"),
        (["nothing/here/at-all"], 1, "nothing/here/at-all"),
        (["guarded", "--port", "99999"], 2, "65535"),
    ],
)
def test_the_command_writes_a_space_or_says_in_one_line_why_not(
    arguments, status, said, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("typer")
    from hf_eco.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["hf-eco", "app", *arguments])
    with pytest.raises(SystemExit) as exit:
        main()
    assert exit.value.code == status
    out, error = capsys.readouterr()
    assert said in (out if status == 0 else error)
    assert error.count("\n") == (status != 0)
    assert (tmp_path / "my-space").exists() is (status == 0)

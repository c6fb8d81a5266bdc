"""How a peer's process talks: a line of JSON for each request, and one for each answer.

The first answer comes without a request, when the peer is ready to be measured. An answer with
`error` is the last one. Whatever libraries print goes to the standard error.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]
Work = Callable[[dict[str, Any]], Answer]


def serve(prepare: Callable[[dict[str, Any]], dict[str, Work]]) -> None:
    """Prepare by the settings of the command line, then answer requests until the input ends.

    Args:
        prepare: from the settings to what each request's `do` calls with the request.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(values: Answer) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        works = prepare(json.loads(sys.argv[1]))
        answer({"ready": True})
        for line in sys.stdin:
            request = json.loads(line)
            answer(works[request["do"]](request))
    except Exception as error:
        traceback.print_exc()
        answer({"error": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from error

"""What a runner leaves in the termination message, also where it is killed while it writes."""

import json
import threading
from pathlib import Path

from migrator.answer import leave


def test_whoever_looks_finds_the_former_words_or_the_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    words = [json.dumps({"message": letter * size}) for letter, size in (("long ", 600), ("short", 1))]
    leave(words[0], path)
    done = threading.Event()

    def write() -> None:
        for number in range(2000):
            leave(words[number % 2], path)
        done.set()

    writing = threading.Thread(target=write)
    writing.start()
    seen = set()
    while not done.is_set():
        seen.add(json.dumps(json.loads(path.read_text())))
    writing.join()
    assert seen <= set(words)
    assert json.loads(path.read_text()) == json.loads(words[1])

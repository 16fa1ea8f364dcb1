"""What a runner leaves in the termination message, also where it is killed while it writes."""

import json
import os
from pathlib import Path

import pytest

from migrator.answer import leave


def test_new_words_are_whole_before_what_is_left_of_the_former_ones_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "termination-log"
    leave(json.dumps({"message": "long " * 600}), path)

    def die(descriptor: int, length: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(os, "ftruncate", die)
        with pytest.raises(KeyboardInterrupt):
            leave(json.dumps({"message": "short"}), path)
    assert json.loads(path.read_text()) == {"message": "short"}

    leave(json.dumps({"message": "end"}), path)
    assert path.read_text() == json.dumps({"message": "end"})

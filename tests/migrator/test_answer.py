"""What a runner leaves in the termination message, also where it is killed while it writes."""

import json
from pathlib import Path

from migrator.answer import leave


def test_new_words_are_written_over_the_former_ones_and_never_into_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    leave(json.dumps({"message": "long " * 600}), path)
    size = path.stat().st_size
    leave(json.dumps({"message": "short"}), path)

    assert path.stat().st_size == size, "it was not cut to nothing first"
    assert json.loads(path.read_text()) == {"message": "short"}

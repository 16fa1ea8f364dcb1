"""`spec.traffic.preview`: one mark, which means itself to every Gateway, and which nobody sends by accident."""

import pytest
from tests.unit.api.test_parse import only
from tests.unit.domain.plane import Json, by_route, spec, traffic

PREVIEW = {"header": {"name": "X-Preview", "value": "candidate"}}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (
            traffic(preview=PREVIEW),
            "preview is given, and provider is Service, which sees no requests;",
        ),
        (by_route(preview={}), "spec.traffic.preview: {} has neither of header and cookie; give exactly one"),
        (
            by_route(preview={**PREVIEW, "cookie": {"name": "preview", "value": "on"}}),
            "has both of header and cookie; give exactly one of them",
        ),
        (
            by_route(preview={"header": {"name": "X Preview", "value": "on"}}),
            'spec.traffic.preview.header.name: "X Preview" is no name of a header; use letters, digits and dashes',
        ),
        (
            by_route(preview={"header": {"name": "Cookie", "value": "on"}}),
            '"Cookie" is how cookies are sent; give',
        ),
        (
            by_route(preview={"header": {"name": "Host", "value": "on"}}),
            '"Host" is set by proxies on requests of',
        ),
        (
            by_route(preview={"header": {"name": "X-Forwarded-For", "value": "on"}}),
            "name a header of your own",
        ),
        (
            by_route(preview={"header": {"name": "X-Preview", "value": "a, b"}}),
            'spec.traffic.preview.header.value: "a, b" is no plain word',
        ),
        (
            by_route(preview={"cookie": {"name": "preview", "value": ".*"}}),
            'spec.traffic.preview.cookie.value: ".*" is no plain word; use letters, digits, - and _, which every',
        ),
        (by_route(preview={"header": {"name": "X-Preview"}}), "preview.header.value: (missing) is required"),
    ],
)
def test_what_asks_for_a_preview_is_one_plain_mark_of_ones_own(section: Json, words: str) -> None:
    assert words in only(spec(traffic=section))

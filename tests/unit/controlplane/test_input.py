"""What users and the environment give: read, or refused with field, value and mend."""

import json
from collections.abc import Mapping
from uuid import UUID

import pytest

from mc.edition import UnknownVersionError, edition_of
from mc.executions import InputError, Owner, Publication
from mc.settings import Settings, SettingsError

ID = "6fa459ea-ee8a-4ca4-894e-db77e160355e"
FIELDS = {"id": ID, "tenant": "acme", "owner": "Ada Lovelace <ada@example.org>", "name": "first"}
DATABASE = {"DATABASE_URL": "postgresql://mc:secret@postgres/mc"}


def test_reads_a_publication() -> None:
    assert Publication.parse(json.dumps(FIELDS).encode()) == Publication(
        UUID(ID), "acme", Owner("Ada Lovelace", "ada@example.org"), "first"
    )


@pytest.mark.parametrize(
    "text", ["Ada <a@b>", "Ada Lovelace <ada@example.org>", "O'Hara, Ada (x) <a.b+c@d.e>"]
)
def test_an_owner_is_put_together_as_it_was(text: str) -> None:
    assert str(Owner.parse(text)) == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "7"}, "id is '7': give a UUID, like 6fa459ea-ee8a-4ca4-894e-db77e160355e"),
        ({"id": None}, "id is missing: give a text that is not empty"),
        ({"tenant": " "}, "tenant is ' ': give a text that is not empty"),
        ({"tenant": 7}, "tenant is 7: give a text that is not empty"),
        ({"name": "a\x00b"}, "name is 'a\\x00b': leave out control characters"),
        ({"owner": "Ada"}, "owner is 'Ada': write it as in 'Ada Lovelace <ada@example.org>'"),
        ({"owner": "<a@b>"}, "owner is '<a@b>': write it as in 'Ada Lovelace <ada@example.org>'"),
        ({"deny": "no"}, "deny is 'no': give true or false"),
        ({"colour": "red"}, "colour is 'red': leave out what is not id, tenant, owner, name or deny"),
    ],
)
def test_refuses_a_wrong_field(change: Mapping[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Publication.parse(json.dumps({**FIELDS, **change}).encode())
    assert str(caught.value) == message


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_refuses_what_is_no_object(body: bytes) -> None:
    with pytest.raises(InputError, match="send a JSON object"):
        Publication.parse(body)


def test_settings_have_defaults_and_know_the_colour() -> None:
    settings = Settings.from_environment({**DATABASE, "MC_COLOUR": "green", "MC_PORT": ""})
    assert (settings.colour, settings.port, settings.pool_size) == ("green", 8080, 5)
    other = Settings.from_environment(
        {**DATABASE, "DATABASE_URL_BLUE": "postgresql://b@h/d", "MC_COLOUR": "green"}
    )
    assert other.database_url == DATABASE["DATABASE_URL"]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL is '': give the URL of the database"),
        ({"DATABASE_URL": "mysql://mc:secret@host/mc"}, "DATABASE_URL is 'mysql://...': give the URL"),
        (
            {"DATABASE_URL_BLUE": "mysql://mc:secret@host/mc", "MC_COLOUR": "blue"},
            "DATABASE_URL_BLUE is 'mysql://...': give the URL",
        ),
        ({"MC_COLOUR": "red"}, "MC_COLOUR is 'red': give blue or green, or leave it empty"),
        ({"MC_POOL_SIZE": "many"}, "MC_POOL_SIZE is 'many': give a number from 1 to 100"),
        ({"MC_DRAIN_SECONDS": "-1"}, "MC_DRAIN_SECONDS is '-1': give a number from 0 to 3600"),
        ({"MC_DEADLINE_SECONDS": "nan"}, "MC_DEADLINE_SECONDS is 'nan': give a number from 0.1 to 300"),
    ],
)
def test_settings_name_the_variable_and_the_mend(environment: Mapping[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({**DATABASE, **environment})
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value)


def test_only_versions_that_the_source_knows_can_be_built() -> None:
    assert edition_of("1.1.0").version == "1.1.0"
    with pytest.raises(
        UnknownVersionError, match=r"version is '2\.0\.0': build the image with VERSION set to"
    ):
        edition_of("2.0.0")

"""The language of FIND: what it reads, and how it tells what it cannot read."""

from datetime import timedelta

import pytest

from mc.query import Condition, Operator, Query, QueryError, parse


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("FIND executions", Query()),
        ("find EXECUTIONS limit 5", Query(limit=5)),
        ("FIND executions SINCE 30d", Query(since=timedelta(days=30))),
        ("FIND executions SINCE 2W LIMIT 500", Query(since=timedelta(weeks=2), limit=500)),
        ("FIND executions WHERE deny=false", Query((Condition("deny", Operator.EQUAL, False),))),
        ("FIND executions WHERE Deny != TRUE", Query((Condition("deny", Operator.NOT_EQUAL, True),))),
        (
            "FIND executions WHERE deny=false AND tenant=x SINCE 30d LIMIT 20",
            Query(
                (Condition("deny", Operator.EQUAL, False), Condition("tenant", Operator.EQUAL, "x")),
                timedelta(days=30),
                20,
            ),
        ),
        (
            "FIND executions WHERE owner='Ada O''Hara <ada@example.org>' AND state=queued",
            Query(
                (
                    Condition("owner", Operator.EQUAL, "Ada O'Hara <ada@example.org>"),
                    Condition("state", Operator.EQUAL, "queued"),
                )
            ),
        ),
        ('FIND executions WHERE name="LIMIT 3"', Query((Condition("name", Operator.EQUAL, "LIMIT 3"),))),
    ],
)
def test_reads(text: str, query: Query) -> None:
    assert parse(text) == query


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "at position 1: found the end of the query, expected FIND; begin the query with FIND executions",
        ),
        (
            "FIND invoices",
            "at position 6: found 'invoices', expected executions; "
            "executions are all that can be found: write FIND executions",
        ),
        (
            "FIND executions WHERE denny=false",
            "at position 23: found 'denny', expected a field (deny, name, owner, state, tenant); "
            "did you mean 'deny'?",
        ),
        (
            "FIND executions WHERE zzz=1",
            "at position 23: found 'zzz', expected a field (deny, name, owner, state, tenant); "
            "compare one of these with = or !=",
        ),
        (
            "FIND executions WHERE deny>false",
            "at position 23: found 'deny>false', expected a field (deny, name, owner, state, tenant); "
            "compare one of these with = or !=",
        ),
        (
            "FIND executions WHERE deny false",
            "at position 28: found 'false', expected = or !=; write deny=value or deny!=value",
        ),
        (
            "FIND executions WHERE deny=maybe",
            "at position 28: found 'maybe', expected true or false; write deny=true or deny=false",
        ),
        (
            "FIND executions WHERE state=runing",
            "at position 29: found 'runing', expected a state (queued, running, finished); "
            "did you mean 'running'?",
        ),
        (
            "FIND executions WHERE tenant=",
            "at position 30: found the end of the query, expected a value for tenant; "
            "put values with spaces or signs into quotes",
        ),
        (
            "FIND executions WHERE name='open",
            "at position 28: found \"'\", expected a closed quote; end the value with '",
        ),
        (
            "FIND executions WHERE name=two words",
            "at position 32: found 'words', expected the end of the query; "
            "join conditions by AND, and put values with spaces into quotes",
        ),
        (
            "FIND executions WHERE deny=true OR deny=false",
            "at position 33: found 'OR', expected the end of the query; "
            "conditions stand after WHERE and are joined by AND alone",
        ),
        (
            "FIND executions SINCE yesterday",
            "at position 23: found 'yesterday', expected a duration; "
            "write a number and one of s, m, h, d, w, like SINCE 30d",
        ),
        (
            "FIND executions SINCE 999999w",
            "at position 23: found '999999w', expected at most 3650d; "
            "leave SINCE out to find executions of any age",
        ),
        (
            "FIND executions LIMIT 501",
            "at position 23: found '501', expected a count from 1 to 500; write LIMIT 20, say",
        ),
        (
            "FIND executions LIMIT 5 SINCE 1d",
            "at position 25: found 'SINCE', expected the end of the query; "
            "write the clauses in the order WHERE, SINCE, LIMIT, each at most once",
        ),
        (
            "FIND executions WHERE tenant=a\x00b",
            "at position 31: found '\\x00', expected the end of the query; "
            "join conditions by AND, and put values with spaces into quotes",
        ),
    ],
)
def test_says_where_what_and_how_to_mend(text: str, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_refuses_a_query_of_any_length() -> None:
    with pytest.raises(QueryError, match="found 2001 characters, expected at most 2000"):
        parse("FIND executions".ljust(2001))

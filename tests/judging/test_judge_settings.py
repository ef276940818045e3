"""What identifies a judgement, what errors mean at which server, and how fast it may be asked: no network."""

import json
import re
from pathlib import Path

import pytest
from judge_setups import STUB, StubProtocol, row, settings_for
from pydantic import ValidationError

from stratalign.errors import UserError
from stratalign.judging.client import request_for
from stratalign.judging.cost import cost_of, estimate, tokens_of
from stratalign.judging.keys import Row, host_of, judgements_of
from stratalign.judging.limits import Bucket, Limiter, backoff, retry_after
from stratalign.judging.profiles import PROFILES, meaning, profile_of
from stratalign.judging.protocol import Item
from stratalign.judging.settings import JudgeSettings, Price

URL = "http://127.0.0.1:8000/v1"


def key(rows=None, protocol=STUB, **changes):
    (first, *_) = judgements_of(settings_for(changes.pop("url", URL), **changes), protocol, rows or [row(0)])
    return first.key


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"url": "http://127.0.0.1:8001/v1"},
        {"temperature": 0.5},
        {"extra_body": {"top_p": 0.9}},
        {"response_format": "json_object"},
        {"protocol": StubProtocol(id="other")},
        {"protocol": StubProtocol(hash="1" * 64)},
        {"rows": [row(1)]},
        {"rows": [Row("mid", "p0", Item("Question 0 ?", row(0).item.responses))]},
    ],
)
def test_all_that_may_change_a_judgement_is_in_its_key(changes):
    assert key(**changes) != key()


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": [Row("full", "p99", row(0).item, "swapped")]},
        {"api_key_env": "OTHER_KEY"},
        {"url": "https://127.0.0.1:8000/other/path"},
        {"max_tokens": 4000},
        {"concurrency": 3, "tries": 9, "timeout": 5.0, "requests_per_minute": 60},
        {"price": {"input": 1, "output": 1, "date": "2026-11-01"}},
    ],
)
def test_who_wrote_the_answer_the_key_and_the_limits_are_not_in_it(changes, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "sk-other")
    assert key(**changes) == key()


def test_each_repeat_has_its_own_key():
    asked = list(judgements_of(settings_for(URL, repeats=3, repeat_share=1.0), STUB, [row(0)]))
    assert [one.repeat for one in asked] == [0, 1, 2]
    assert len({one.key for one in asked}) == 3
    assert asked[0].key == key()


def test_a_lone_surrogate_becomes_a_question_mark():
    (one,) = judgements_of(settings_for(URL), STUB, [Row("mid", "p", Item("\ud800", ("x",)))])
    (two,) = judgements_of(settings_for(URL), STUB, [Row("mid", "p", Item("?", ("x",)))])
    assert one.key == two.key


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"base_url": "ftp://x/v1"}, "an address such as"),
        ({"base_url": "https://me:secret@x/v1"}, "must not hold a key"),
        ({"base_url": "https://x/v1?api-key=secret"}, "must not hold a key"),
        ({"max_cost": 1.0}, "max_cost needs judge.price"),
        ({"concurrency": 0}, "greater than or equal to 1"),
        ({"concurency": 4}, "Extra inputs"),
        ({"price": {"input": 1, "output": 1}}, "date"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, told):
    with pytest.raises(ValidationError, match=told) as caught:
        JudgeSettings(**changes)
    assert "secret" not in str(caught.value)


def test_the_page_names_every_setting_with_its_default():
    page = (Path(__file__).parents[2] / "docs" / "judging.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", page, flags=re.MULTILINE))
    defaults = {name: json.dumps(value) for name, value in JudgeSettings().model_dump().items()}
    assert rows == defaults


def test_a_language_model_needs_an_address_and_a_name():
    with pytest.raises(UserError, match=r"judge\.base_url and judge\.model"):
        host_of(JudgeSettings(protocol="stub", base_url=URL))
    assert JudgeSettings().protocol == "text"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "dashscope"),
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://notopenai.com/v1", "plain"),
        (URL, "plain"),
    ],
)
def test_an_address_tells_its_profile(url, name):
    assert profile_of(settings_for(url)).name == name
    assert profile_of(settings_for(url, profile="plain")).name == "plain"


@pytest.mark.parametrize(
    ("profile", "status", "code", "message", "expected"),
    [
        # one code, two meanings: tokens per minute at DashScope, no money at OpenAI
        ("dashscope", 429, "insufficient_quota", "You exceeded your current quota", "slow"),
        ("openai", 429, "insufficient_quota", "You exceeded your current quota", "stop"),
        ("plain", 429, "insufficient_quota", "You exceeded your current quota", "stop"),
        ("dashscope", 429, "Throttling.RateQuota", "", "slow"),
        ("dashscope", 400, "Arrearage", "Access denied", "stop"),
        ("dashscope", 400, "data_inspection_failed", "", "blocked"),
        ("dashscope", 400, "DataInspectionFailed", "", "blocked"),
        ("dashscope", 403, "AllocationQuota.FreeTierOnly", "", "stop"),
        ("dashscope", 400, "invalid_parameter_error", "", "failed"),
        ("openai", 400, "content_filter", "", "blocked"),
        ("openai", 400, "context_length_exceeded", "", "failed"),
        ("openai", 429, "rate_limit_exceeded", "", "slow"),
        ("plain", 402, "", "Insufficient credits", "stop"),
        ("plain", 403, "403", "Your input was flagged", "blocked"),
        ("plain", 403, "", "no access", "stop"),
        *((("plain", status, "", "", "retry")) for status in (408, 409, 425, 500, 502, 503, 529)),
        *((("plain", status, "", "", "stop")) for status in (401, 403, 404)),
        *((("plain", status, "", "", "failed")) for status in (400, 413, 422)),
    ],
)
def test_what_an_error_means_depends_on_the_server(profile, status, code, message, expected):
    assert meaning(PROFILES[profile], status, (code,), message) == expected


def test_hybrid_models_are_told_not_to_think():
    url = "https://dashscope.aliyuncs.com/compatible-mode/v1"

    def body(**changes):
        return request_for(settings_for(url, **changes), STUB, STUB.messages(row(0).item), 700)

    assert body(model="qwen3-max-2026-01-23")["enable_thinking"] is False
    assert body(model="qwen-plus", extra_body={"enable_thinking": True})["enable_thinking"] is True
    assert "enable_thinking" not in body(model="qwen3-30b-a3b-instruct-2507")
    assert "enable_thinking" not in body(model="deepseek-v3")
    assert body()["max_tokens"] == 700
    assert "response_format" not in body()
    assert body(response_format="json_object")["response_format"] == {"type": "json_object"}
    openai = request_for(settings_for("https://api.openai.com/v1", temperature=None), STUB, [], 700)
    assert openai == {"model": "fake-judge", "messages": [], "max_completion_tokens": 700}


def test_a_minute_never_sees_more_calls_than_its_limit_and_a_second_no_burst():
    bucket, now, times = Bucket(120, 0.0), 0.0, []
    while now < 130:
        wait = bucket.wait(1, now)
        if wait:
            now += wait
            continue
        bucket.take(1, now)
        times.append(now)
    most_in_60 = max(sum(start <= t < start + 60 for t in times) for start in times)
    most_in_1 = max(sum(start <= t < start + 1 for t in times) for start in times)
    # rate 120/61 = 1.967 a second: 60 s refill 118.03, and the full bucket has 1.967 more
    assert 118 <= most_in_60 <= 120
    # a full bucket and one second's refill are at most 3.93
    assert most_in_1 <= 3
    assert len(times) >= 130 * 120 / 61


def test_a_call_larger_than_the_bucket_passes_when_it_is_full_and_is_paid_back():
    bucket = Bucket(6100, 0.0)  # 100 tokens a second, holds 100
    assert bucket.wait(1000, 0.0) == 0
    bucket.take(1000, 0.0)
    assert bucket.wait(50, 0.0) == pytest.approx(9.5)  # from -900 to 50 at 100 a second
    bucket.take(-600, 0.0)  # it had used 400
    assert bucket.wait(50, 0.0) == pytest.approx(3.5)


def test_the_window_starts_small_doubles_is_halved_once_and_then_grows_by_one_a_round():
    limiter = Limiter(64)
    assert limiter.window == 4
    for _ in range(4):
        limiter.went_well()
    assert limiter.window == 8
    for _ in range(100):
        limiter.went_well()
    assert limiter.window == 64
    for _ in range(5):  # five calls that were under way together
        limiter.too_fast(began=9.0, now=10.0, retry_after=None)
    assert limiter.window == 32
    for _ in range(32):
        limiter.went_well()
    # each success adds 1/window: 32 of them a little less than 1
    assert 32.95 < limiter.window < 33
    limiter.too_fast(began=11.0, now=12.0, retry_after=None)
    assert limiter.window == pytest.approx(16.5, abs=0.1)


def test_retry_after_stops_all_calls_and_a_full_window_waits_for_an_end():
    limiter = Limiter(2)
    limiter.too_fast(began=0.0, now=1.0, retry_after=7.0)
    assert limiter.wait(1, 3.0) == 5.0
    assert limiter.wait(1, 8.0) == 0.0
    limiter.begin(1, 8.0)
    assert limiter.wait(1, 8.0) is None  # the window is 1 now
    limiter.end(1, None, 9.0)
    assert limiter.wait(1, 9.0) == 0.0


def test_waits_double_up_to_a_minute_with_jitter():
    assert [backoff(1.0, attempt, 1.0) for attempt in (1, 2, 3, 7, 99)] == [1, 2, 4, 60, 60]
    assert backoff(1.0, 3, 0.0) == 2


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        # 1994-11-06 08:49:37 UTC is 784,111,777
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 37.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_milliseconds_or_a_date(headers, expected):
    assert retry_after(headers, 784111740.0) == expected


def test_cost_is_by_the_million():
    # 2,000,000 x 2.5 / 10^6 + 300,000 x 10 / 10^6
    assert cost_of(Price(input=2.5, output=10, date="2026-11-01"), 2_000_000, 300_000) == pytest.approx(8.0)


def test_an_estimate_counts_each_text_once_and_takes_the_longest_reply():
    rows = [row(number, run=run) for run in ("base", "mid") for number in range(10)]
    price = {"input": 3, "output": 6, "currency": "CNY", "date": "2026-11-01"}
    found = estimate(settings_for(URL, price=price, requests_per_minute=5), STUB, rows)
    assert (found.rows, found.texts, found.calls, found.measured) == (20, 10, 10, 0)
    # "Judge." and "Question 0?\n---\nAnswer 0 plan=ok" are 6 + 32 bytes: 38 // 3 + 2 x 4 = 20 tokens
    assert tokens_of(STUB.messages(row(0).item)) == 20
    assert (found.tokens_in, found.tokens_out) == (200, 5000)
    assert found.cost == pytest.approx((200 * 3 + 5000 * 6) / 1e6)
    assert (found.currency, found.minutes) == ("CNY", 2.0)

"""What is counted of responses and answers."""

import time

from prometheus_client.parser import text_string_to_metric_families

from app.inference.protocol import Delta, Failed, Finished, Generate, Prefill
from app.inference.queue import Request
from app.metrics.meters import Meters


def value(meters: Meters, name: str, **labels: str) -> float | None:
    return meters.registry.get_sample_value(name, labels)


def request(number: int = 1, submitted: float = 0.0) -> Request:
    return Request(Generate(number, ()), 1, lambda event: None, submitted=submitted)


def test_an_answer_is_counted_with_its_tokens_and_its_wait() -> None:
    meters = Meters(clock=lambda: 12.0)
    one = request(submitted=9.5)
    meters.count_usage("tiny", one, Prefill(1, 5, 10, 4, 0))
    assert value(meters, "wick_first_token_seconds_count", model="tiny") is None
    for text in ("a", "b"):
        meters.count_usage("tiny", one, Delta(1, text))
    assert value(meters, "wick_first_token_seconds_count", model="tiny") == 1
    assert value(meters, "wick_first_token_seconds_sum", model="tiny") == 2.5
    meters.count_usage("tiny", one, Finished(1, "stop", 10, 4, 2, 0.25, 0.5, 0, tier="ram"))
    assert value(meters, "wick_answers_total", model="tiny", outcome="stop") == 1
    assert value(meters, "wick_prompt_tokens_total", model="tiny", source="ram") == 4
    assert value(meters, "wick_prompt_tokens_total", model="tiny", source="evaluated") == 6
    assert value(meters, "wick_completion_tokens_total", model="tiny") == 2
    assert value(meters, "wick_prefill_seconds_total", model="tiny") == 0.25
    assert value(meters, "wick_decode_seconds_total", model="tiny") == 0.5


def test_a_failed_answer_is_an_outcome() -> None:
    meters = Meters(time.monotonic)
    meters.count_usage("tiny", request(), Failed(1, "It broke."))
    assert value(meters, "wick_answers_total", model="tiny", outcome="failed") == 1


def test_strange_methods_and_addresses_make_no_labels_of_their_own() -> None:
    meters = Meters()
    for method in ("BREW", "SPILL"):
        meters.count_response(method, "", 404, 0.1)
    labels = {"method": "other", "route": "other"}
    assert value(meters, "wick_http_responses_total", **labels, status="404") == 2
    assert value(meters, "wick_http_response_seconds_count", **labels) == 2


def test_the_text_is_what_prometheus_reads() -> None:
    meters = Meters()
    meters.count_response("GET", "/chats/<chat_id>", 200, 0.1)
    found = {family.name for family in text_string_to_metric_families(meters.text().decode())}
    assert {"wick_build", "wick_http_responses", "wick_http_response_seconds"} <= found

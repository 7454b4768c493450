"""What clients may rely on: repeated requests, files, the log of their predictions, and an answer
as documented to whatever they send.
"""

import csv
import gzip
import http.server
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from served import add_user, applicants, check_documented, token_of

from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.checks import ANSWER_COLUMNS

TABLE = "text/csv; charset=utf-8"


@pytest.fixture(scope="module")
def make_client(service):
    "`make_client(role)`: a client of a new user."
    made = []

    def make_client(role="analyst"):
        made.append(
            service.client_of(
                token_of(
                    add_user(service.database, f"contract-{uuid.uuid4().hex[:12]}", role),
                    exp=int(time.time()) + 2 * 3600,  # longer than the long run
                )
            )
        )
        return made[-1]

    yield make_client
    for client in made:
        client.close()


@pytest.fixture(scope="module")
def ada(make_client):
    return make_client()


@pytest.fixture(scope="module")
def bob(make_client):
    return make_client()


@pytest.fixture(scope="module")
def admin(make_client):
    return make_client("admin")


@pytest.fixture
def reference():
    "An application's reference that nobody else uses."
    return f"test:{uuid.uuid4()}"


def logged(client, reference, **more):
    "What the log has for a reference, as this client sees it."
    return client.get("/predictions", params=dict(reference=reference, limit=1000, **more)).json()[
        "predictions"
    ]


def found(answer):
    return [one["loc"] for one in answer.json()["detail"]]


def text_of(rows):
    "Rows as a CSV file."
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def rows_of(content):
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def file_of(applicants, **columns):
    "A CSV file of applicants as clients send them, with further columns."
    names = list(dict.fromkeys(name for one in applicants for name in one))
    return text_of(
        [names + list(columns)]
        + [
            ["" if one.get(name) is None else one[name] for name in names]
            + [columns[c][i] for c in columns]
            for i, one in enumerate(applicants)
        ]
    )


def upload(content, name="applicants.csv", kind="text/csv"):
    return dict(files={"file": (name, content, kind)})


# A key that makes a repeated request harmless


class Predict:
    path = "/predict"

    def __call__(self, one, reference, i):
        return dict(json=one | {"application_reference": reference, "age": 30 + i})


class Batch:
    path = "/predict_batch"

    def __call__(self, one, reference, i):
        return dict(
            json=[one | {"application_reference": reference, "age": 30 + i + j} for j in range(3)]
        )


class Csv:
    "More than one chunk, so that there is time between the first byte and the last."

    path, n = "/predict_csv", 2501

    def __call__(self, one, reference, i):
        return upload(file_of([one | {"application_reference": reference, "age": 30 + i}] * self.n))


ROUTES = {"predict": (Predict(), 1), "batch": (Batch(), 3), "csv": (Csv(), Csv.n)}
each_route = pytest.mark.parametrize("body, n", ROUTES.values(), ids=ROUTES)


def count(service, **equal):
    from credit_default.store.store import Store

    store = Store(service.database)
    try:
        return store.predictions.count(**equal)
    finally:
        store.close()


@each_route
def test_a_repeated_request_gets_its_first_answer(
    service, documented, ada, bob, valid, reference, body, n
):
    key = {"Idempotency-Key": reference}
    first = ada.post(body.path, headers=key, **body(valid, reference, 0))
    again = [ada.post(body.path, headers=key, **body(valid, reference, 0)) for _ in range(2)]
    for answer in (first, *again):
        check_documented(documented, "POST", body.path, answer)
        assert answer.status_code == 200, answer.text[:300]
        assert (answer.content, answer.headers["content-type"]) == (
            first.content,
            first.headers["content-type"],
        )
    assert [answer.headers.get("idempotent-replayed") for answer in (first, *again)] == [
        None,
        "true",
        "true",
    ]
    assert count(service, reference=reference) == n


def counted(client):
    "What the metrics have counted of gmsc: predictions by rating, PDs and scores with their sums."
    samples = {}
    for line in client.get("/metrics").text.splitlines():
        name, _, value = line.rpartition(" ")
        if 'portfolio="gmsc"' in name and "_bucket" not in name and not line.startswith("#"):
            samples[name] = float(value)
    label = '{portfolio="gmsc"}'
    figures = {
        f"{name}_{kind}": samples[f"credit_default_{name}_{kind}{label}"]
        for name in ("probability_default", "credit_score")
        for kind in ("count", "sum")
    }
    ratings = Counter()
    for name, value in samples.items():
        if name.startswith("credit_default_predictions_total"):
            ratings[re.search('rating="([^"]+)"', name)[1]] = value
    return figures, ratings


def logged_rows(service, reference):
    "The rows of the log for a reference."
    from credit_default.store.store import Store

    store = Store(service.database)
    try:
        return store.predictions.find(reference=reference, limit=10_000)
    finally:
        store.close()


def check_counted(client, service, before, reference):
    "Raises where the metrics did not grow by what the log has of a reference."
    (old, old_ratings), (new, new_ratings) = before, counted(client)
    rows = logged_rows(service, reference)
    assert new_ratings - old_ratings == Counter(row.rating for row in rows)
    pds, scores = ([getattr(r, c) for r in rows] for c in ("probability_default", "credit_score"))
    for name, values in ("probability_default", pds), ("credit_score", scores):
        assert new[f"{name}_count"] - old[f"{name}_count"] == len(values)
        assert new[f"{name}_sum"] - old[f"{name}_sum"] == pytest.approx(sum(values))
    return len(rows)


@each_route
def test_the_metrics_count_what_the_log_has(service, ada, valid, reference, body, n):
    "Also where a request is repeated, and where it is refused."
    before, key = counted(ada), {"Idempotency-Key": reference}
    for _ in range(2):
        answer = ada.post(body.path, headers=key, **body(valid, reference, 0))
        assert answer.status_code == 200, answer.text[:300]
    refused = upload(b"no,field\n1,2\n") if body.path == "/predict_csv" else dict(json=[{}])
    assert ada.post(body.path, **refused).status_code == 422
    assert check_counted(ada, service, before, reference) == n


def test_the_metrics_count_a_file_whose_client_leaves(service, ada, valid, reference):
    "What was recorded before the client left is counted, whether or not it was sent."
    before = counted(ada)
    rows = [valid | {"application_reference": reference}] * 9000
    with ada.stream("POST", "/predict_csv", **upload(file_of(rows))) as answer:
        next(answer.iter_bytes(100))
    seen, now = -1, 0
    while seen != now:  # until the server has noticed
        time.sleep(1)
        seen, now = now, count(service, reference=reference)
    assert check_counted(ada, service, before, reference) == now > 0


def test_the_metrics_count_a_file_with_refused_rows(service, ada, valid, reference):
    before = counted(ada)
    good = valid | {"application_reference": reference}
    answer = ada.post("/predict_csv", **upload(file_of([good, good | {"age": -5}] * 1500)))
    assert answer.status_code == 200
    assert check_counted(ada, service, before, reference) == 1500


@each_route
def test_a_key_belongs_to_one_request(service, documented, ada, valid, reference, body, n):
    key = {"Idempotency-Key": reference}
    first = ada.post(body.path, headers=key, **body(valid, reference, 0))
    assert first.status_code == 200, first.text[:300]
    others = [(body.path, body(valid, reference, 1))] + [
        (other.path, other(valid, reference, 0))
        for other, _ in ROUTES.values()
        if other is not body
    ]
    for path, sent in others:
        answer = ada.post(path, headers=key, **sent)
        check_documented(documented, "POST", path, answer)
        assert answer.status_code == 422 and found(answer) == [["Idempotency-Key"]], answer.text[
            :300
        ]
    assert count(service, reference=reference) == n
    assert ada.post(body.path, headers=key, **body(valid, reference, 0)).content == first.content


@each_route
def test_another_user_may_use_the_same_key(service, ada, bob, valid, reference, body, n):
    mine, other = (
        client.post(
            body.path, headers={"Idempotency-Key": reference}, **body(valid, f"{reference}:{i}", i)
        )
        for i, client in enumerate((ada, bob))
    )
    assert (
        mine.status_code == other.status_code == 200
        and mine.content != other.content
        and "idempotent-replayed" not in other.headers
    )
    assert [count(service, reference=f"{reference}:{i}") for i in range(2)] == [n, n]


@each_route
def test_a_key_at_once_is_one_request(service, documented, ada, valid, reference, body, n):
    """Those that come while the first is being answered wait or are told to; none is predicted
    twice.
    """
    token, sent = ada.headers["Authorization"].split()[1], body(valid, reference, 0)

    def send(_):
        with service.client_of(token) as client:
            return client.post(body.path, headers={"Idempotency-Key": reference}, **sent)

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(send, range(6)))
    for answer in answers:
        check_documented(documented, "POST", body.path, answer)
        assert (
            answer.status_code == 200
            or answer.status_code == 409
            and int(answer.headers["retry-after"]) > 0
        ), answer.text[:300]
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    assert count(service, reference=reference) == n
    assert send(0).headers["idempotent-replayed"] == "true"


@each_route
def test_what_was_refused_does_not_use_up_the_key(ada, valid, reference, body, n):
    key = {"Idempotency-Key": reference}
    wrong = upload(b"no,field\n1,2\n") if body.path == "/predict_csv" else dict(json=[{}])
    for _ in range(2):
        assert (refused := ada.post(body.path, headers=key, **wrong)).status_code == 422 and found(
            refused
        ) != [["Idempotency-Key"]], refused.text
    assert ada.post(body.path, headers=key, **body(valid, reference, 0)).status_code == 200


@each_route
def test_a_key_that_is_none_is_refused(service, documented, ada, valid, reference, body, n):
    for key in (b"", b"a b", b"x" * 129, "ä".encode(), b"\xff", b"a\tb"):
        answer = ada.post(body.path, headers={"Idempotency-Key": key}, **body(valid, reference, 0))
        check_documented(documented, "POST", body.path, answer)
        assert answer.status_code == 422 and found(answer) == [["Idempotency-Key"]], (
            key,
            answer.text[:300],
        )
    assert count(service, reference=reference) == 0
    assert (
        ada.post(
            body.path,
            headers={"Idempotency-Key": uuid.uuid4().hex * 4},
            **body(valid, reference, 0),
        ).status_code
        == 200
    )  # 128 characters


def test_an_upload_that_broke_off_is_sent_again(service, ada, valid, reference):
    "Its rows are in the log once."
    body, n = ROUTES["csv"]
    sent, key = body(valid, reference, 0), {"Idempotency-Key": reference}
    with ada.stream("POST", body.path, headers=key, **sent) as answer:
        assert next(answer.iter_raw(100))
    while (answer := ada.post(body.path, headers=key, **sent)).status_code == 409:
        time.sleep(0.1)
    assert (
        answer.status_code == 200
        and answer.text.count("\n") == n + 1
        and count(service, reference=reference) == n
    )


def test_without_a_key_each_request_is_one_of_its_own(service, ada, valid, reference):
    answers = [
        ada.post("/predict", json=valid | {"application_reference": reference}).json()
        for _ in range(3)
    ]
    assert (
        len({one["prediction_id"] for one in answers}) == 3
        and count(service, reference=reference) == 3
    )


# Files


@pytest.fixture(scope="module")
def mixed(synthetic_bundle):
    """5,000 applicants, good and bad, with columns of the lender's own: the file's bytes, and which
    rows are bad.
    """
    _, sent = applicants(synthetic_bundle.portfolio, 5000)
    aliases = [field.alias for field in synthetic_bundle.portfolio.fields]
    header = ['Kundin, "Nr."', *aliases, "application_reference", "note"]
    rows = [
        [
            f"Müller {i}",
            *("" if one[name] is None else one[name] for name in aliases),
            f"mixed:{i}",
            "two\nlines" if i % 500 == 0 else "",
        ]
        for i, one in enumerate(sent)
    ]
    age, last = header.index("age"), header.index("application_reference")
    bad = {
        7: (age, -5),
        1999: (age, "x" * 300),
        2000: (age, "abc"),
        2001: (age, ""),
        3500: (last, "no reference, this"),
        4998: (age, "1e400"),
        4999: (last, "ü"),
    }
    for i, (column, value) in bad.items():
        rows[i][column] = value
    rows[4000] = rows[4000][:-3]
    return "\ufeff".encode() + text_of([header, *rows]).replace(b"\nM", b"\r\nM"), sorted(
        [*bad, 4000]
    )


def test_a_file_says_what_the_command_says_byte_for_byte(
    documented, ada, mixed, tmp_path, monkeypatch
):
    from typer.testing import CliRunner

    from credit_default.cli import app as cli

    content, bad = mixed
    (tmp_path / "in.csv").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, ["score", "in.csv", "out.csv"], prog_name="credit-default")
    assert done.exit_code == 0, done.output
    answer = ada.post("/predict_csv", **upload(content))
    check_documented(documented, "POST", "/predict_csv", answer)
    assert answer.status_code == 200 and answer.headers["content-type"] == TABLE
    assert answer.content == (tmp_path / "out.csv").read_bytes()
    rows = rows_of(answer.content)
    assert len(rows) == 5000 and [i for i, row in enumerate(rows) if row["error"]] == bad
    for i in bad:
        assert rows[i]["credit_score"] == rows[i]["model_version"] == "" and (
            rows[i]["error"].startswith(("age: ", "application_reference: ", "line "))
        ), rows[i]["error"]


@pytest.mark.parametrize(
    "separator, encoding", [(";", "utf-8"), ("\t", "utf-16"), ("|", "cp1252"), (",", "utf-8-sig")]
)
def test_a_file_of_another_program_gets_the_same_scores(ada, valid, separator, encoding):
    "As `score` reads it: one reader for all ways in."
    content = file_of([valid | {"age": 30 + i} for i in range(20)])
    usual = rows_of(ada.post("/predict_csv", **upload(content)).content)
    other = content.decode().replace(",", separator).encode(encoding)
    answer = ada.post("/predict_csv", **upload(other))
    assert answer.status_code == 200, answer.text[:300]
    found = answer.text.replace(separator, ",").encode()
    assert [r["probability_default"] for r in rows_of(found)] == [
        r["probability_default"] for r in usual
    ]


def test_a_file_that_is_no_text_is_named(documented, ada):
    for content in (b"\x1f\x8b\x08\0", b"PK\x03\x04" * 9, b"PAR1" * 9):
        answer = ada.post("/predict_csv", **upload(content))
        check_documented(documented, "POST", "/predict_csv", answer)
        assert answer.status_code == 422 and "send it as CSV text" in answer.text


def test_the_rows_of_a_file_are_in_the_log(service, synthetic_bundle, make_client, mixed):
    client, (content, bad) = make_client(), mixed
    answers = rows_of(client.post("/predict_csv", **upload(content)).content)
    kept, after = [], None
    while True:
        page = client.get(
            "/predictions", params=dict(limit=1000) | ({"after": after} if after else {})
        ).json()
        kept += page["predictions"]
        if (after := page["next"]) is None:
            break
    good = [i for i in range(5000) if i not in bad]
    assert [one["application_reference"] for one in kept[::-1]] == [f"mixed:{i}" for i in good]
    for one, i in zip(kept[::-1], good, strict=True):
        row = answers[i]
        assert (
            str(one["probability_default"]),
            str(one["credit_score"]),
            one["rating"],
            one["decision"],
            one["model_version"],
        ) == tuple(
            row[name]
            for name in (
                "probability_default",
                "credit_score",
                "rating",
                "decision",
                "model_version",
            )
        )
        assert one["endpoint"] == "csv" and [reason["text"] for reason in one["reasons"]] == [
            row[f"reason_{n}"] for n in range(1, 5) if row[f"reason_{n}"]
        ]
        assert float(row["age"]) == one["applicant"]["age"]


def test_a_file_and_single_requests_say_the_same(ada, valid, reference):
    one = ada.post("/predict", json=valid).json()
    [row] = rows_of(
        ada.post(
            "/predict_csv", **upload(file_of([valid], application_reference=[reference]))
        ).content
    )
    names = (*ANSWER_COLUMNS, "model_version")
    assert [str(one[name]) for name in names] == [row[name] for name in names]
    [kept] = logged(ada, reference)
    assert (
        kept["endpoint"] == "csv"
        and kept["application_reference"] == row["application_reference"] == reference
    )


@pytest.fixture
def host():
    "A server of the test's own: its address, and what it was asked."
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"age\n45\n")

        do_HEAD = do_POST = do_GET  # noqa: N815  the library's names

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/applicants.csv", asked
        server.shutdown()


def multipart(*parts):
    "A body of multipart/form-data of these parts: head and content."
    return dict(
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        content=b"".join(
            f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n".encode()
            for head, content in parts
        )
        + b"--b--\r\n",
    )


def test_an_address_in_place_of_a_file_is_refused_and_never_fetched(documented, ada, host):
    address, asked = host
    assert (
        httpx.get(address, trust_env=False).status_code == 200 and asked.pop() == "/applicants.csv"
    )
    for status, sent in {
        "a form's text": (422, multipart(('name="file"', address))),
        "a form's text twice": (422, multipart(('name="file"', address), ('name="file"', address))),
        "a file that holds it": (422, multipart(('name="file"; filename="a.csv"', address))),
        "a file of its name": (422, multipart((f'name="file"; filename="{address}"', "x"))),
        "an empty file of its name": (422, multipart((f'name="file"; filename="{address}"', ""))),
        "a link to it": (
            422,
            multipart(
                (
                    'name="file"; filename="a.csv"\r\nContent-Type: message/external-body; '
                    'access-type=URL; URL="' + address + '"',
                    "",
                )
            ),
        ),
        "another field": (422, multipart(('name="url"', address))),
        "a form": (415, dict(data={"file": address})),
        "JSON": (415, dict(json={"file": address})),
        "JSON's text": (415, dict(json=address)),
        "text": (415, dict(content=address, headers={"Content-Type": "text/uri-list"})),
        "the query": (422, multipart() | dict(params={"file": address})),
        "a data address": (422, multipart(('name="file"', "data:text/csv,age%0A45"))),
        "a path": (422, multipart(('name="file"', "/etc/passwd"))),
        "a file address": (422, multipart(('name="file"', "file:///etc/passwd"))),
    }.values():
        answer = ada.post("/predict_csv", **sent)
        check_documented(documented, "POST", "/predict_csv", answer)
        assert answer.status_code == status and address not in answer.text, (sent, answer.text)
    time.sleep(0.2)
    assert asked == []


GOOD = 4500  # rows before what is wrong: more than two chunks


def with_last(line):
    return lambda header, rows: header + rows + line


WHOLE = {  # what is wrong with the file, and not just with a row of it; and a word of the refusal
    "not UTF-8 near the end": (with_last(b"M\x81ller\n"), "UTF-8"),
    "a quotation mark that is not closed": (with_last(b'"45,1\n' * 3), "quotation mark"),
    "a NUL near the end": (with_last(b"a\0b\n"), "NUL"),
    "a field longer than CSV takes": (with_last(b"x" * 200_000 + b"\n"), "line"),
    "no header": (lambda header, rows: rows, "header"),
    "nothing": (lambda header, rows: b"", "empty"),
    "a web page": (lambda header, rows: b"<!DOCTYPE html>\n" + rows, "web page"),
    "a required column missing": (
        lambda header, rows: header.replace(b"age", b"Alter") + rows,
        "age",
    ),
    "a column twice": (lambda header, rows: header.replace(b"DebtRatio", b"age") + rows, "age"),
    "a column of the answer": (
        lambda header, rows: header.replace(b"application_reference", b"credit_score") + rows,
        "credit_score",
    ),
    "compressed": (lambda header, rows: gzip.compress(header + rows), "CSV text"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_wrong_is_refused_as_a_whole(
    service, documented, ada, valid, reference, name
):
    make, word = WHOLE[name]
    header, _, rows = file_of([valid] * GOOD, application_reference=[reference] * GOOD).partition(
        b"\n"
    )
    before = count(service, endpoint="csv")
    answer = ada.post("/predict_csv", **upload(make(header + b"\n", rows)))
    check_documented(documented, "POST", "/predict_csv", answer)
    assert answer.status_code == 422 and found(answer) == [["file"]] and word in answer.text, (
        answer.text
    )
    assert count(service, reference=reference) == 0 and count(service, endpoint="csv") == before
    assert reference not in answer.text and "Müller" not in answer.text


def test_files_of_few_rows(ada, valid):
    header = file_of([valid]).partition(b"\n")[0]
    for content in (header, header + b"\n", header + b"\r\n\r\n\n"):
        answer = ada.post("/predict_csv", **upload(content))
        assert (
            answer.status_code == 200
            and rows_of(answer.content) == []
            and answer.text.startswith(header.decode() + ",probability_default")
        )
    [row] = rows_of(
        ada.post("/predict_csv", **upload(file_of([valid | {"age": -1}]))).content
    )  # nothing to log
    assert row["error"].startswith("age: ")


@pytest.mark.parametrize(
    "sent, status",
    [
        (dict(content=b"age\n45\n", headers={"Content-Type": "text/csv"}), 415),
        (dict(content=b"", headers={"Content-Type": "multipart/form-data"}), 400),
        (dict(content=b"abc", headers={"Content-Type": "multipart/form-data; boundary=b"}), 400),
        (dict(content=b"", headers={"Content-Type": "multipart/form-data; boundary=b"}), 422),
        (
            multipart(
                ('name="file"; filename="a.csv"', "age\n45\n"),
                ('name="file"; filename="b.csv"', "age\n45\n"),
            ),
            400,
        ),
        (multipart(('name="other"; filename="a.csv"', "age\n45\n")), 422),
        (multipart(*[(f'name="x{i}"', "1") for i in range(5000)]), 400),
        (multipart(('filename="a.csv"', "age\n45\n")), 400),
        (
            dict(
                content=multipart(('name="file"; filename="a.csv"', "age\n45\n"))["content"][:-9],
                headers={"Content-Type": "multipart/form-data; boundary=b"},
            ),
            422,
        ),
        (
            dict(
                content=(
                    b'--b\r\nContent-Disposition: form-data; name="file"; '
                    b'filename="a"\r\nContent-Type: \xff\xfe\r\n\r\nage\r\n--b--\r\n'
                ),
                headers={"Content-Type": "multipart/form-data; boundary=b"},
            ),
            422,
        ),
    ],
)
def test_an_upload_that_is_none(documented, ada, sent, status):
    answer = ada.post("/predict_csv", **sent)
    check_documented(documented, "POST", "/predict_csv", answer)
    assert answer.status_code == status, answer.text


# The log of predictions


@pytest.fixture(scope="module")
def history(make_client, valid):
    "A client whose 25 predictions are all there is of its user: the answers, oldest first."
    client = make_client()
    answers = []
    for i in range(25):
        late = {
            "NumberOfTimes90DaysLate": i % 5 * 3,
            "NumberOfTime30_59DaysPastDueNotWorse": i % 5 * 2,
            "RevolvingUtilizationOfUnsecuredLines": i % 5 / 4,
        }
        answers.append(
            client.post(
                "/predict",
                json=valid | late | {"application_reference": f"history:{i % 2}"},
                headers={"X-Request-ID": f"history.{i}"},
            ).json()
        )
    return client, answers


def ids(rows):
    return [row["prediction_id"] for row in rows]


def test_what_was_answered_is_what_is_logged(documented, history, ada, valid):
    client, answers = history
    for i, answer in enumerate(answers):
        path = f"/predictions/{answer['prediction_id']}"
        got = client.get(path)
        check_documented(documented, "GET", "/predictions/{prediction_id}", got)
        row = got.json()
        for name in (
            "prediction_id",
            "probability_default",
            "prediction",
            "credit_score",
            "rating",
            "decision",
            "reasons",
            "model_version",
            "timestamp",
        ):
            assert row[name] == answer[name], name
        assert (row["request_id"], row["application_reference"], row["endpoint"]) == (
            f"history.{i}",
            f"history:{i % 2}",
            "predict",
        ) and 0 < row["latency_ms"] < 60_000
        assert (
            row["applicant"]["age"] == valid["age"]
            and row["applicant"]["MonthlyIncome"] == valid["MonthlyIncome"]
            and set(row["applicant"].values()) >= {i % 5 * 3}
        )
    assert client.get(f"/predictions/{answers[0]['prediction_id'].upper()}").status_code == 200


def test_an_analyst_sees_the_own_ones_and_an_admin_all(history, ada, admin):
    client, answers = history
    rows = client.get("/predictions", params=dict(limit=1000)).json()
    assert (
        ids(rows["predictions"]) == ids(answers)[::-1]
        and rows["next"] is None
        and len({row["username"] for row in rows["predictions"]}) == 1
    )
    assert not set(ids(answers)) & set(
        ids(ada.get("/predictions", params=dict(limit=1000)).json()["predictions"])
    )
    assert ids(logged(ada, "history:0") + logged(ada, "history:1")) == []
    assert set(ids(logged(admin, "history:0") + logged(admin, "history:1"))) == set(ids(answers))
    assert (
        admin.get(f"/predictions/{answers[0]['prediction_id']}").json()
        == client.get(f"/predictions/{answers[0]['prediction_id']}").json()
    )


def test_another_ones_prediction_is_as_unknown_as_one_that_never_was(
    documented, history, ada, admin
):
    _, answers = history
    his, none = (
        ada.get(f"/predictions/{one}") for one in (answers[0]["prediction_id"], uuid.uuid4())
    )
    for answer in (his, none):
        check_documented(documented, "GET", "/predictions/{prediction_id}", answer)
    assert his.status_code == none.status_code == 404 and his.content == none.content
    assert admin.get(f"/predictions/{uuid.uuid4()}").content == none.content
    for wrong in ("1", "x" * 36, "%00", "%f0%9f%92%a9", uuid.UUID(int=0).hex + "0"):
        assert ada.get(f"/predictions/{wrong}").status_code == 422, wrong


def test_filters_choose(history):
    client, answers = history
    assert (
        len({one["decision"] for one in answers}) == 2
        and len({one["rating"] for one in answers}) > 1
    ), "the applicants do not differ"
    times = [datetime.fromisoformat(one["timestamp"]) for one in answers]

    def got(**wanted):
        return ids(client.get("/predictions", params=wanted).json()["predictions"])

    def expected(true):
        return [
            one["prediction_id"] for i, one in reversed(list(enumerate(answers))) if true(i, one)
        ]

    for name in ("decision", "rating", "model_version"):
        for value in {one[name] for one in answers}:
            assert got(**{name: value}) == expected(lambda _, one: one[name] == value)
    assert (
        got(reference="history:1") == expected(lambda i, _: i % 2)
        and got(reference="history")
        == got(reference="history:%")
        == got(model_version="x")
        == got(model_version="ä")
        == []
    )
    worst = max(
        {one["rating"] for one in answers},
        key=lambda rating: sum(one["rating"] == rating for one in answers),
    )
    assert got(reference="history:0", rating=worst, decision="Approved") == expected(
        lambda i, one: i % 2 == 0 and one["rating"] == worst and one["decision"] == "Approved"
    )
    # what is answered is cut to the millisecond, what is logged is not
    middle = times[12] + timedelta(milliseconds=1)
    early, late = got(until=middle.isoformat()), got(since=middle.isoformat())
    assert late + early == ids(answers)[::-1] and ids(answers)[12] in early
    eastern = middle.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()
    assert (
        got(since=eastern) == late
        and got(since="0001-01-01T00:00:00Z", until="9999-12-31T23:59:59Z") == ids(answers)[::-1]
    )
    assert (
        got(since="9999-12-31T23:59:59-14:00")
        == got(until="0001-01-01T00:00:00+14:00")
        == got(since=eastern, until=eastern)
        == []
    )


@pytest.mark.parametrize("sizes", [(8, 8, 4), (10, 10, 0)])
def test_pages_follow_one_another_while_predictions_come_in(make_client, valid, sizes):
    client, seen, after = make_client(), [], {}
    answered = [
        one["prediction_id"] for one in client.post("/predict_batch", json=[valid] * 20).json()
    ]
    for i, size in enumerate(sizes):
        page = client.get("/predictions", params=dict(limit=sizes[0]) | after).json()
        assert len(page["predictions"]) == size and (page["next"] is None) == (i == 2)
        seen, after = seen + ids(page["predictions"]), dict(after=page["next"])
        client.post("/predict", json=valid)
    assert seen == answered[::-1]


@pytest.mark.parametrize(
    "query, where",
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("after=-1", "after"),
        ("after=9223372036854775808", "after"),
        ("after=1e3", "after"),
        ("decision=declined", "decision"),
        ("rating=AAA", "rating"),
        ("since=yesterday", "since"),
        ("since=2026-01-01", "since"),
        ("since=2026-01-01T00:00:00", "since"),
        ("until=2026-13-01T00:00:00Z", "until"),
        ("until=0.5", "until"),
        ("since=1767225600", "since"),
        ("until=99999999999999999999", "until"),
        (f"reference={'x' * 65}", "reference"),
        (f"model_version={'x' * 201}", "model_version"),
    ],
)
def test_a_filter_that_is_none_is_refused_by_name(documented, ada, query, where):
    answer = ada.get(f"/predictions?{query}")
    check_documented(documented, "GET", "/predictions", answer)
    assert answer.status_code == 422 and found(answer) == [["query", where]], answer.text


# Whatever is in the headers and the query

FEW = examples(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
VALUE = st.binary(max_size=200).map(
    lambda value: bytes(byte for byte in value if byte == 9 or 32 <= byte != 127).strip()
)  # what a header may hold
OWN = re.compile(r"[A-Za-z0-9._-]{1,64}")


@FEW
@given(
    key=st.none() | VALUE,
    bearer=st.booleans(),
    token=st.none() | VALUE,
    name=st.none() | VALUE | st.from_regex(OWN, fullmatch=True).map(str.encode),
)
def test_whatever_is_in_a_header_gets_a_documented_answer(
    service, documented, ada, valid, key, bearer, token, name
):
    sent = (
        ada.headers["Authorization"].encode()
        if token is None
        else (b"Bearer " * bearer + token).strip()
    )
    headers = {"Idempotency-Key": key, "X-Request-ID": name, "Authorization": sent}
    with service.client_of() as client:
        answer = client.post(
            "/predict",
            json=valid,
            headers={header: value for header, value in headers.items() if value is not None},
        )
    check_documented(documented, "POST", "/predict", answer)
    assert answer.status_code in (200, 422) if token is None else answer.status_code == 401, (
        answer.text
    )
    if name and OWN.fullmatch(name.decode("latin-1")):
        assert answer.headers["x-request-id"] == name.decode()
    else:
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


@FEW
@given(
    headers=st.dictionaries(
        st.sampled_from(
            [
                "Content-Type",
                "Accept",
                "Accept-Encoding",
                "Content-Encoding",
                "Expect",
                "Cookie",
                "Origin",
                "Range",
                "If-None-Match",
                "X-Forwarded-For",
                "X-HTTP-Method-Override",
                "traceparent",
                "baggage",
                "Bentoml-Request-ID",
                "Yatai-Bento-Deployment-Name",
                "X-Yatai",
                "Connection",
                "Upgrade",
            ]
        ),
        VALUE,
        max_size=4,
    )
)
def test_other_headers_make_no_error_of_ours(documented, ada, valid, headers):
    headers = {
        name: value
        for name, value in headers.items()
        if name not in ("Expect", "Connection", "Upgrade") or value.isalnum()
    }
    answer = ada.post(
        "/predict",
        content=json.dumps(valid),
        headers={"Content-Type": "application/json"} | headers,
    )
    check_documented(documented, "POST", "/predict", answer)


@FEW
@given(
    query=st.dictionaries(
        st.sampled_from(
            [
                "reference",
                "model_version",
                "decision",
                "rating",
                "since",
                "until",
                "after",
                "limit",
                "x",
                "",
            ]
        ),
        st.text(max_size=30)
        | st.integers().map(str)
        | st.datetimes().map(str)
        | st.datetimes(timezones=st.timezones()).map(datetime.isoformat)
        | st.sampled_from(
            [
                "Approved",
                "Poor",
                "nan",
                "inf",
                "1e400",
                "\0",
                "null",
                "true",
                "-0",
                "0x10",
                "٣",
                "2026-01-01T00:00:00+99:99",
                "' OR 1=1 --",
            ]
        ),
        max_size=5,
    ),
    many=st.booleans(),
)
def test_whatever_is_in_the_query_gets_a_documented_answer(documented, ada, admin, query, many):
    for client in (ada, admin):
        answer = client.get("/predictions", params=list(query.items()) * (1 + many))
        check_documented(documented, "GET", "/predictions", answer)
        assert answer.status_code in (200, 422)


@FEW
@given(query=st.binary(max_size=60))
def test_whatever_bytes_are_in_the_query_get_a_documented_answer(documented, ada, query):
    query = "".join(
        chr(byte) if 33 <= byte < 127 and byte != 35 else f"%{byte:02x}" for byte in query
    )
    for path in ("/predictions", "/model", "/health"):
        check_documented(
            documented,
            "GET",
            path,
            ada.get(httpx.URL(str(ada.base_url)).copy_with(raw_path=f"{path}?{query}".encode())),
        )


# All of the document


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"time_window_hours": 1},
        {"from": "2026-01-01T00:00:00Z"},
        {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "time_window_hours": None},
        {"time_window_hours": 1, "from": "2026-01-01T00:00:00Z"},
        {"time_window_hours": 1, "to": "2026-01-01T00:00:00Z"},
        {"time_window_hours": 0},
        {"hours": 1},
    ],
)
def test_the_document_says_which_windows_may_be_asked_for(documented, ada, window):
    schema = documented["components"]["schemas"]["DriftWindow"]
    answer = ada.post("/drift/detect", json=window)
    assert jsonschema.Draft202012Validator(schema).is_valid(window) == (
        answer.status_code == 200
    ), answer.text


HOOKS = """
import itertools
import uuid
from datetime import datetime

import schemathesis
from email_validator import EmailNotValidError, validate_email
from hypothesis import strategies as st


def can_be(address):
    "Whether mail could go there: not to @host.test, for one."
    try: return bool(validate_email(address, check_deliverability=False))
    except EmailNotValidError: return False


# What the document cannot say: which domains there are, that a password must not be a name,
# that a window begins before it ends, which columns a CSV file has, which ratings a model gives.
schemathesis.openapi.format("email", st.emails().filter(can_be))
CELL = st.integers(-1, 99).map(str) | st.sampled_from(["", "x", "1e400", '"a, b"', "0.5"])
LINES = st.lists(st.lists(CELL, min_size=9, max_size=12).map(",".join), max_size=9)
FILES = LINES.map(lambda lines: "\\n".join([HEADER, *lines]).encode())
schemathesis.openapi.media_type("text/csv", FILES)
number = itertools.count()


def moment(text): return datetime.fromisoformat(text.upper().replace("Z", "+00:00"))


@schemathesis.hook
def filter_body(context, body):
    if not isinstance(body, dict): return True
    if isinstance(body.get("from"), str) and isinstance(body.get("to"), str):
        try: return moment(body["from"]) < moment(body["to"])
        except (ValueError, TypeError): return True
    if "password" not in body: return True
    names = [str(body.get(name)).lower() for name in ("username", "email")]
    return str(body["password"]).lower() not in names


@schemathesis.hook
def before_call(context, case, kwargs):
    if not (case.meta and case.meta.generation.mode.is_positive): return
    # A key that was used belongs to the request that used it, which the document cannot say either:
    # a good one is a new one.
    if case.headers.get("Idempotency-Key"):
        case.headers["Idempotency-Key"] = f"{uuid.uuid4()}.{next(number)}"
    # a good rating is one that the models here give
    if (case.query or {}).get("rating") not in (None, *RATINGS):
        case.query["rating"] = RATINGS[0]


@schemathesis.hook
def after_call(context, case, response):
    with open(STATUSES, "a") as file: file.write(f"{response.status_code}\\n")
"""


def shortened(text):
    "What schemathesis says, without the bodies that fill a page."
    return "\n".join(line[:600] for line in text.splitlines())[-20_000:]


def tried(service, documented, clients, folder, *options):
    """Runs schemathesis with all its checks, as the first of these users, none of whom may see what
    is another's; says how many cases it made, and how many answers of each status it got.
    """
    header = ",".join(
        name
        for name in documented["components"]["schemas"]["Applicant"]["properties"]
        if name != "application_reference"
    )
    names = [f"user-{i}" for i in range(len(clients))]
    (folder / "contract_hooks.py").write_text(
        f"HEADER, STATUSES = {header!r}, {str(folder / 'statuses')!r}\n"
        f"RATINGS = {[grade.rating for grade in get_portfolio('gmsc').ratings]!r}\n{HOOKS}"
    )
    (folder / "users.json").write_text(
        json.dumps(
            dict(
                auth=[
                    dict(
                        name=name,
                        fixedHeaders=[
                            dict(name="Authorization", value=client.headers["Authorization"])
                        ],
                    )
                    for name, client in zip(names, clients)
                ]
            )
        )
    )
    (folder / "schemathesis.toml").write_text(
        f'[auth.wfc]\npath = {json.dumps(str(folder / "users.json"))}\nuser = "{names[0]}"\n'
        + f"peers = {json.dumps(names)}\n" * (len(names) > 1)
    )
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        "schemathesis.toml",
        "run",
        f"http://127.0.0.1:{service.port}/docs.json",
        "--checks",
        "all",
        "--continue-on-failure",
        "--no-color",
        "--report",
        "json",
        "--report-json-path",
        "report.json",
        *options,
    ]
    environment = {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    } | dict(SCHEMATHESIS_HOOKS="contract_hooks", PYTHONPATH=str(folder), NO_PROXY="*")
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800
    )
    assert (folder / "report.json").exists(), done.stdout + done.stderr
    report, statuses = (
        json.loads((folder / "report.json").read_text()),
        [int(line) for line in (folder / "statuses").read_text().split()],
    )
    assert (
        done.returncode == 0 and report["complete"] and report["failures"] == report["errors"] == []
    ), shortened(done.stdout) + done.stderr
    assert report["operations"]["tested"] == sum(
        len(methods) for methods in documented["paths"].values()
    ) - options.count("--exclude-path")
    cases = report["test_cases"]["generated"] - report["test_cases"]["without_checks"]
    assert max(statuses) < 500 and len(statuses) > 0.9 * cases
    return cases, Counter(statuses)


COMPUTED = (
    "--exclude-path",
    "/drift/detect",
    "--exclude-path",
    "/performance",
    "--exclude-path",
    "/challenger",
)  # a process of its own for each: tried in the long run, and by name in test_service_monitoring.py


def test_schemathesis_finds_nothing_as_an_analyst(service, documented, ada, bob, tmp_path):
    cases, statuses = tried(
        service,
        documented,
        [ada, bob],
        tmp_path,
        "--max-examples",
        "4",
        "--generation-deterministic",
        *COMPUTED,
    )
    assert cases > 500 and statuses[200] > 100 and statuses[422] > 50, (cases, statuses)


def test_schemathesis_finds_nothing_as_an_admin(service, documented, admin, tmp_path):
    cases, statuses = tried(
        service,
        documented,
        [admin],
        tmp_path,
        "--max-examples",
        "10",
        "--phases",
        "fuzzing,stateful",
        "--generation-deterministic",
        *COMPUTED,
    )
    assert cases > 100 and statuses[200] > 50 and statuses[422] > 10, (cases, statuses)


@pytest.mark.slow
def test_schemathesis_finds_nothing_in_thousands_of_cases(
    service, documented, ada, bob, admin, tmp_path
):
    total = 0
    for clients in ([ada, bob], [admin]):
        folder = tmp_path / str(len(clients))
        folder.mkdir()
        cases, statuses = tried(service, documented, clients, folder, "--max-examples", "250")
        assert statuses[200] > 500 and statuses[422] > 500, (cases, statuses)
        total += cases
    assert total >= 5000

"""A portfolio and a table in which every text that a lender may write tries to run a script."""

import csv
import json

import numpy as np

from credit_default.portfolio.catalogue import get_portfolio

RAN = "document.title='ran'"
SCRIPT = f"</script><script>{RAN}</script>"
SVG = f'<svg onload="{RAN}">'
IMAGE = f'<img src=x onerror="{RAN}">{{n}} $a_b$ `<i>` &lt;{SCRIPT}'
QUOTE = f"\"><input autofocus onfocus=\"{RAN}\">' onmouseover='{RAN}'"
FORMATS = "{0.__class__} {n} {rate:.2%} } { $income_a ($) %s `"
ALL = f"{SCRIPT} {SVG} {IMAGE} {QUOTE} {FORMATS}"
CATEGORIES = (f"a {SCRIPT}", f"b {SVG}", f"c {QUOTE}")


def texts(what):
    "The keys of a field that are for people."
    return dict(
        title=f"{what} {ALL}",
        description=f"What {what} means {ALL}",
        reason=f"Reason {what} {ALL}",
        reason_missing=f"No {what} {ALL}",
    )


def definition():
    "The keys of the portfolio."
    fields = [
        dict(name=f"income {SCRIPT}", alias="income", unit=f"EUR {ALL}", hard=[0, None], log=True)
        | dict(codes={"-1": f"code {ALL}", "-2": f"other {SVG}"}, direction=-1)
        | texts("income"),
        dict(name=f"debt {SVG}", alias="debt", unit=QUOTE, plausible=[0, 90_000])
        | dict(reason_low=f"Low debt {ALL}", reason_high=f"High debt {ALL}")
        | texts("debt"),
        dict(name=f"{FORMATS} late", alias="late", kind="integer", direction=1) | texts("late"),
        dict(name=f"age {QUOTE}", alias="age", kind="integer", role="protected", unit=SVG)
        | texts("age"),
        dict(name=f"purpose {IMAGE}", alias="purpose", kind="category")
        | dict(categories=list(CATEGORIES), unknown="other", synonyms={f"z {SVG}": CATEGORIES[0]})
        | dict(reason_by_category={CATEGORIES[0]: f"First purpose {ALL}"})
        | texts("purpose"),
        dict(name=f"sex {SVG}", alias="sex", kind="category", role="protected")
        | dict(categories=[f"f {IMAGE}", f"m {SVG}"])
        | texts("sex"),
        dict(name=f"grade {SVG}", alias="grade", role="lender") | texts("grade"),
    ]
    general = {
        key: f"{key} {ALL}"
        for key in ("title", "description", "source", "default_definition", "intended_use")
    }
    return general | dict(
        name="hostile",
        target=f"defaulted {SVG}",
        currency=QUOTE,
        limits=[f"limit {ALL}"],
        ratings=[
            dict(lowest=300, rating=f"D {SVG}", risk=ALL[:200]),
            dict(lowest=560, rating="C <script>document.title='ran'</script>", risk=QUOTE),
            dict(lowest=640, rating="B $x$ {n} `", risk=FORMATS),
        ],
        dropped={f"number {SVG}": f"dropped {ALL}"},
        fields=fields,
        derived=[
            dict(name=f"burden {SVG}", op="ratio", fields=[f"debt {SVG}", f"income {SCRIPT}"])
        ],
    )


def rows(n, seed):
    "A table of applicants with outcomes: the headings, and a list for each row."
    rng = np.random.default_rng(seed)
    income = rng.lognormal(8, 0.6, n).round()
    income[rng.random(n) < 0.05] = -1
    debt, late = rng.lognormal(7, 1, n).round(), rng.poisson(0.6, n)
    age, grade = rng.integers(19, 80, n), rng.integers(1, 7, n)
    purpose, sex = rng.choice(CATEGORIES, n), rng.choice([f"f {IMAGE}", f"m {SVG}"], n)
    risky = purpose == CATEGORIES[0]
    odds = -2.2 + 0.8 * late - 0.5 * (np.log(np.maximum(income, 100)) - 8) + risky
    y = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(int)
    names = [field["name"] for field in definition()["fields"]]
    head = [*names, f"number {SVG}", f"defaulted {SVG}"]
    columns = (income, debt, late, age, purpose, sex, grade, np.arange(n), y)
    lists = [list(row) for row in zip(*(column.tolist() for column in columns))]
    for i in range(0, n, 9):
        lists[i][1] = ""
    return head, lists


def write(folder, n=1500):
    "Write the definition, a file of loans and one of current applicants; return their paths."
    keys = folder / "hostile.json"
    keys.write_text(json.dumps(definition()), encoding="utf-8")
    portfolio, paths = get_portfolio(keys), []
    assert portfolio.title.endswith(FORMATS)
    for name, seed in (("loans.csv", 1), ("current.csv", 2)):
        paths.append(folder / name)
        with paths[-1].open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            head, lists = rows(n, seed)
            writer.writerow(head)
            for row in lists:
                writer.writerow([9 * row[0], *row[1:]] if seed == 2 and row[0] > 0 else row)
    return keys, *paths

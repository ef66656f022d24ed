"""Federal Student Aid: checks that the form is complete before anybody spends time on it."""

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from hmsact import Call, StepError, Worker

# An operation that was started without an input is about the form on file.
ON_FILE = json.loads(Path(__file__).with_name("application.json").read_text("utf-8"))
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")

fsa = Worker("FSA", token="dev:svc/FSA")


@fsa.step("validate_form")
def validate_form(call: Call) -> dict[str, Any]:
    form = ON_FILE if call.input is None else call.input
    faults = faults_of(form)
    if faults:
        # The same form will be as faulty the next time: no retry.
        raise StepError("; ".join(faults), code="FORM_INVALID", retryable=False)
    return dict(form)


def faults_of(form: Any) -> list[str]:
    """Everything that is wrong with a form, so that the applicant need not come back for each fault."""
    faults = []
    if not EMAIL.fullmatch(str(value(form, "applicant", "email"))):
        faults.append("applicant.email is no e-mail address")
    if not is_adult(value(form, "applicant", "birth_date")):
        faults.append("applicant.birth_date is not the date of birth of an adult")
    needed = (("borrower_id",), ("applicant", "name"), ("loan", "id"))
    faults += [f"{'.'.join(path)} is missing" for path in needed if not value(form, *path)]
    for path, least in (
        (("household", "size"), 1),
        (("household", "income_usd"), 0),
        (("loan", "balance_usd"), 1),
        (("loan", "qualifying_payments"), 0),
    ):
        number = value(form, *path)
        if not isinstance(number, int) or number < least:
            faults.append(f"{'.'.join(path)} is not a whole number of at least {least}")
    if value(form, "consents_to_income_check") is not True:
        faults.append("without consents_to_income_check the IRS may not be asked")
    return faults


def value(form: Any, *path: str) -> Any:
    for name in path:
        form = form.get(name) if isinstance(form, dict) else None
    return form


def is_adult(birth_date: Any) -> bool:
    try:
        born = date.fromisoformat(str(birth_date))
    except ValueError:
        return False
    return (datetime.now(UTC).date() - born).days >= 18 * 365.25


if __name__ == "__main__":
    fsa.run()

"""Treasury: works out what is left of the balance, and posts it once, however often it is asked to."""

from typing import Any

from hmsact import Call, Worker

# Public Service Loan Forgiveness forgives what is left after 120 payments (34 CFR 685.219).
PAYMENTS_NEEDED = 120

treasury = Worker("Treasury", token="dev:svc/Treasury")

ledger: dict[str, dict[str, Any]] = {}


@treasury.step("update_balance")
def update_balance(call: Call) -> dict[str, Any]:
    # A step may be repeated when a report is lost; its idempotency key tells a repeat from a second posting.
    if call.idempotency_key not in ledger:
        ledger[call.idempotency_key] = posting(call.outputs["validate_form"], call.outputs["eligibility_check"])
    return ledger[call.idempotency_key]


def posting(form: dict[str, Any], check: dict[str, Any]) -> dict[str, Any]:
    loan = form["loan"]
    is_forgiven = check["eligible"] and loan["qualifying_payments"] >= PAYMENTS_NEEDED
    forgiven = loan["balance_usd"] if is_forgiven else 0
    return {"loan": loan["id"], "forgiven_usd": forgiven, "balance_usd": loan["balance_usd"] - forgiven}


if __name__ == "__main__":
    treasury.run()

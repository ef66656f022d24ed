"""Email: writes to the applicant. This one is `async def`, as a service that waits for a mail server would be."""

from email.message import EmailMessage
from typing import Any

from hmsact import Call, Worker

email_service = Worker("Email", token="dev:svc/Email")


@email_service.step("notify_applicant")
async def notify_applicant(call: Call) -> dict[str, Any]:
    letter = compose(call.outputs["validate_form"], call.outputs["update_balance"], call.operation_id)
    # A real service hands the letter to its mail server here, with call.idempotency_key as the Message-ID.
    return {"to": letter["To"], "subject": letter["Subject"], "body": letter.get_content()}


def compose(form: dict[str, Any], posting: dict[str, Any], operation_id: str) -> EmailMessage:
    letter = EmailMessage()
    letter["To"] = form["applicant"]["email"]
    letter["Subject"] = f"Your loan {posting['loan']}"
    letter.set_content(
        f"Dear {form['applicant']['name']},\n\n"
        f"${posting['forgiven_usd']:,} of your loan {posting['loan']} have been forgiven; "
        f"${posting['balance_usd']:,} remain.\n\n"
        f"If you call us about this, please have {operation_id} at hand.\n"
    )
    return letter


if __name__ == "__main__":
    email_service.run()

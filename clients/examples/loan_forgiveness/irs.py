"""Internal Revenue Service: compares the income with the threshold. Its gateway fails once for every operation."""

from typing import Any

from hmsact import Call, StepError, Worker

# Poverty guidelines of 2025 for the 48 contiguous states, in dollars (HHS, 90 FR 5917).
GUIDELINE_OF_ONE = 15_650
GUIDELINE_EACH_FURTHER = 5_500
# Income-driven plans protect 225 % of the guideline (34 CFR 685.209).
PROTECTED_PERCENT = 225

irs = Worker("IRS", token="dev:svc/IRS")


@irs.step("eligibility_check")
def eligibility_check(call: Call) -> dict[str, Any]:
    if call.attempt == 1:
        raise StepError("502 Bad Gateway from the income service", code="HTTP_502")
    household = call.outputs["validate_form"]["household"]
    threshold = threshold_of(household["size"])
    return {
        "eligible": household["income_usd"] <= threshold,
        "income_usd": household["income_usd"],
        "threshold_usd": threshold,
    }


def threshold_of(household_size: int) -> int:
    """The income in dollars up to which a household is protected."""
    guideline = GUIDELINE_OF_ONE + GUIDELINE_EACH_FURTHER * (household_size - 1)
    return guideline * PROTECTED_PERCENT // 100


if __name__ == "__main__":
    irs.run()

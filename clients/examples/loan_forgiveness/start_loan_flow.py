# start_loan_flow.py: starts one operation and prints its id.
from hmsact import Checkpoint, Orchestrator, Step

act = Orchestrator()  # 1️⃣ connect

flow = [
    Step("validate_form", svc="FSA"),
    Step("eligibility_check", svc="IRS", sla="2m"),
    Checkpoint("human_review", role="fsa.officer"),
    Step("update_balance", svc="Treasury"),
    Step("notify_applicant", svc="Email"),
]

op = act.start(name="loan_forgiveness", steps=flow)  # 2️⃣ launch
print(f"Operation ID: {op.id}")  # 3️⃣ display

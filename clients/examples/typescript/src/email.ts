// Email, as the demo's email_service.py: it writes to the applicant.

import { type Json, StepError, Worker } from "./worker.js";

interface Form {
  applicant: { name: string; email: string };
}

interface Posting {
  loan: string;
  forgiven_usd: number;
  balance_usd: number;
}

const worker = new Worker({
  svc: "Email",
  token: process.env["HMSACT_TOKEN"] ?? "dev:svc/Email",
  steps: {
    notify_applicant: ({ outputs, operationId }): Json => {
      const form = outputs["validate_form"] as unknown as Form | undefined;
      const posting = outputs["update_balance"] as unknown as Posting | undefined;
      if (!form || !posting) throw new StepError("there is nothing to write about", { permanent: true });
      // A real service hands the letter to its mail server here, with the idempotency key as the Message-ID.
      return {
        to: form.applicant.email,
        subject: `Your loan ${posting.loan}`,
        body:
          `Dear ${form.applicant.name},\n\n` +
          `$${posting.forgiven_usd.toLocaleString("en")} of your loan ${posting.loan} have been forgiven; ` +
          `$${posting.balance_usd.toLocaleString("en")} remain.\n\n` +
          `If you call us about this, please have ${operationId} at hand.\n`,
      };
    },
  },
});

await worker.run();

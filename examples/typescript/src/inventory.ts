// The inventory: says who acts for whom.

import { caller, verified } from "agent-sts";
import express from "express";

const app = express().use(verified());
app.get("/stock", (_request, response) => {
  const { actor, subject, tenant_id } = caller();
  response.send(`${actor?.sub} acts for ${subject.sub} of ${tenant_id}: 7 bolts`);
});
app.listen(9001, "127.0.0.1", () => console.log("listening on 127.0.0.1:9001"));

// The coordinator: verifies the user's token, and asks the inventory on behalf of the user.

import { Failure, correlation, exchange, send, verifyUser } from "./sts.js";
import { serve } from "./web.js";

const INVENTORY = "http://127.0.0.1:9001/stock";

serve(async (headers) => {
  const { token, claims } = await verifyUser(headers);
  const correlationId = correlation(headers);
  const exchanged = await exchange(token, "coordinator", "inventory", correlationId);
  const answer = await send(INVENTORY, {
    headers: { "Authorization": `Bearer ${exchanged}`, "X-Correlation-ID": correlationId },
  });
  if (!answer.ok) throw new Failure(424, "failed_dependency", `the inventory answered ${answer.status}`);
  return `${claims.sub} asked, ${await answer.text()}`;
}, 9000);

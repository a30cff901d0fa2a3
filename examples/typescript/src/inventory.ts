// The inventory: verifies the token of an agent, and says for whom it acts.

import { acting, requireScope, verifyAgent } from "./sts.js";
import { serve } from "./web.js";

serve(async (headers) => {
  const { claims } = await verifyAgent(headers, "inventory");
  requireScope(claims, "stock:read");
  return `${acting(claims)} acts for ${claims.sub} of ${claims.tenant_id}: 7 bolts`;
}, 9001);

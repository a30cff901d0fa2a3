// The coordinator: asks the inventory on behalf of its caller.

import { answerFailures, caller, onBehalf, verified } from "agent-sts";
import express from "express";

const http = onBehalf();

const app = express().use(verified());
app.get("/stock", async (_request, response) => {
  const answer = await http("http://127.0.0.1:9001/stock");
  if (!answer.ok) throw new Error(`the inventory answered ${answer.status}`);
  response.send(`${caller().subject.sub} asked, ${await answer.text()}`);
});
app.use(answerFailures).listen(9000, "127.0.0.1", () => console.log("listening on 127.0.0.1:9000"));

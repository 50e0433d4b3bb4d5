// What Restate's published client does with a server: node restate.cjs URL SCENARIO KEY
"use strict";

const assert = require("node:assert/strict");
const { connect, HttpCallError, Opts, SendOpts } = require("@restatedev/restate-sdk-clients");

const [url, scenario, key] = process.argv.slice(2);
const ingress = connect({ url });
const counter = (name = key) => ingress.objectClient({ name: "Counter" }, name);

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function until(what, ask) {
  for (let tries = 0; tries < 1200; tries++) {
    const found = await ask();
    if (found) return found;
    await pause(100);
  }
  throw new Error(`it never came: ${what}`);
}

async function fails(asked) {
  const error = await asked.then(
    () => assert.fail("it did not fail"),
    (error) => error,
  );
  assert.ok(error instanceof HttpCallError, error);
  const { message, code, source } = JSON.parse(error.responseText);
  assert.equal(code, error.status);
  return { message, code, source };
}

const scenarios = {
  async call() {
    assert.match(await ingress.serviceClient({ name: "Greeter" }).greet(key), new RegExp(`^Hello ${key}, visit 1$`));
    assert.equal(await counter().total(), 1);
    assert.equal(await counter(`${key}/ë b`).add(2), 2);
    assert.equal(await ingress.call({ service: "Counter", handler: "add", key: `${key}/ë b`, parameter: 3 }), 5);
  },

  async send() {
    const sender = ingress.objectSendClient({ name: "Counter" }, key);
    const sent = await sender.add(4, SendOpts.from({ idempotencyKey: "once" }));
    assert.equal(sent.status, "Accepted");
    assert.match(sent.invocationId, /^inv_/);
    assert.equal(await ingress.result(sent), 4);
    const again = await sender.add(4, SendOpts.from({ idempotencyKey: "once" }));
    assert.deepEqual([again.status, again.invocationId], ["PreviouslyAccepted", sent.invocationId]);
    await sender.add(5);
    await until("the message", async () => (await counter().total()) === 9);
  },

  async delay() {
    const sender = ingress.objectSendClient({ name: "Counter" }, key);
    const began = Date.now();
    const later = await sender.add(1, SendOpts.from({ delay: { hours: 1 } }));
    assert.equal(later.status, "Accepted");
    assert.ok(Math.abs(Date.parse(later.executionTime) - began - 3_600_000) < 60_000, later.executionTime);
    const soon = await sender.add(2, SendOpts.from({ delay: 300, idempotencyKey: "soon" }));
    assert.equal(await ingress.result(soon), 2);
    assert.ok(Date.now() - began >= 300);
  },

  async "idempotency key"() {
    const once = Opts.from({ idempotencyKey: "once" });
    assert.equal(await counter().add(1, once), 1);
    assert.equal(await counter().add(1, once), 1);
    assert.equal(await counter().add(1), 2);
  },

  async workflow() {
    const email = `${key}@example.com`;
    const signUp = ingress.workflowClient({ name: "SignUp" }, key);
    const submitted = await signUp.workflowSubmit(email);
    assert.equal(submitted.status, "Accepted");
    assert.equal((await signUp.workflowSubmit(email)).status, "PreviouslyAccepted");
    assert.equal((await signUp.workflowOutput()).ready, false);
    const mailbox = ingress.objectClient({ name: "Mailer" }, email);
    const [mail] = await until("the mail", async () => ((await mailbox.sent()).length ? mailbox.sent() : null));
    const attached = signUp.workflowAttach();
    assert.equal(await signUp.confirm(mail.split(" ").at(-1)), "confirmed");
    assert.equal(await attached, "confirmed");
    assert.equal(await ingress.result(submitted), "confirmed");
    const output = await signUp.workflowOutput();
    assert.deepEqual([output.ready, output.result], [true, "confirmed"]);
  },

  async "error with its source"() {
    const signUp = ingress.workflowClient({ name: "SignUp" }, key);
    await signUp.workflowSubmit(`${key}@example.com`);
    await until("it waits", async () => (await signUp.status()) === "waiting");
    assert.deepEqual(await fails(signUp.confirm("guessed")), {
      message: "that is not the code",
      code: 403,
      source: "invocation",
    });
    const { code, source } = await fails(ingress.serviceClient({ name: "Greeter" }).grumble());
    assert.deepEqual([code, source], [404, "ingress"]);
    assert.equal((await fails(ingress.serviceClient({ name: "Greeter" }).greet(7))).code, 400);
  },

  async "terminal 500 is not repeated"() {
    let requests = 0;
    const counting = (...args) => (requests++, fetch(...args));
    const retry = { initialInterval: 10 };
    const repeating = connect({ url, fetch: counting, retry });
    const once = Opts.from({ idempotencyKey: "once" });
    const declined = await fails(repeating.serviceClient({ name: "Till" }).pay(7, once));
    assert.deepEqual(declined, { message: "declined", code: 500, source: "invocation" });
    assert.equal(requests, 1);
    const failing = async (...args) => (requests++ < 2 ? new Response("", { status: 503 }) : fetch(...args));
    const patient = connect({ url, fetch: failing, retry });
    assert.deepEqual(await patient.objectClient({ name: "Board" }, key).notes(once), []);
    assert.equal(requests, 3); // what a gateway says is repeated
  },

  async awakeable() {
    for (const reject of [false, true]) {
      const board = ingress.objectClient({ name: "Board" }, `${key} ${reject}`);
      const sender = ingress.serviceSendClient({ name: "Clerk" });
      const sent = await sender.confirm(`${key} ${reject}`, SendOpts.from({ idempotencyKey: `${key} ${reject}` }));
      const [id] = await until("the awakeable", async () => ((await board.notes()).length ? board.notes() : null));
      if (reject) {
        await ingress.rejectAwakeable(id, "no money");
        assert.equal((await fails(ingress.result(sent))).message, "no money");
      } else {
        await ingress.resolveAwakeable(id, { paid: 7 });
        assert.deepEqual(await ingress.result(sent), { paid: 7 });
      }
    }
  },
};

scenarios[scenario]().catch((error) => {
  console.error(error);
  process.exit(1);
});

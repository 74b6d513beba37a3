// node-redis against slotway: node_redis.mjs PORT. Ends with 0 if all of it holds.
//
// Nothing is set. Up to node-redis 5 that means RESP2, from 6 on RESP3.

import * as five from "node-redis-5";
import * as six from "node-redis-6";
import { everyByte, fails, hold, oddKeys, ok, port, refused, same, within } from "./shared.mjs";

const url = `redis://127.0.0.1:${port}`;

async function valuesOfAllTypes(r) {
  same(await r.set("nr:s", "1"), "OK");
  same(await r.incrBy("nr:s", 41), 42);
  same(await r.get("nr:s"), "42");
  same(await r.get("nr:nothing"), null);
  await Promise.all(["h", "l", "set", "z", "x"].map((name) => r.del(`nr:${name}`)));
  same(await r.hSet("nr:h", { a: "1", b: "two" }), 2);
  same({ ...(await r.hGetAll("nr:h")) }, { a: "1", b: "two" });
  same(await r.rPush("nr:l", ["1", "2", "3"]), 3);
  same(await r.lRange("nr:l", 0, -1), ["1", "2", "3"]);
  same(await r.sAdd("nr:set", ["x", "y"]), 2);
  same([...(await r.sMembers("nr:set"))].sort(), ["x", "y"]);
  same(await r.zAdd("nr:z", [{ score: 1, value: "one" }, { score: 0.5, value: "half" }]), 2);
  same(await r.zScore("nr:z", "half"), 0.5);
  const id = await r.xAdd("nr:x", "*", { n: "1" });
  const [stream] = await r.xRead({ key: "nr:x", id: "0" });
  same(stream.messages.map((message) => message.id), [id]);
  same(await r.mSet({ "{nr}:1": "a", "{nr}:2": "b" }), "OK");
  same(await r.mGet(["{nr}:1", "{nr}:2", "{nr}:3"]), ["a", "b", null]);
  await fails(r.lPush("nr:s", "1"), "WRONGTYPE");
}

const buffers = (module) => ({ [module.RESP_TYPES.BLOB_STRING]: Buffer });

function namesAndValuesOfAnyBytes(module) {
  return async function namesAndValuesOfAnyBytes(r) {
    const raw = r.withTypeMapping(buffers(module));
    for (const key of [...oddKeys, everyByte]) {
      same(await r.set(key, everyByte), "OK");
      same(await raw.get(key), everyByte);
      same(await r.del(key), 1);
    }
  };
}

function largeValues(module) {
  return async function largeValues(r) {
    const raw = r.withTypeMapping(buffers(module));
    for (const size of [16_000, 70_000, 1_000_000, 5_000_000]) {
      const value = Buffer.alloc(size, "0123456789abcdefg");
      same(await r.set("nr:large", value), "OK");
      ok(value.equals(await raw.get("nr:large")), `${size} bytes`);
    }
    await r.del("nr:large");
  };
}

function scripts(module) {
  return async function scripts(r) {
    const text = "redis.call('SET', KEYS[1], ARGV[1]); return {redis.call('GET', KEYS[1]), 7}";
    same(await r.eval(text, { keys: ["nr:script"], arguments: ["v"] }), ["v", 7]);
    // EVALSHA first; on NOSCRIPT, EVAL.
    const own = module.defineScript({
      SCRIPT: `return ARGV[1] .. '${Math.random()}'`,
      NUMBER_OF_KEYS: 1,
      parseCommand: (parser, key, value) => {
        parser.pushKey(key);
        parser.push(value);
      },
      transformReply: (reply) => reply,
    });
    const scripted = await module.createClient({ url, scripts: { own } }).connect();
    for (let n = 0; n < 20; n++) ok((await scripted.own(`nr:script:${n}`, "w")).startsWith("w0."));
    await scripted.close();
  };
}

function aPoolOf100(module) {
  return async function aPoolOf100() {
    const pool = module.createClientPool({ url }, { minimum: 100, maximum: 100 });
    await pool.connect();
    const numbers = Array.from({ length: 1000 }, (_, n) => n);
    const replies = await Promise.all(numbers.map((n) => pool.set(`nr:pool:${n}`, `${n}`)));
    same(replies, numbers.map(() => "OK"));
    same(await Promise.all(numbers.map((n) => pool.get(`nr:pool:${n}`))), numbers.map((n) => `${n}`));
    pool.destroy();
  };
}

async function manyKeysOverAllSlots(r) {
  const names = Array.from({ length: 300 }, (_, n) => `nr:many:${n}`);
  same(await r.mSet(Object.fromEntries(names.map((name, n) => [name, `${n}`]))), "OK");
  same(await r.mGet(names), names.map((_, n) => `${n}`));
  same((await r.keys("nr:many:*")).sort(), [...names].sort());
  same(await r.exists(names), 300);
  same(await r.del(names), 300);
}

// What is issued in one turn of the event loop leaves as one pipeline.
async function pipelines(r) {
  const numbers = Array.from({ length: 3000 }, (_, n) => n);
  const replies = await Promise.all(
    numbers.flatMap((n) => [r.set(`nr:p:${n}`, `${n}`), r.get(`nr:p:${n}`)]),
  );
  same(replies, numbers.flatMap((n) => ["OK", `${n}`]));
  same(await r.multi().set("nr:p", "a").get("nr:p").execAsPipeline(), ["OK", "a"]);
}

async function scanIterators(r) {
  const names = Array.from({ length: 300 }, (_, n) => `nr:scan:${n}`);
  await r.mSet(Object.fromEntries(names.map((name) => [name, "v"])));
  const found = new Set();
  for await (const page of r.scanIterator({ MATCH: "nr:scan:*", COUNT: 50 })) {
    page.forEach((name) => found.add(name));
  }
  same([...found].sort(), [...names].sort());
  await r.del(names);
}

async function refusalsAreErrors(r) {
  for (const words of refused) {
    await fails(r.sendCommand(words), "unknown ", words.join(" "));
    same(await r.echo("alive"), "alive");
  }
  same(await r.blPop("a", 0.01), null);
  await fails(r.rename("a", "b"), "CROSSSLOT");
  same(await r.echo("alive"), "alive");
}

async function transactions(r) {
  same(await r.multi().set("{nr:t}a", "1").incr("{nr:t}a").exec(), ["OK", 2]);
  const other = await r.duplicate().connect();
  await other.watch("{nr:t}a");
  await r.set("{nr:t}a", "10");
  const lost = await other.multi().set("{nr:t}a", "never").exec().catch((error) => error.constructor.name);
  same(lost, "WatchError");
  await other.watch("{nr:t}a");
  same(await other.multi().incr("{nr:t}a").exec(), [11]);
  other.destroy();
}

async function subscriptions(r) {
  const subscriber = await r.duplicate().connect();
  const messages = [];
  await subscriber.subscribe("nr:news", (text, channel) => messages.push(`${channel} ${text}`));
  await subscriber.pSubscribe("nr:n*", (text, channel) => messages.push(`* ${channel} ${text}`));
  same(await r.publish("nr:news", "a"), 2);
  while (messages.length < 2) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  same(messages.sort(), ["* nr:news a", "nr:news a"]);
  await subscriber.unsubscribe("nr:news");
  await subscriber.pUnsubscribe("nr:n*");
  same(await r.publish("nr:news", "b"), 0);
  subscriber.destroy();
}

for (const [title, module] of [
  ["node-redis 5", five],
  ["node-redis 6", six],
]) {
  const client = module.createClient({ url });
  client.on("error", (error) => console.log(`${title}: ${error.message}`));
  await within(10, client.connect(), `${title}: to connect`);
  await hold(title, client, [
    valuesOfAllTypes,
    namesAndValuesOfAnyBytes(module),
    largeValues(module),
    scripts(module),
    pipelines,
    transactions,
    manyKeysOverAllSlots,
    aPoolOf100(module),
    scanIterators,
    refusalsAreErrors,
    subscriptions,
  ]);
  await client.close();
}

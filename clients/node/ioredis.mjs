// ioredis against slotway, at its default settings: ioredis.mjs PORT. Ends with 0 if all holds.

import Redis from "ioredis";
import { everyByte, fails, hold, oddKeys, ok, port, refused, same } from "./shared.mjs";

async function valuesOfAllTypes(r) {
  same(await r.set("io:s", "1"), "OK");
  same(await r.incrby("io:s", 41), 42);
  same(await r.get("io:s"), "42");
  same(await r.set("io:s", "2", "NX"), null);
  await Promise.all(["h", "l", "set", "z", "x"].map((name) => r.del(`io:${name}`)));
  same(await r.hset("io:h", { a: 1, b: "two" }), 2);
  same(await r.hgetall("io:h"), { a: "1", b: "two" });
  same(await r.rpush("io:l", 1, 2, 3), 3);
  same(await r.lrange("io:l", 0, -1), ["1", "2", "3"]);
  same(await r.sadd("io:set", "x", "y"), 2);
  same((await r.smembers("io:set")).sort(), ["x", "y"]);
  same(await r.zadd("io:z", 1, "one", 0.5, "half"), 2);
  same(await r.zrange("io:z", 0, -1, "WITHSCORES"), ["half", "0.5", "one", "1"]);
  const id = await r.xadd("io:x", "*", "n", "1");
  same(await r.xread("STREAMS", "io:x", "0"), [["io:x", [[id, ["n", "1"]]]]]);
  same(await r.mset("{io}:1", "a", "{io}:2", "b"), "OK");
  same(await r.mget("{io}:1", "{io}:2", "{io}:3"), ["a", "b", null]);
  await fails(r.lpush("io:s", 1), "WRONGTYPE");
}

async function namesAndValuesOfAnyBytes(r) {
  for (const key of [...oddKeys, everyByte]) {
    same(await r.set(key, everyByte), "OK");
    same(await r.getBuffer(key), everyByte);
    same(await r.del(key), 1);
  }
  same(await r.set("io:empty", ""), "OK");
  same(await r.get("io:empty"), "");
}

async function largeValues(r) {
  for (const size of [16_000, 70_000, 1_000_000, 5_000_000]) {
    const value = Buffer.alloc(size, "0123456789abcdefg");
    same(await r.set("io:large", value), "OK");
    ok(value.equals(await r.getBuffer("io:large")), `${size} bytes`);
  }
  await r.del("io:large");
}

async function scripts(r) {
  const text = "redis.call('SET', KEYS[1], ARGV[1]); return {redis.call('GET', KEYS[1]), 7}";
  same(await r.eval(text, 1, "io:script", "v"), ["v", 7]);
  // EVALSHA first; on NOSCRIPT, EVAL.
  const own = `return ARGV[1] .. '${Math.random()}'`;
  r.defineCommand("own", { numberOfKeys: 1, lua: own });
  ok((await r.own("io:script", "w")).startsWith("w0."));
  // Known to one node by now: to ioredis that is the server.
  const keys = Array.from({ length: 20 }, (_, n) => `io:script:${n}`);
  const replies = await Promise.all(keys.map((key) => r.own(key, "w")));
  ok(replies.every((reply) => reply.startsWith("w0.")));
}

async function pipelines(r) {
  const pipeline = r.pipeline();
  for (let n = 0; n < 3000; n++) pipeline.set(`io:p:${n}`, n).get(`io:p:${n}`);
  const replies = await pipeline.exec();
  for (let n = 0; n < 3000; n++) {
    same(replies[2 * n], [null, "OK"]);
    same(replies[2 * n + 1], [null, `${n}`]);
  }
}

async function manyKeysOverAllSlots(r) {
  const names = Array.from({ length: 300 }, (_, n) => `io:many:${n}`);
  same(await r.mset(names.flatMap((name, n) => [name, n])), "OK");
  same(await r.mget(names), names.map((_, n) => `${n}`));
  same((await r.keys("io:many:*")).sort(), [...names].sort());
  same(await r.exists(names), 300);
  same(await r.del(names), 300);
}

async function aHundredConnections() {
  const all = Array.from({ length: 100 }, () => new Redis(port));
  try {
    same(await Promise.all(all.map((r, n) => r.set(`io:hundred:${n}`, n))), all.map(() => "OK"));
    same(await Promise.all(all.map((r, n) => r.get(`io:hundred:${n}`))), all.map((_, n) => `${n}`));
    same(new Set(await Promise.all(all.map((r) => r.client("ID")))).size, 100);
  } finally {
    all.forEach((r) => r.disconnect());
  }
}

async function scanStreams(r) {
  const names = Array.from({ length: 300 }, (_, n) => `io:scan:${n}`);
  await r.mset(names.flatMap((name) => [name, "v"]));
  const found = new Set();
  for await (const page of r.scanStream({ match: "io:scan:*", count: 50 })) {
    page.forEach((name) => found.add(name));
  }
  same([...found].sort(), [...names].sort());
  await r.del(names);
}

async function subscriptions(r) {
  const subscriber = r.duplicate();
  const messages = [];
  subscriber.on("message", (channel, text) => messages.push(`${channel} ${text}`));
  subscriber.on("pmessage", (pattern, channel, text) => messages.push(`${pattern} ${channel} ${text}`));
  subscriber.on("smessage", (channel, text) => messages.push(`shard ${channel} ${text}`));
  same(await subscriber.subscribe("io:news", "io:olds"), 2);
  same(await subscriber.psubscribe("io:n*"), 3);
  same(await subscriber.ssubscribe("io:shard"), 1);
  same(await r.publish("io:news", "a"), 2);
  same(await r.spublish("io:shard", "b"), 1);
  while (messages.length < 3) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  same(messages.sort(), ["io:n* io:news a", "io:news a", "shard io:shard b"]);
  same(await subscriber.unsubscribe("io:news", "io:olds"), 1);
  same(await subscriber.punsubscribe("io:n*"), 0);
  same(await subscriber.sunsubscribe("io:shard"), 0);
  same(await r.publish("io:news", "c"), 0);
  subscriber.disconnect();
}

async function refusalsAreErrors(r) {
  for (const words of refused) {
    await fails(r.call(...words), "unknown ", words.join(" "));
    same(await r.echo("alive"), "alive");
  }
  same(await r.blpop("a", 0.01), null);
  await fails(r.rename("a", "b"), "CROSSSLOT");
  await fails(r.get(), "wrong number of arguments");
  same(await r.echo("alive"), "alive");
}

async function transactions(r) {
  same(await r.multi().set("{io:t}a", "1").incr("{io:t}a").exec(), [[null, "OK"], [null, 2]]);
  // Not in one write: MULTI and what follows it are answered one by one.
  await r.multi({ pipeline: false });
  same(await r.incr("{io:t}a"), "QUEUED");
  same(await r.exec(), [[null, 3]]);
  await fails(r.multi().set("io:t1", "x").set("io:t2", "x").exec(), "EXECABORT");
  const other = r.duplicate();
  await other.watch("{io:t}a");
  await r.set("{io:t}a", "10");
  same(await other.multi().set("{io:t}a", "never").exec(), null);
  await other.watch("{io:t}a");
  same(await other.multi().incr("{io:t}a").exec(), [[null, 11]]);
  await other.quit();
}

const client = new Redis(port);
await hold("ioredis", client, [
  valuesOfAllTypes,
  namesAndValuesOfAnyBytes,
  largeValues,
  scripts,
  pipelines,
  transactions,
  manyKeysOverAllSlots,
  aHundredConnections,
  scanStreams,
  subscriptions,
  refusalsAreErrors,
]);
await client.quit();

// ioredis' cluster client, which takes slotway for a cluster: ioredis_cluster.mjs PORT. Ends with 0
// if all holds.

import Redis from "ioredis";
import { fails, hold, ok, port, same } from "./shared.mjs";

async function oneNodeHasAllSlots(r) {
  same(await r.set("ioc:first", "1"), "OK");
  same(r.nodes("master").map((node) => node.options.port), [port]);
  same(await r.cluster("KEYSLOT", "foo"), 12182);
}

async function valuesOverManySlots(r) {
  const names = Array.from({ length: 500 }, (_, n) => `ioc:${n}`);
  await Promise.all(names.map((name, n) => r.set(name, n)));
  same(await Promise.all(names.map((name) => r.get(name))), names.map((_, n) => `${n}`));
  await fails(r.lpush("ioc:0", 1), "WRONGTYPE");
}

async function pipelines(r) {
  const pipeline = r.pipeline();
  for (let n = 0; n < 500; n++) pipeline.set(`{ioc}:${n}`, n).get(`{ioc}:${n}`);
  const replies = await pipeline.exec();
  for (let n = 0; n < 500; n++) same(replies[2 * n + 1], [null, `${n}`]);
}

async function readsFromReplicas() {
  const r = new Redis.Cluster([{ host: "127.0.0.1", port }], { scaleReads: "all" });
  try {
    same(await r.set("ioc:r", "1"), "OK");
    same(await r.get("ioc:r"), "1");
  } finally {
    r.disconnect();
  }
}

const cluster = new Redis.Cluster([{ host: "127.0.0.1", port }]);
cluster.on("error", (error) => ok(false, error.message));
try {
  await hold("cluster", cluster, [oneNodeHasAllSlots, valuesOverManySlots, pipelines, readsFromReplicas]);
} finally {
  cluster.disconnect();
}

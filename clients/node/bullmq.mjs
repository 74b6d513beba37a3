// BullMQ, a job queue, against slotway: bullmq.mjs PORT. Ends with 0 if all of it holds.
//
// Its keys share one slot by `prefix`, as its documentation says for any cluster. Three workers wait
// for jobs by BZPOPMIN, and events are read by XREAD; both block. Each job is done once, whatever
// happens to the cluster meanwhile that loses no data: whoever runs this fails nodes over until the
// list `{bull}done` is long enough.

import { FlowProducer, Queue, QueueEvents, Worker } from "bullmq";
import Redis from "ioredis";
import { port, same, within } from "./shared.mjs";

const JOBS = 1000;
const prefix = "{bull}";
const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const r = new Redis(port);
const queue = new Queue("jobs", { connection, prefix });
const events = new QueueEvents("jobs", { connection, prefix });
const work = async (job) => {
  await r.rpush("{bull}done", job.data.n);
  return job.data.n + 1;
};
const workers = [1, 2, 3].map(() => new Worker("jobs", work, { connection, prefix, concurrency: 2 }));
const failures = [];
for (const worker of workers) {
  worker.on("failed", (job, error) => failures.push(`${job?.id}: ${error.message}`));
  worker.on("error", (error) => console.log(`a worker says: ${error.message}`));
}
await events.waitUntilReady();

// A job's result comes back over the stream of events, delayed ones in time, children first.
const one = await queue.add("one", { n: -1 });
same(await within(10, one.waitUntilFinished(events), "a result"), 0);
const late = await queue.add("late", { n: -2 }, { delay: 300 });
same(await within(10, late.waitUntilFinished(events), "a delayed job"), -1);
const flows = new FlowProducer({ connection, prefix });
const child = (n) => ({ name: "child", queueName: "jobs", data: { n } });
const tree = { name: "parent", queueName: "jobs", data: { n: -5 }, children: [child(-3), child(-4)] };
const flow = await flows.add(tree);
same(await within(10, flow.job.waitUntilFinished(events), "a parent"), -4);
console.log("ok: results, delays and children");

for (let n = 0; n < JOBS; n += 1) {
  await queue.add("job", { n });
  await pause(2);
}
const all = async () => {
  while ((await r.llen("{bull}done")) < JOBS + 5) await pause(50);
};
await within(30, all(), "the last job");
const done = (await r.lrange("{bull}done", 0, -1)).map(Number).sort((a, b) => a - b);
same(done, Array.from({ length: JOBS + 5 }, (_, n) => n - 5));
same(failures, []);
console.log("ok: each job is done once");

await Promise.all([...workers, events, flows, queue].map((part) => part.close()));
r.disconnect();

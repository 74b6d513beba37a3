// What the scripts of this folder share: claims one after the other, each with a line, all within
// a deadline; node ends by itself once nothing is open any more.

export { deepStrictEqual as same, ok } from "node:assert";
import { ok } from "node:assert";

export const port = Number(process.argv[2]);

/** Runs each of `claims` with `client`. */
export async function hold(title, client, claims) {
  for (const claim of claims) {
    await within(20, claim(client), claim.name);
    console.log(`ok: ${title}: ${claim.name}`);
  }
}

/** That `promise` is rejected with an error in which `words` stand. */
export async function fails(promise, words, what = words) {
  let got;
  try {
    got = await within(5, promise, what);
  } catch (error) {
    ok(error.message.includes(words), `${what}: "${words}" is not in "${error.message}"`);
    return;
  }
  ok(false, `${what}: "${words}" was expected, got ${JSON.stringify(got)}`);
}

/** `promise`, or an error once so many seconds have passed. */
export async function within(seconds, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} takes longer than ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export const everyByte = Buffer.from(Array.from({ length: 256 }, (_, n) => n));

/** Keys that a careless proxy would not route or not pass on. */
export const oddKeys = ["ключ", "键 with spaces", "\r\n", "\0", "{", "{}x", "a{b}c{d}"];

/** Requests that are refused for now, whatever else they mean. */
export const refused = [
  ["CLIENT", "IMPORT-SOURCE", "ON"],
  ["NOSUCHTHING", "a"],
];

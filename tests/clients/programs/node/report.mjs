// What the programs in JavaScript say of their cases: one line of JSON each, as those in other languages do.

export const BASE_URL = process.env.HADIS_CLIENT_URL;
export const API_KEY = "none";
export const prompt = "a big red circle top left on white";
export const change = "a blue square";

/** Run a case and print what became of it: a case is good where it returns, maybe by what it was done. */
export async function report(name, run) {
  try {
    console.log(JSON.stringify({ case: name, by: await run() }));
  } catch (thrown) {
    console.log(JSON.stringify({ case: name, error: `${thrown.name}: ${thrown.message}`.slice(0, 400) }));
  }
}

/** Throw for bytes that are no PNG. */
export function checkImage(bytes) {
  if (Buffer.from(bytes).subarray(1, 4).toString() !== "PNG") throw new Error("no PNG");
}

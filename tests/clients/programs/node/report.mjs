// What the programs in JavaScript say of their cases: one line of JSON each, as those in other languages do.

export const baseURL = process.env.HADIS_CLIENT_URL;
export const apiKey = "none";
export const prompt = "a big red circle top left on white";

/** Run a case and print what became of it: a case is good where it returns. */
export async function report(name, run) {
  let error;
  try {
    await run();
  } catch (thrown) {
    error = `${thrown.name}: ${thrown.message}`.slice(0, 400);
  }
  console.log(JSON.stringify({ case: name, error }));
}

/** Throw for bytes that are no PNG. */
export function checkImage(bytes) {
  if (Buffer.from(bytes).subarray(1, 4).toString() !== "PNG") throw new Error("no PNG");
}
